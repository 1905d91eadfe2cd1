//! Knowing which blocks are out.

mod ledger;
mod report;

use std::fmt;
use std::sync::Arc;

use vmem_core::author::Handle;
use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, Stream,
};

use ledger::{Ledger, ReportAtDrop};
pub use report::{LeakReport, OutstandingBlock};

/// The choice whether [`Track`] captures a backtrace of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backtraces {
    /// It does not.
    #[default]
    Off,
    /// It captures a backtrace per allocation, which costs microseconds each.
    Capture,
}

/// Keeps a list of the blocks that were allocated and not freed through it.
///
/// When it is dropped while blocks are out, it says so through `tracing`: one warning, and each
/// block at debug level. Freeing a block that it does not know passes through; one that was freed
/// past it is listed until another lies in its place. Blocks pass unchanged. An allocation and a free
/// cost one short lock and a hash table operation each.
///
/// ```
/// use vmem_adaptors::{Backtraces, Track};
/// use vmem_core::{DeviceMemory, ResourceExt, Stream, label};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = Track::new(DeviceMemory::new(device), Backtraces::Off);
///
/// let _scope = label("edges");
/// let buffer = memory.buffer(4096, &stream)?;
/// let report = memory.handle().report().expect("the adaptor exists");
/// assert!(report.to_string().starts_with("1 block outstanding, 4096 B\n  edges: 1 block,"));
/// drop(buffer);
/// assert_eq!(memory.handle().outstanding(), Some(0));
/// # Ok(())
/// # }
/// ```
pub struct Track<U> {
    // Before the upstream, so that it is dropped and reports first.
    at_drop: ReportAtDrop,
    upstream: U,
}

impl<U> Track<U> {
    /// Tracks the blocks of `upstream`.
    pub fn new(upstream: U, backtraces: Backtraces) -> Self {
        Self { at_drop: ReportAtDrop::new(Ledger::new(backtraces)), upstream }
    }

    /// A handle that reads the list.
    pub fn handle(&self) -> TrackHandle {
        self.at_drop.handle()
    }

    /// The wrapped resource.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }

    /// Unwraps the upstream, without a report: the blocks can still be freed there.
    pub fn into_inner(self) -> U {
        self.at_drop.disarm();
        self.upstream
    }
}

impl<U: fmt::Debug> fmt::Debug for Track<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track")
            .field("outstanding", &self.at_drop.ledger().len())
            .field("upstream", &self.upstream)
            .finish()
    }
}

impl<U: fmt::Display> fmt::Display for Track<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at_drop.ledger().backtraces() {
            Backtraces::Off => write!(f, "Track<{}>", self.upstream),
            Backtraces::Capture => write!(f, "Track<{}, backtraces>", self.upstream),
        }
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Track<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let block = self.upstream.allocate(request)?;
        self.at_drop.ledger().enter(block.raw(), request.stream.id());
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let raw = block.raw();
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }?;
        self.at_drop.ledger().strike(&raw);
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}

/// Reads which blocks of a [`Track`] adaptor are out.
///
/// It does not keep the adaptor alive; every call answers `None` once that is gone. What is out then,
/// the adaptor logs itself, when it is dropped.
#[derive(Debug, Clone)]
pub struct TrackHandle {
    ledger: Handle<Ledger>,
}

impl TrackHandle {
    /// The number of live blocks; `None` once the adaptor is gone.
    pub fn outstanding(&self) -> Option<usize> {
        self.ledger.get().map(|ledger| ledger.len())
    }

    /// The blocks that are out; `None` once the adaptor is gone. Takes time in their number, and
    /// resolves their backtraces.
    pub fn report(&self) -> Option<LeakReport> {
        self.ledger.get().map(|ledger| ledger.report())
    }
}
