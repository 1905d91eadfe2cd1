//! Control of a pool from outside its stack.

use std::fmt;
use std::sync::{Arc, Weak};

use vmem_core::author::fork;
use vmem_core::{BoxedError, DevicePtr, DriverError, RawBlock};

use crate::backing::Backing;
use crate::core::{Control, Core};
use crate::{Capacity, Counters, Snapshot};

/// Control of one pool: non-generic, cloneable, taken before the stack is erased. It does not keep
/// the pool alive, and says so once the pool is gone. In a [forked](vmem_core::author::fork) child its
/// figures are `None`, as of a pool that is gone.
#[derive(Clone)]
pub struct PoolHandle {
    pool: Weak<dyn Control>,
}

impl PoolHandle {
    pub(crate) fn new<B: Backing>(core: &Arc<Core<B>>) -> Self {
        let control: Arc<dyn Control> = core.clone();
        Self { pool: Arc::downgrade(&control) }
    }

    /// The pool, for a call that could not return in a forked child.
    fn usable(&self, call: &'static str) -> Result<Arc<dyn Control>, ControlError> {
        fork::refuse(call).map_err(ControlError::driver)?;
        self.pool.upgrade().ok_or(ControlError::Gone)
    }

    /// The pool, for figures.
    fn readable(&self) -> Option<Arc<dyn Control>> {
        if fork::is_child() { None } else { self.pool.upgrade() }
    }

    /// The pool's counters; `None` once it is gone. Takes a step for each per-thread default stream that
    /// uses the pool, and one for each free range of a stream that left something in
    /// [quarantine](Counters::quarantined), or failed to answer; those under all of the pool's locks.
    pub fn counters(&self) -> Option<Counters> {
        self.readable().map(|pool| pool.counters())
    }

    /// How much more the pool can give; `None` once it is gone. Takes `O(n)` steps.
    pub fn capacity(&self) -> Option<Capacity> {
        self.readable().map(|pool| pool.capacity())
    }

    /// Everything that lies in the pool; `None` once it is gone. Takes `O(n log n)` steps.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.readable().map(|pool| pool.snapshot())
    }

    /// The parts of the live block that starts at `ptr`, for edges that hold only an address;
    /// `None` if there is none or the pool is gone. Takes as many steps as ranges start in 2 MiB.
    pub fn find(&self, ptr: DevicePtr) -> Option<RawBlock> {
        self.readable()?.find(ptr)
    }

    /// Waits on the host for pending work and returns unused memory until at most `keep` bytes are
    /// held or nothing more can be returned without going below: whole granules of a virtual arena,
    /// whole chunks otherwise. What is in quarantine stays. Returns the bytes returned.
    ///
    /// # Errors
    /// [`ControlError::Gone`] once the pool is; [`ControlError::Failed`] if the driver fails, and in a
    /// [forked](vmem_core::author::fork) child.
    pub fn trim_to(&self, keep: u64) -> Result<u64, ControlError> {
        self.usable("PoolHandle::trim_to")?.trim_to(keep)
    }

    /// The same, returning only what is complete already, without a wait.
    ///
    /// # Errors
    /// As [`trim_to`](Self::trim_to).
    pub fn try_trim(&self, keep: u64) -> Result<u64, ControlError> {
        self.usable("PoolHandle::try_trim")?.try_trim(keep)
    }

    /// Waits on the host for all work on the device, and frees what is in quarantine: memory whose last
    /// use no event covers and nobody can record one for, because it was freed on the default stream of a
    /// thread that has ended since, on a stream that was capturing when it ended, or on one whose events
    /// failed. Returns the bytes freed ([`Counters::quarantined`](crate::Counters::quarantined) says
    /// beforehand).
    ///
    /// The pool never does this by itself, because it breaks every capture in progress on the device,
    /// on whatever stream and thread. A program that wants to avoid it drops its buffers and the last
    /// handle of a thread's default stream, or [retires](vmem_core::Stream::retire) that, before the
    /// thread ends. A pool below this one has a quarantine of its own, which its own handle frees.
    ///
    /// # Errors
    /// [`ControlError::Gone`] once the pool is; [`ControlError::Failed`] if the driver fails or refuses
    /// because a stream captures, and in a [forked](vmem_core::author::fork) child.
    pub fn synchronize(&self) -> Result<u64, ControlError> {
        self.usable("PoolHandle::synchronize")?.synchronize()
    }

    /// Checks that the pool's figures and structures agree; for tests. Takes `O(n log n)` steps.
    ///
    /// # Panics
    /// If they do not.
    pub fn check_invariants(&self) {
        if let Some(pool) = self.readable() {
            pool.check_invariants();
        }
    }
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(counters) = self.counters() else { return f.write_str("PoolHandle(gone)") };
        f.debug_struct("PoolHandle")
            .field("live", &counters.live)
            .field("reserved", &counters.reserved)
            .field("blocks", &(counters.allocations - counters.frees))
            .finish_non_exhaustive()
    }
}

/// Why a pool could not do what a handle asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// The pool has been dropped.
    Gone,
    /// The driver or the upstream failed; what had been done by then holds.
    Failed(BoxedError),
}

impl ControlError {
    pub(crate) fn driver(error: DriverError) -> Self {
        Self::Failed(error.into())
    }

    pub(crate) fn failed(error: BoxedError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the pool has been dropped"),
            Self::Failed(_) => f.write_str("the pool could not return memory"),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Gone => None,
            Self::Failed(source) => Some(&**source),
        }
    }
}
