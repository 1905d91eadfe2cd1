//! Refusing what exceeds a budget.

use std::fmt;

use vmem_core::{
    AllocError, AllocErrorKind, Block, Capabilities, ExhaustionReport, FreeError, MemoryResource,
    Request, Stream,
};

use crate::Budget;

/// Admits requests while their sizes fit a [`Budget`].
///
/// The size asked for is charged before the upstream is asked, given back if the upstream refuses,
/// and given back when the block was freed through this adaptor. Several limits may share one
/// budget: device, pinned and scratch memory under one cap. Blocks pass unchanged. A request costs
/// one compare-and-swap, a free one addition.
///
/// While an admitted request is at the upstream its bytes count as used, even if the upstream then
/// refuses it.
///
/// ```
/// use vmem_adaptors::{Budget, Limit};
/// use vmem_core::{AllocErrorKind, BlockLayout, DeviceMemory, MemoryResource, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = Limit::new(DeviceMemory::new(device), Budget::new(4096));
///
/// let error = memory.alloc(BlockLayout::new(4097)?, &stream).unwrap_err();
/// assert_eq!(error.kind(), AllocErrorKind::Limit);
///
/// memory.budget().set_limit(8192);
/// let block = memory.alloc(BlockLayout::new(4097)?, &stream)?;
/// // SAFETY: no work was ever queued on the block.
/// unsafe { memory.deallocate(block, &stream) }?;
/// assert_eq!(memory.budget().used(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Limit<U> {
    upstream: U,
    budget: Budget,
}

impl<U> Limit<U> {
    /// Holds `upstream` to `budget`.
    pub fn new(upstream: U, budget: Budget) -> Self {
        Self { upstream, budget }
    }

    /// The budget; clone it to keep a handle.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What it wraps.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }

    /// Unwraps the upstream. What is still live stays charged.
    pub fn into_inner(self) -> U {
        self.upstream
    }

    #[cold]
    fn refuse(&self, request: &Request<'_>) -> AllocError {
        let state = self.budget.state();
        let mut report = ExhaustionReport::new(request.layout.size());
        report.live = state.used;
        report.reserved = state.used;
        report.ceiling = Some(state.limit);
        report.largest_free = state.limit.saturating_sub(state.used);
        AllocError::new(AllocErrorKind::Limit, request.layout, "Limit").with_report(report)
    }
}

impl<U: fmt::Display> fmt::Display for Limit<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit<{}, {} B>", self.upstream, self.budget.limit())
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it; 6: an unfinished charge is given back when it is dropped.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Limit<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let Some(charge) = self.budget.charge(request.layout.size()) else {
            return Err(self.refuse(request));
        };
        let block = self.upstream.allocate(request)?;
        charge.keep();
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let bytes = block.size();
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }?;
        self.budget.give_back(bytes);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}
