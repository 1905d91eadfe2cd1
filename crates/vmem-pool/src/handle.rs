//! Control of a pool from outside its stack.

use std::fmt;
use std::sync::{Arc, Weak};

use vmem_core::author::{Handle, Handled};
use vmem_core::{
    Contents, DevicePtr, HandleError, Label, Moved, RawBlock, Residence, Residency, ResidencyError,
    ResidencyErrorKind,
};

use crate::alloc::{Control, Core, Which};
use crate::supply::{Backing, Place};
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
    /// unmarked, on one that was capturing when it ended, or on one whose events failed. How much that is,
    /// [`Counters::quarantined`](crate::Counters::quarantined) says beforehand.
    ///
    /// The pool never does this by itself, because it breaks every capture in progress on the device,
    /// on whatever stream and thread. A program that wants to avoid it drops its buffers and the last
    /// handle of a thread's default stream, or [retires](vmem_core::Stream::retire) that, before the
    /// thread ends. A pool below this one has a quarantine of its own, which its own handle frees.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the pool is; [`HandleError::Failed`] if the driver fails or refuses
    /// because a stream captures, and in a [forked](vmem_core::author::fork) child.
    pub fn synchronize(&self) -> Result<(), HandleError> {
        self.pool.require("PoolHandle::synchronize")?.synchronize()
    }

    /// Moves the memory of live blocks to the host, or gives it up, all of it that can move or nothing.
    ///
    /// Their addresses stay as they are, and freeing them is an ordinary free. `Some(label)` means the
    /// blocks of one label, `None` all of the pool's, of those that are live when this is called. Allocation
    /// goes on meanwhile, but for requests that need more memory from the device, which wait. What came of
    /// it is in [`Moved`]; where one block's memory is says [`residence`](Residency::residence).
    ///
    /// # Errors
    /// [`Busy`](ResidencyErrorKind::Busy), with nothing moved, if work is pending and was
    /// [not to be waited for](Pending::Refuse), or cannot be waited for because a stream captures.
    /// The others of [`Residency::demote`].
    ///
    /// # Safety
    /// No work is queued on the blocks from this call on until it has returned, nor by what frees one of them
    /// meanwhile, as resources above the pool may that clear what is freed; none, if contents are
    /// discarded, until they were [woken](Self::wake). Work that was queued before is on streams that the
    /// pool knows because it allocated or freed on them, or `pending` is [`Wait`](Pending::Wait).
    pub unsafe fn sleep(
        &self,
        label: Option<Label>,
        contents: Contents,
        pending: Pending,
    ) -> Result<Moved, ResidencyError> {
        let pool = self.part("PoolHandle::sleep")?;
        pool.move_memory(which(label), place_of(contents), Some(pending))
    }

    /// Gives the blocks of a label, or all, device memory again, with their contents unless those were
    /// discarded: all of them or none. Blocks that share physical memory with them wake too.
    ///
    /// # Errors
    /// Those of [`sleep`](Self::sleep); [`DeviceFull`](ResidencyErrorKind::DeviceFull), with every block
    /// asleep as before, if the device or the pool's ceiling has too little room.
    ///
    /// # Safety
    /// That of [`sleep`](Self::sleep), for these blocks and those that share memory with them, until the
    /// call returns.
    pub unsafe fn wake(
        &self,
        label: Option<Label>,
        pending: Pending,
    ) -> Result<Moved, ResidencyError> {
        self.part("PoolHandle::wake")?.move_memory(which(label), Place::Device, Some(pending))
    }

    /// Keeps `bytes` bytes of the host's memory ready for blocks that go to sleep, from now on: making
    /// some takes many times as long as copying as much, and a request for room should not wait for it.
    /// What blocks give up when they wake is kept up to that, with less than a handle more, and the rest
    /// goes back to the host; 0, as from the start, keeps nothing.
    ///
    /// # Errors
    /// [`Unsupported`](ResidencyErrorKind::Unsupported), [`HostFull`](ResidencyErrorKind::HostFull) with
    /// as much ready as could be had, and the driver's.
    pub fn fill_host_reserve(&self, bytes: u64) -> Result<(), ResidencyError> {
        self.part("PoolHandle::fill_host_reserve")?.keep_on_host(bytes)
    }

    fn part(&self, call: &'static str) -> Result<Arc<dyn Control>, ResidencyError> {
        self.pool.require(call).map_err(|error| {
            let kind = match error {
                HandleError::Gone => ResidencyErrorKind::Gone,
                _ => ResidencyErrorKind::Driver,
            };
            ResidencyError::new(kind).with_source(error)
        })
    }

    /// Checks that the pool's figures and structures agree; for tests. Takes `O(n log n)` steps.
    ///
    /// # Panics
    /// If they do not, and once the pool is gone.
    pub fn check_invariants(&self) {
        self.pool.get().expect("the pool exists").check_invariants();
    }
}

/// What is to become of work that is pending when blocks go to sleep or wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pending {
    /// It is waited for, with all else on the device. That breaks every capture in progress.
    #[default]
    Wait,
    /// The call is refused, unless every stream that the pool knows is idle.
    Refuse,
}

fn which(label: Option<Label>) -> Which<'static> {
    label.map_or(Which::All, Which::Labelled)
}

/// Where memory goes whose device memory is given up.
fn place_of(contents: Contents) -> Place {
    match contents {
        Contents::Kept => Place::Host,
        Contents::Discarded => Place::Nowhere,
    }
}

impl Residency for PoolHandle {
    unsafe fn demote(
        &self,
        blocks: &[RawBlock],
        contents: Contents,
    ) -> Result<Moved, ResidencyError> {
        let pool = self.part("PoolHandle::demote")?;
        pool.move_memory(Which::These(blocks), place_of(contents), None)
    }

    unsafe fn promote(&self, blocks: &[RawBlock]) -> Result<Moved, ResidencyError> {
        let pool = self.part("PoolHandle::promote")?;
        pool.move_memory(Which::These(blocks), Place::Device, None)
    }

    fn residence(&self, block: &RawBlock) -> Option<Residence> {
        self.pool.get()?.residence(block)
    }

    fn block_at(&self, ptr: DevicePtr) -> Option<RawBlock> {
        self.find(ptr)
    }

    fn host_room(&self) -> u64 {
        self.pool.get().map_or(0, |pool| pool.host_room())
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
