//! Moving new memory to the device before it is touched.

use std::fmt;
use std::sync::Arc;

use vmem_core::author::{Handled, StreamExt};
use vmem_core::{
    AllocError, Block, Capabilities, Device, DriverCode, DriverError, Features, FreeError,
    Location, MemoryResource, Request, Stream,
};

use crate::HintHandle;
use crate::hint::HintCounters;

/// Prefetches every new block to the device, on the stream it was allocated on.
///
/// Saves the faults of the first kernel that touches the block. A hint: a refused prefetch is
/// counted and changes nothing else, and over an upstream whose blocks are not
/// [`MIGRATABLE`](Features::MIGRATABLE) it does nothing. Blocks pass unchanged.
///
/// ```
/// use vmem_core::{DeviceMemory, Location, ResourceExt, Stream};
/// use vmem_managed::{ManagedMemory, Prefetch};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = Prefetch::new(ManagedMemory::new(device)?);
/// assert_eq!(memory.to_string(), "Prefetch<ManagedMemory>");
///
/// let buffer = memory.buffer(4096, &stream)?;
/// let block = buffer.block().expect("it is not empty");
/// assert_eq!(memory.upstream().last_prefetch(block)?, Some(Location::Device));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Prefetch<U> {
    upstream: U,
    hints: Handled<HintCounters>,
}

impl<U> Prefetch<U> {
    /// Prefetches the new blocks of `upstream`.
    pub fn new(upstream: U) -> Self {
        Self { upstream, hints: Handled::new(HintCounters::default()) }
    }

    /// A handle that reads how many prefetches were queued and refused.
    pub fn handle(&self) -> HintHandle {
        HintHandle::of(&self.hints)
    }

    /// The wrapped resource.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }

    /// Unwraps the upstream.
    pub fn into_inner(self) -> U {
        self.upstream
    }
}

impl<U: fmt::Display> fmt::Display for Prefetch<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefetch<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Prefetch<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let block = self.upstream.allocate(request)?;
        if self.upstream.capabilities().has(Features::MIGRATABLE) {
            self.hints.count(to_device(&block, request.stream));
        }
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there; the prefetch is
        // on the request's stream since before the block was handed out (freeing/completion-order).
        unsafe { self.upstream.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}

fn to_device(block: &Block, stream: &Stream) -> Result<(), DriverError> {
    const CALL: &str = "Prefetch::allocate";
    // On a capturing stream it would become part of the graph.
    stream.with_raw_outside_capture(CALL, |device, raw| {
        let absent = || DriverError::new(CALL, DriverCode::NOT_SUPPORTED);
        let managed = device.managed().ok_or_else(absent)?;
        // SAFETY: contract, devices/ranges: the upstream says that its blocks are managed memory;
        // devices/handles and devices/threads: a valid, callable stream.
        unsafe { managed.prefetch(block.ptr(), block.size(), Location::Device, raw) }
    })
}
