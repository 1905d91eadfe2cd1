//! Control of a pool from outside its stack.

use std::fmt;
use std::sync::Weak;

use vmem_core::author::{Handle, Handled};
use vmem_core::{DevicePtr, HandleError, RawBlock};

use crate::alloc::{Control, Core};
use crate::supply::Backing;
use crate::{Capacity, Counters, Snapshot};

/// Reads and controls one pool. It does not keep the pool alive. In a
/// [forked](vmem_core::author::fork) child its figures are `None`, as of a pool that is gone.
#[derive(Clone)]
pub struct PoolHandle {
    pool: Handle<dyn Control>,
}

impl PoolHandle {
    pub(crate) fn new<B: Backing>(core: &Handled<Core<B>>) -> Self {
        Self { pool: core.handle().erased(|core| core as Weak<dyn Control>) }
    }

    /// The pool's counters; `None` once it is gone. Takes a step for each per-thread default stream that
    /// uses the pool, and one for each free range of a stream that left something in
    /// [quarantine](Counters::quarantined), or failed to answer; those under all of the pool's locks.
    pub fn counters(&self) -> Option<Counters> {
        self.pool.get().map(|pool| pool.counters())
    }

    /// The memory that the pool can still give; `None` once it is gone. Takes `O(n)` steps.
    pub fn capacity(&self) -> Option<Capacity> {
        self.pool.get().map(|pool| pool.capacity())
    }

    /// Everything that lies in the pool; `None` once it is gone. Takes `O(n log n)` steps.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.pool.get().map(|pool| pool.snapshot())
    }

    /// The parts of the live block that starts at `ptr`, for edges that hold only an address;
    /// `None` if there is none or the pool is gone. Takes as many steps as ranges start in 2 MiB.
    pub fn find(&self, ptr: DevicePtr) -> Option<RawBlock> {
        self.pool.get()?.find(ptr)
    }

    /// Waits on the host for pending work and returns unused memory until at most `keep` bytes are
    /// held or nothing more can be returned without going below: whole granules of a virtual arena,
    /// whole chunks otherwise. What is in quarantine stays. Returns the bytes returned.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the pool is; [`HandleError::Failed`] if the driver fails, and in a
    /// [forked](vmem_core::author::fork) child.
    pub fn trim_to(&self, keep: u64) -> Result<u64, HandleError> {
        self.pool.require("PoolHandle::trim_to")?.trim_to(keep)
    }

    /// Like [`trim_to`](Self::trim_to), returning only memory whose uses are complete already,
    /// without a wait.
    ///
    /// # Errors
    /// Those of [`trim_to`](Self::trim_to).
    pub fn try_trim(&self, keep: u64) -> Result<u64, HandleError> {
        self.pool.require("PoolHandle::try_trim")?.try_trim(keep)
    }

    /// Waits on the host for all work on the device, and frees what is in quarantine: memory whose last
    /// use no event covers and nobody can record one for, because it was freed on the default stream
    /// of a thread that has ended since, on a [borrowed](vmem_core::StreamKind::Borrowed) stream that ended
    /// unmarked, on one that was capturing when it ended, or on one whose events failed. Returns the
    /// bytes freed ([`Counters::quarantined`](crate::Counters::quarantined) says beforehand).
    ///
    /// The pool never does this by itself, because it breaks every capture in progress on the device,
    /// on whatever stream and thread. A program that wants to avoid it drops its buffers and the last
    /// handle of a thread's default stream, or [retires](vmem_core::Stream::retire) that, before the
    /// thread ends. A pool below this one has a quarantine of its own, which its own handle frees.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the pool is; [`HandleError::Failed`] if the driver fails or refuses
    /// because a stream captures, and in a [forked](vmem_core::author::fork) child.
    pub fn synchronize(&self) -> Result<u64, HandleError> {
        self.pool.require("PoolHandle::synchronize")?.synchronize()
    }

    /// Checks that the pool's figures and structures agree; for tests. Takes `O(n log n)` steps.
    ///
    /// # Panics
    /// If they do not, and once the pool is gone.
    pub fn check_invariants(&self) {
        self.pool.get().expect("the pool exists").check_invariants();
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
