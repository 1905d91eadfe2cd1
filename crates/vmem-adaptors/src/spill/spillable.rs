//! A buffer that may spill, and its leases.

use std::fmt;
use std::sync::Arc;
// Never loom's: it only decides what is marked.
use std::sync::atomic::{AtomicBool, Ordering};

use vmem_core::author::fork;
use vmem_core::{DevicePtr, DriverCode, DriverError, RawBlock, Stream};

use super::ledger::{Ledger, host_of};
use super::uses::{self, Mark};
use super::{Spill, SpillMemory};

/// A buffer, or other [memory](SpillMemory), that may rest on the host while nobody leases it: see
/// [`Spill`].
///
/// Its memory is freed once it is dropped, and every lease and hold with it, after a move of it that is going
/// on: an observer that is told of a move must not drop what moves.
#[must_use = "dropping it frees the memory"]
pub struct Spillable<B: SpillMemory> {
    cell: Arc<Cell<B>>,
}

struct Cell<B: SpillMemory> {
    spill: Spill,
    id: u64,
    /// `None` while it is dropped.
    memory: Option<B>,
}

impl Spill {
    /// Takes a buffer, whose address is to be had through leases from now on.
    ///
    /// Work that was queued on it before must be ordered before the tail of its home stream, as that of
    /// its own methods is, or have been [recorded](vmem_core::DeviceBuffer::record_use). A buffer of another resource than the one that moves blocks is taken, and stays
    /// where it is; so is one that another resource cut from a block of that one.
    pub fn adopt<B: SpillMemory>(&self, memory: B) -> Spillable<B> {
        let block = self.block_of(&memory);
        let id = self.inner.ledger.add(block, uses::mark_home(&memory, false));
        Spillable { cell: Arc::new(Cell { spill: self.clone(), id, memory: Some(memory) }) }
    }

    /// The block of memory, if it can move. At the same address may begin a larger block from which it was
    /// cut, as are a pool's of its chunks and those of a reservation: that holds other memory too.
    fn block_of<B: SpillMemory>(&self, memory: &B) -> Option<RawBlock> {
        let block = memory.block()?;
        self.inner.residency.as_ref()?.residence(&block).map(|_| block)
    }

    fn host_bytes(&self, block: &RawBlock) -> Option<u64> {
        let residence = self.inner.residency.as_ref()?.residence(block)?;
        Some(host_of(&residence))
    }
}

