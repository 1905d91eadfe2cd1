//! The pool as a resource.

use std::fmt;
use std::sync::Arc;

use vmem_core::author::{Handled, fork};
use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, Stream,
};

use crate::alloc::Core;
use crate::space::Fit;
use crate::supply::Backing;
use crate::{BuildError, PoolConfig, PoolHandle};

/// A coalescing pool over a [`Backing`].
///
/// Sizes round up to 256 bytes. A request takes the smallest free range that fits, the lowest of
/// equals, from memory freed on its own stream or with no work pending; failing that, stage after stage: a
/// range that another stream freed and that has completed, one it must wait for on the device,
/// neighbours of several streams joined, more memory from the backing, unused memory returned to
/// make room; and at last the same after a wait on the host for pending frees, where the stream could
/// not wait for them on the device ([`host_wait`](PoolConfig::host_wait)).
///
/// # What fits
/// A request is refused only if it does not fit. Over an arena it fits if its size and what is live,
/// both in whole granules, are within the ceiling and what the device has. Over chunks it fits if a
/// free range of one chunk holds it, or if a chunk of its size can be had once all pending frees are
/// complete and every chunk that is wholly free went back to the upstream. What was freed counts as
/// live as long as nobody can wait for it: on a stream that captures, and on one that the requesting
/// thread [cannot name](vmem_core::author::StreamExt::is_callable_here), until a thread that can
/// calls the pool. So does what other threads hold on their way to a block.
///
/// A refusal says nothing of the next request: that one asks the upstream or the device again. A request of
/// 1 TiB or more is never served.
/// What is above the ceiling, or above what an arena's device has, is refused at once, without a
/// driver call, as [`NeverFits`](vmem_core::AllocErrorKind::NeverFits).
///
/// A hit takes `O(log n)` steps under the pool's one lock, and no driver call. What a request or a free
/// costs does not depend on how many streams use the pool: before it takes more memory a request looks at
/// what sixteen other streams freed, before it is refused at all of it. Streams that hand memory to each
/// other time and again mark what they free at once, which takes driver calls at the free.
///
/// # Captures
///
/// A pool never calls the driver in a way that breaks a capture of a graph, on streams that it knows or
/// not: it records nothing on a stream that captures, asks for nothing that was recorded on one, and
/// never synchronises the device by itself. So a stream that captures gets what is at hand; over an
/// arena, memory that no other stream's work touches, moved or new, as no call that maps memory concerns
/// a capture; and [`Capturing`](vmem_core::AllocErrorKind::Capturing) otherwise. What was freed on it
/// serves others once the capture has ended. Memory that only a synchronisation of the device could free stays in
/// *quarantine*, counted ([`Counters::quarantined`](crate::Counters::quarantined)), until the program
/// asks for it ([`PoolHandle::synchronize`]); when the pool is dropped before, it leaks, and that is
/// reported.
///
/// # Lost devices
///
/// A hit asks the driver nothing. After the context was lost or reset (`cuDevicePrimaryCtxReset`, a
/// kernel that failed), a pool still hands out addresses that it has at hand, and they are worth
/// nothing: the first use of one fails. Whoever resets a context drops the pools over it first.
pub struct Pool<B: Backing> {
    core: Handled<Core<B>>,
}

impl<B: Backing> Pool<B> {
    /// A pool over `backing`.
    ///
    /// # Errors
    /// A configuration that contradicts itself, or a refused initial size.
    pub fn new(backing: B, config: PoolConfig) -> Result<Self, BuildError> {
        Self::with_fit(backing, config, Fit::Best)
    }

    pub(crate) fn with_fit(backing: B, config: PoolConfig, fit: Fit) -> Result<Self, BuildError> {
        Ok(Self { core: Core::new(backing, config, fit)?.into() })
    }

    /// The source of the pool's memory.
    pub fn backing(&self) -> &B {
        &self.core.supply
    }

    /// A handle that reads and controls the pool.
    pub fn handle(&self) -> PoolHandle {
        PoolHandle::new(&self.core)
    }
}

// SAFETY: contract, implementing/disjoint, implementing/as-asked and implementing/stable: a range
// is live for one block until that is freed, and is mapped as long as it is live;
// implementing/on-its-device: the backing's, which every stream is compared with;
// implementing/owned: owner, slot, generation, address and layout are compared;
// implementing/leaking-not-dangling: see `drop`; implementing/unwinding: every stage puts back what
// it claimed.
#[deny(clippy::missing_trait_methods)]
unsafe impl<B: Backing> MemoryResource for Pool<B> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.core.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        self.core.deallocate(block, stream)
    }

    fn device(&self) -> &Arc<dyn Device> {
        &self.core.streams.device
    }

    fn capabilities(&self) -> Capabilities {
        self.core.capabilities()
    }
}

impl<B: Backing> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl<B: Backing> fmt::Display for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool<{}>", self.core.supply)?;
        match self.core.config.ceiling {
            Some(_) => write!(f, "(ceiling {} B)", self.core.ceiling),
            None => Ok(()),
        }
    }
}

impl<B: Backing> Drop for Pool<B> {
    /// Waits for pending work and returns everything. Live blocks keep their memory: it leaks, and
    /// that is reported.
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.core.shut_down();
    }
}
