//! Refusing what exceeds a budget.

use std::fmt;
use std::sync::Arc;

use vmem_core::author::fork;
use vmem_core::{
    AllocError, AllocErrorKind, Block, Capabilities, Device, ExhaustionReport, FreeError,
    FreeErrorKind, MemoryResource, Request, Stream,
};

use crate::{Budget, charges};

const NAME: &str = "Limit";

/// Admits requests while their sizes fit a [`Budget`].
///
/// The size asked for is charged before the upstream is asked, given back if the upstream refuses,
/// and given back when the block was freed. Several limits may share one budget: device, pinned and
/// scratch memory under one cap. Blocks pass unchanged. A request and its free cost a short lock and
/// an operation of a hash table each, some 60 ns in all.
///
/// It bounds what is live above it, not what a pool below it holds: that is bounded by a limit below
/// the pool, or, for an arena, by a [`Budget::account`].
///
/// While an admitted request is at the upstream its bytes count as used, even if the upstream then
/// refuses it.
///
/// # Who frees
/// A block is given back to whatever was charged for it: freed through any limit of the process, it
/// frees the budgets of all those that it passed when it was allocated, and no other. So a limit may
/// free what it never charged. A block that is freed past every limit stays charged until a block in
/// its place passes one.
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
/// let error = memory.allocate_on(BlockLayout::new(4097)?, &stream).unwrap_err();
/// assert_eq!(error.kind(), AllocErrorKind::Limit);
///
/// memory.budget().set_limit(8192);
/// let block = memory.allocate_on(BlockLayout::new(4097)?, &stream)?;
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

    /// The wrapped resource.
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
        report.budget_left = Some(report.largest_free);
        AllocError::new(AllocErrorKind::Limit, request.layout, NAME).with_report(report)
    }
}

impl<U: fmt::Display> fmt::Display for Limit<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit<{}, {} B>", self.upstream, self.budget.limit())
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it; implementing/unwinding: an unfinished charge is given back when it is dropped, and
// those of a block that is not freed are kept when they are.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Limit<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let refused = |error| AllocError::from_driver(error, request.layout, NAME);
        fork::refuse(NAME).map_err(refused)?;
        let Some(charge) = self.budget.charge(request.layout.size()) else {
            return Err(self.refuse(request));
        };
        let block = self.upstream.allocate(request)?;
        charges::keep(charge, &block.raw());
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if let Err(error) = fork::refuse(NAME) {
            return Err(FreeError::from_driver(error, block, NAME));
        }
        let taken = charges::take(block.raw());
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        let freed = unsafe { self.upstream.deallocate(block, stream) };
        let is_live = freed.as_ref().is_err_and(|error| error.kind() != FreeErrorKind::Stale);
        if !is_live {
            taken.give_back(&self.budget);
        }
        freed
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}