impl<B: SpillMemory> Spillable<B> {
    /// Makes the memory resident, if that moves nothing out which was used since this was, and keeps it
    /// where it is until the lease is dropped. Work queued on `stream` from now on may use it, and waits
    /// for what is on the home stream and for what was queued under leases that have ended. The work of
    /// leases held at the same time is the program's to order.
    ///
    /// Waits on the host while the memory is moved, and for what is pending on it, if it rests on the
    /// host.
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](vmem_core::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream or
    /// the home stream captures: lease before the capture begins; and if another stream does on which work
    /// was queued under a lease before it was captured. Others of
    /// [`make_ready_on`](vmem_core::DeviceBuffer::make_ready_on);
    /// [`NOT_PERMITTED`](vmem_core::DriverCode::NOT_PERMITTED) also if a lease of a stream that this thread
    /// [cannot name](vmem_core::author::StreamExt::is_callable_here) ended on another thread than the
    /// stream's, so that its work cannot be waited for here;
    /// [`ILLEGAL_STATE`](vmem_core::DriverCode::ILLEGAL_STATE) if the driver failed in moving the memory,
    /// and fails to mend it. There is no lease then.
    pub fn lease(&self, stream: &Stream) -> Result<Lease<B>, DriverError> {
        fork::refuse("Spillable::lease")?;
        let cell = self.cell.clone();
        cell.spill.pin(cell.id)?;
        if let Err(error) = cell.make_ready_on(stream) {
            cell.ledger().unpin(cell.id, []);
            return Err(error);
        }
        let (use_of_home, is_held) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Lease { cell, stream: stream.clone(), use_of_home, is_held })
    }

    /// Makes the memory resident as [`lease`](Self::lease) does, and calls `work`, which may do anything
    /// with the memory on its home stream, resizing included.
    ///
    /// # Errors
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) while it is leased or held for a graph, and those of
    /// [`lease`](Self::lease) on the home stream; `work` is then not called.
    pub fn with<T>(&mut self, work: impl FnOnce(&mut B) -> T) -> Result<T, DriverError> {
        const CALL: &str = "Spillable::with";
        fork::refuse(CALL)?;
        let Some(cell) = Arc::get_mut(&mut self.cell) else {
            let error = DriverError::new(CALL, DriverCode::NOT_PERMITTED);
            return Err(error.with_detail("the memory is leased, or held for a graph"));
        };
        cell.spill.pin(cell.id)?;
        let exclusive = Exclusive(cell);
        let home = exclusive.0.memory().stream().clone();
        exclusive.0.make_ready_on(&home)?;
        Ok(work(exclusive.0.memory_mut()))
    }

    /// Makes the memory resident as [`lease`](Self::lease) does, and gives it up. It may be left on the
    /// host, where it then stays until it is freed.
    ///
    /// # Errors
    /// Itself, while it is leased or held for a graph, and if a lease on the home stream fails.
    pub fn into_inner(self) -> Result<B, Self> {
        let mut cell = match Arc::try_unwrap(self.cell) {
            Ok(cell) => cell,
            Err(cell) => return Err(Self { cell }),
        };
        let home = cell.memory().stream().clone();
        if cell.spill.pin(cell.id).is_err() {
            return Err(Self { cell: Arc::new(cell) });
        }
        if cell.make_ready_on(&home).is_err() {
            cell.ledger().unpin(cell.id, []);
            return Err(Self { cell: Arc::new(cell) });
        }
        let memory = cell.memory.take().expect("it is taken here or in the drop");
        cell.ledger().remove(cell.id);
        Ok(memory)
    }

    /// Returns true if its memory is on the device, and is not being moved; for figures.
    pub fn is_on_device(&self) -> bool {
        self.cell.ledger().is_on_device(self.cell.id)
    }

    /// The address without a lease.
    ///
    /// # Safety
    /// No work that uses it may be pending or be queued while the memory can be moved: from the time when
    /// the last lease's work is complete until the next lease. Where that is broken, work that finds the
    /// memory at rest on the host is slow and right; while it is being moved, the work faults, which loses
    /// the device's context, or what it writes is lost.
    pub unsafe fn ptr_without_lease(&self) -> Option<DevicePtr> {
        self.cell.memory().ptr()
    }
}

/// The right to use a [`Spillable`]'s memory, which stays where it is meanwhile.
///
/// Dropping it marks what is on its stream as the last work under it. If the stream captures then, and
/// nothing was [retained](Self::retain_for_graph), nobody can tell when the graph runs: the memory is never
/// moved again. On a thread that [cannot name](vmem_core::author::StreamExt::is_callable_here) the stream
/// nothing can be marked: until it can, the memory is not moved, and if it is dropped before that, it is
/// leaked.
#[must_use = "the memory may move once it is dropped"]
pub struct Lease<B: SpillMemory> {
    cell: Arc<Cell<B>>,
    stream: Stream,
    use_of_home: AtomicBool,
    /// Captured work is covered by a hold.
    is_held: AtomicBool,
}

impl<B: SpillMemory> Lease<B> {
    /// The address, for work on the lease's stream; `None` for memory of no bytes.
    pub fn ptr(&self) -> Option<DevicePtr> {
        self.cell.memory().ptr()
    }

    /// The stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The memory, for methods that queue work on its home stream, or record that of others: dropping the
    /// lease marks that too. The home stream then waits for what was recorded.
    pub fn memory(&self) -> &B {
        self.use_of_home.store(true, Ordering::Relaxed);
        self.cell.memory()
    }

    /// Keeps the memory, and where it is, for a graph that is captured under this lease: until the
    /// returned hold is dropped.
    #[must_use = "the memory may move once it is dropped"]
    pub fn retain_for_graph(&self) -> GraphHold {
        self.cell.ledger().pin_again(self.cell.id);
        self.is_held.store(true, Ordering::Relaxed);
        GraphHold { cell: self.cell.clone(), stream: self.stream.clone() }
    }
}

