//! Counting memory in use.

mod counters;
mod figures;
mod gauge;
mod handle;
mod scope;
mod sizes;
mod slot;
mod table;

use std::fmt;
use std::sync::Arc;

use vmem_core::author::Handled;
use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, Stream,
};

use counters::Counters;
pub use figures::{LabelUsage, Stats, Tally, Usage};
pub use handle::StatsHandle;
pub use scope::StatsScope;
pub use sizes::SizeHistogram;

/// Counts the blocks that pass: in use, at most, in all; by size; by [label](vmem_core::Label);
/// refusals. Cheap enough to leave on.
///
/// Sizes are those asked for. A block is booked on its own label, when it was allocated and when it
/// was really freed; a refused free changes nothing. Blocks pass unchanged.
///
/// # Cost
/// Every thread counts in cache lines of its own, without locks and, but for publishing (below),
/// without atomic exchanges: ten to twenty nanoseconds for a pair, twice that under ever changing
/// labels. The adaptor takes 17 KiB, and threads beyond the eighth at a time 2 KiB each. Labels lie
/// in tables that double as labels are interned: 48 B for each label, and 64 B for each in every
/// thread that uses the newer half of them.
///
/// # How exact
/// Current, total and counts are exact. The peak is exact while a single thread uses the adaptor.
/// Among N threads it is off by at most N − 1 times the larger of 1 MiB and 1/64 of the highest
/// level so far (for blocks: of 32 and 1/64), because each thread publishes its changes to the
/// common level only beyond that; and a block whose free is in progress still counts as in use. The
/// same holds per label.
///
/// ```
/// use vmem_adaptors::Statistics;
/// use vmem_core::{DeviceMemory, Label, ResourceExt, Stream, label};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = Statistics::new(DeviceMemory::new(device));
/// let stats = memory.handle();
///
/// let buffer = {
///     let _scope = label("overlay/face-walk");
///     memory.buffer(1 << 20, &stream)?
/// };
/// drop(memory.buffer(4096, &stream)?);
/// let figures = stats.stats().expect("the adaptor exists");
/// assert_eq!(figures.bytes.current, 1 << 20);
/// assert_eq!(figures.bytes.peak, (1 << 20) + 4096);
/// let label = Label::intern("overlay/face-walk");
/// assert_eq!(stats.label(label).map(|usage| usage.bytes.peak), Some(1 << 20));
///
/// drop(buffer);
/// drop(memory);
/// assert!(stats.stats().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Statistics<U> {
    upstream: U,
    counters: Handled<Counters>,
}

impl<U> Statistics<U> {
    /// Counts what passes to and from `upstream`.
    pub fn new(upstream: U) -> Self {
        Self { upstream, counters: Handled::new(Counters::new()) }
    }

    /// A handle that reads the counters.
    pub fn handle(&self) -> StatsHandle {
        StatsHandle::new(self.counters.handle())
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

impl<U: fmt::Display> fmt::Display for Statistics<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statistics<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Statistics<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let result = self.upstream.allocate(request);
        match &result {
            Ok(block) => self.counters.allocated(block.size(), block.label()),
            Err(_) => self.counters.failed(),
        }
        result
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let (size, label) = (block.size(), block.label());
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        let result = unsafe { self.upstream.deallocate(block, stream) };
        match result {
            Ok(()) => self.counters.freed(size, label),
            Err(_) => self.counters.refused_free(),
        }
        result
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}
