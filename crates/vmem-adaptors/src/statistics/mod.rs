//! Counting memory in use.

mod counters;
mod figures;
mod flow;
mod handle;
mod scope;
mod sizes;

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
/// A few additions under a lock of its own, twice a pair: about a hundred instructions, and thirty
/// more under a label, however often labels change. Threads that allocate at the same moment wait
/// for each other's additions. The adaptor takes 1 KiB, and 48 B for each label interned up to the
/// last that it saw.
///
/// # How exact
/// Exact, peaks included, whatever the number of threads, and what is read together is of one moment:
/// only the two counts of refusals may be of another. A block counts from when the upstream handed it
/// out until the upstream took it back, so that one whose free is in progress is still in use.
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
        // Copied out of the result before that is matched, which takes two instructions less.
        let handed_out = result.as_ref().ok().map(|block| (block.size(), block.label()));
        match handed_out {
            Some((size, label)) => self.counters.allocated(size, label),
            None => self.counters.failed(),
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