impl<B: SpillMemory> Drop for Lease<B> {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        let (memory, is_held) = (self.cell.memory(), self.is_held.load(Ordering::Relaxed));
        let is_home_used = self.use_of_home.load(Ordering::Relaxed);
        let of_home = is_home_used.then(|| uses::mark_home(memory, is_held));
        // Marked with the home stream, if it is that.
        let is_marked = is_home_used && *memory.stream() == self.stream;
        let of_own = (!is_marked).then(|| uses::mark_under(&self.stream, is_held));
        self.cell.ledger().unpin(self.cell.id, of_own.into_iter().chain(of_home));
    }
}

/// Keeps a [`Spillable`]'s memory where it is for a graph that was captured under a [`Lease`].
///
/// Keep it with the graph. Drop it when the graph and all executables made of it are gone: it marks what
/// is on the lease's stream then. Launches on other streams are [recorded](Self::record_use), after the
/// last on each at least.
#[must_use = "the memory may move once it is dropped"]
pub struct GraphHold {
    cell: Arc<dyn Held>,
    stream: Stream,
}

impl GraphHold {
    /// Notes that launches on `stream` by now use the memory.
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if it captures: then the
    /// graph that is captured needs a hold of its own.
    pub fn record_use(&self, stream: &Stream) -> Result<(), DriverError> {
        const CALL: &str = "GraphHold::record_use";
        fork::refuse(CALL)?;
        match uses::mark(stream) {
            Mark::Unknown => {
                let error = DriverError::new(CALL, DriverCode::STREAM_CAPTURE_UNSUPPORTED);
                Err(error.with_detail("the stream is capturing"))
            }
            mark => {
                self.cell.note(mark);
                Ok(())
            }
        }
    }
}

impl Drop for GraphHold {
    fn drop(&mut self) {
        if !fork::is_child() {
            // Another graph that the stream captures now is none of its business.
            self.cell.note(uses::mark_under(&self.stream, true));
            self.cell.unpin();
        }
    }
}

/// What a hold needs of the memory, whatever its type.
trait Held: Send + Sync {
    fn note(&self, mark: Mark);
    fn unpin(&self);
}

impl<B: SpillMemory> Held for Cell<B> {
    fn note(&self, mark: Mark) {
        self.ledger().pin_again(self.id);
        self.ledger().unpin(self.id, [mark]);
    }

    fn unpin(&self) {
        self.ledger().unpin(self.id, []);
    }
}

/// The only lease of memory that nothing else reaches.
struct Exclusive<'a, B: SpillMemory>(&'a mut Cell<B>);

impl<B: SpillMemory> Drop for Exclusive<'_, B> {
    fn drop(&mut self) {
        let Cell { spill, id, .. } = &*self.0;
        let memory = self.0.memory();
        // It may have another block now.
        let block = spill.block_of(memory);
        let host = block.and_then(|block| spill.host_bytes(&block)).unwrap_or(0);
        self.0.ledger().replace(*id, block, host);
        self.0.ledger().unpin(*id, [uses::mark_home(memory, false)]);
    }
}

impl<B: SpillMemory> Cell<B> {
    fn ledger(&self) -> &Ledger {
        &self.spill.inner.ledger
    }

    fn memory(&self) -> &B {
        self.memory.as_ref().expect("it is taken at the end")
    }

    fn memory_mut(&mut self) -> &mut B {
        self.memory.as_mut().expect("it is taken at the end")
    }

    /// Orders work that is queued on `stream` from now on after what was queued so far.
    fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        self.memory().make_ready_on(stream)?;
        uses::precede_work(self.ledger().uses(self.id), stream)
    }
}

impl<B: SpillMemory> Drop for Cell<B> {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        if fork::is_child() {
            return;
        }
        let uses = self.ledger().remove(self.id);
        match uses::precede_free(uses, memory.stream()) {
            Ok(()) => drop(memory),
            Err(error) => memory.abandon(&error),
        }
    }
}

impl<B: SpillMemory> fmt::Debug for Spillable<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spillable").field("spill", &self.cell.spill).finish_non_exhaustive()
    }
}

impl<B: SpillMemory> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl fmt::Debug for GraphHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphHold").field("stream", &self.stream).finish_non_exhaustive()
    }
}
