//! Stacking adaptors in the order in which they are read.

use vmem_core::{DriverError, MemoryResource};

use crate::{Answer, Backtraces, Budget, Failure, Limit, OnFailure, Scrub, Statistics, Track};

/// Wraps any resource in an adaptor.
///
/// ```
/// use vmem_adaptors::{AdaptorExt, Budget, Reclaimers};
/// use vmem_core::DeviceMemory;
/// use vmem_sim::SimDevice;
///
/// let reclaimers = Reclaimers::new();
/// let stack = DeviceMemory::new(SimDevice::new(1 << 30))
///     .limited(Budget::new(1 << 20))
///     .on_failure(reclaimers.hook())
///     .with_statistics();
/// assert_eq!(stack.to_string(), "Statistics<OnFailure<Limit<DeviceMemory, 1048576 B>>>");
/// ```
pub trait AdaptorExt: MemoryResource + Sized {
    /// Counts what passes.
    fn with_statistics(self) -> Statistics<Self> {
        Statistics::new(self)
    }

    /// Calls `hook` on exhaustion.
    fn on_failure(
        self,
        hook: impl Fn(&Failure<'_>) -> Answer + Send + Sync + 'static,
    ) -> OnFailure<Self> {
        OnFailure::new(self, hook)
    }

    /// Holds the resource to `budget`.
    fn limited(self, budget: Budget) -> Limit<Self> {
        Limit::new(self, budget)
    }

    /// Keeps a list of the blocks that are out, without backtraces.
    fn tracked(self) -> Track<Self> {
        Track::new(self, Backtraces::Off)
    }

    /// Clears every block when it is freed.
    ///
    /// # Errors
    /// Those of [`Scrub::new`].
    fn scrubbed(self) -> Result<Scrub<Self>, DriverError> {
        Scrub::new(self)
    }
}

impl<R: MemoryResource> AdaptorExt for R {}
