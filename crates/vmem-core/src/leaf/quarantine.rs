//! Freed blocks whose last use cannot be waited for yet.

use std::fmt;
use std::sync::{Arc, Weak};

use super::LeafFree;
use crate::author::{Handle, StreamExt, StreamObserver, WeakStream, fork};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::uses::Uses;
use crate::{Device, DevicePtr, DriverCode, DriverError, Event, HandleError, Stream, StreamId};

const CALL: &str = "QuarantineHandle::synchronize";

/// Whether to wait for work, or only to ask whether it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    OnHost,
}

/// The memory that a resource has in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Quarantined {
    /// Freed blocks that still hold the driver's memory.
    pub blocks: usize,
    /// Their sizes as asked for, in bytes.
    pub bytes: u64,
}

impl Quarantined {
    /// So many blocks of so many bytes together.
    pub fn new(blocks: usize, bytes: u64) -> Self {
        Self { blocks, bytes }
    }
}

/// Counts what a leaf has set aside, and frees it. Does not keep the leaf alive.
#[derive(Debug, Clone)]
pub struct QuarantineHandle(Handle<Quarantine>);

impl QuarantineHandle {
    pub(super) fn new(handle: Handle<Quarantine>) -> Self {
        Self(handle)
    }

    /// The memory in quarantine now; `None` once the leaf is gone, and in a [forked](fork) child.
    pub fn quarantined(&self) -> Option<Quarantined> {
        self.0.get().map(|quarantine| quarantine.quarantined())
    }

    /// Frees what was set aside and is over by now, without waiting, and returns its bytes. What was freed
    /// on a stream that this thread [cannot name](crate::author::StreamExt::is_callable_here) is looked at
    /// once that was retired. 0 once the leaf is gone, and in a [forked](fork) child.
    pub fn trim(&self) -> u64 {
        self.0.get().map_or(0, |quarantine| quarantine.retry(Wait::No))
    }

    /// The same, after a wait on the host for what can be waited for without the whole device.
    pub fn wait_and_trim(&self) -> u64 {
        self.0.get().map_or(0, |quarantine| quarantine.retry(Wait::OnHost))
    }

    /// Frees everything set aside so far. Waits for the whole device if some of it was freed on a
    /// stream that this thread [cannot name](crate::author::StreamExt::is_callable_here), or on one
    /// whose end could not be marked; that would break captures on streams that vmem does not know.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the leaf is. Of the driver's
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED), before any wait for the
    /// device, if a stream that something was freed on captures; the [`DriverError`] of the driver
    /// call. What was not freed stays.
    pub fn synchronize(&self) -> Result<(), HandleError> {
        Ok(self.0.require(CALL)?.synchronize()?)
    }
}

/// What a leaf has set aside.
pub(super) struct Quarantine {
    me: Weak<Self>,
    device: Arc<dyn Device>,
    free: LeafFree,
    list: Mutex<List>,
    /// How many blocks are set aside; set under the lock.
    len: AtomicUsize,
}

#[derive(Default)]
struct List {
    blocks: Vec<SetAside>,
    next: u64,
}

struct SetAside {
    /// Later ones have larger numbers.
    number: u64,
    base: DevicePtr,
    bytes: u64,
    /// The stream it was freed on, until that is marked.
    stream: Option<(StreamId, WeakStream)>,
    /// What must complete besides.
    uses: Vec<Event>,
    /// Only a synchronisation with the whole device covers it.
    needs_device: bool,
}

impl SetAside {
    fn is_marked(&self) -> bool {
        self.stream.is_none() && !self.needs_device
    }

    fn is_over(&self) -> bool {
        self.is_marked() && self.uses.iter().all(Event::was_observed)
    }

    /// The stream ends, or its work so far is marked.
    fn leave_stream(&mut self, marker: Option<&Event>) {
        self.stream = None;
        match marker {
            Some(marker) => self.uses.push(marker.clone()),
            None => self.needs_device = true,
        }
    }
}

impl Quarantine {
    pub(super) fn new(device: Arc<dyn Device>, free: LeafFree) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            device,
            free,
            list: Mutex::default(),
            len: AtomicUsize::new(0),
        })
    }

    pub(super) fn quarantined(&self) -> Quarantined {
        let list = self.lock();
        let bytes = list.blocks.iter().map(|block| block.bytes).sum();
        Quarantined { blocks: list.blocks.len(), bytes }
    }

    /// Sets memory aside that was freed on `stream`.
    pub(super) fn set_aside(&self, base: DevicePtr, bytes: u64, uses: &Uses, stream: &Stream) {
        let needs_device = uses.has_lost();
        let uses = uses.events().cloned().collect();
        let freed_on = Some((stream.id(), stream.downgrade()));
        let mut list = self.lock();
        let number = list.next;
        list.next += 1;
        list.blocks.push(SetAside { number, base, bytes, stream: freed_on, uses, needs_device });
        self.len.store(list.blocks.len(), Ordering::Release);
        drop(list);
        let me: Weak<dyn StreamObserver> = self.me.clone();
        stream.observe(me);
        // If it was retired meanwhile, nobody was told.
        if let Some(marker) = stream.final_marker() {
            self.retiring(stream.id(), Some(&marker));
        }
    }

    /// Frees what is known to be over, having asked or waited. Returns the bytes that were freed.
    pub(super) fn retry(&self, wait: Wait) -> u64 {
        if self.len.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.mark();
        self.observe(wait);
        // What fails is tried again, and counted meanwhile.
        self.free_what_is_over().0
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.retry(Wait::OnHost);
        let (before, streams) = self.unmarked();
        for stream in streams.iter().filter_map(|(_, weak)| weak.upgrade()) {
            if stream.is_callable_here() && !stream.is_retired() && stream.is_capturing()? {
                let code = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
                let error = DriverError::new(CALL, code);
                return Err(error.with_detail("a stream that memory was freed on captures"));
            }
        }
        let covered = |block: &SetAside| block.number < before;
        if !self.lock().blocks.iter().any(covered) {
            return Ok(());
        }
        self.device.synchronize()?;
        let mut done = Vec::new();
        for block in self.lock().blocks.iter_mut().filter(|block| covered(block)) {
            block.stream = None;
            block.needs_device = false;
            done.append(&mut block.uses);
        }
        drop(done);
        self.free_what_is_over().1
    }

    /// Marks the streams that memory was freed on, as far as this thread can.
    fn mark(&self) {
        let (before, streams) = self.unmarked();
        for (id, weak) in streams {
            let Some(stream) = weak.upgrade() else { continue };
            let can_mark = stream.is_retired()
                || (stream.is_callable_here() && matches!(stream.is_capturing(), Ok(false)));
            let marker = if can_mark { stream.marker().ok() } else { None };
            if let Some(marker) = marker {
                // What was freed since is not covered.
                self.leave(id, before, Some(&marker));
            }
        }
    }

    /// The number that the next block gets, and the streams that are yet to be marked.
    fn unmarked(&self) -> (u64, Vec<(StreamId, WeakStream)>) {
        let list = self.lock();
        let mut streams: Vec<(StreamId, WeakStream)> = Vec::new();
        for (id, weak) in list.blocks.iter().filter_map(|block| block.stream.as_ref()) {
            if !streams.iter().any(|(known, _)| known == id) {
                streams.push((*id, weak.clone()));
            }
        }
        (list.next, streams)
    }

    fn leave(&self, stream: StreamId, before: u64, marker: Option<&Event>) {
        for block in &mut self.lock().blocks {
            let was_freed_there = block.stream.as_ref().is_some_and(|(id, _)| *id == stream);
            if was_freed_there && block.number < before {
                block.leave_stream(marker);
            }
        }
    }

    /// Lets the host see what has completed.
    fn observe(&self, wait: Wait) {
        let pending: Vec<Vec<Event>> = {
            let list = self.lock();
            let marked = list.blocks.iter().filter(|block| block.is_marked());
            marked.map(|block| block.uses.clone()).collect()
        };
        for uses in pending {
            // An event that cannot be asked about stays pending.
            let _ = match wait {
                Wait::No => uses.iter().all(|event| matches!(event.is_complete(), Ok(true))),
                Wait::OnHost => uses.iter().all(|event| event.synchronize().is_ok()),
            };
        }
    }

    /// Returns how many bytes it freed, and the first failure.
    fn free_what_is_over(&self) -> (u64, Result<(), DriverError>) {
        let over: Vec<SetAside> = {
            let mut list = self.lock();
            let over = list.blocks.extract_if(.., |block| block.is_over()).collect();
            self.len.store(list.blocks.len(), Ordering::Release);
            over
        };
        let (mut freed, mut result) = (0, Ok(()));
        for block in over {
            // SAFETY: `base` came from the driver and is not freed yet; the work that was on the stream
            // when the block was freed, before which every access is ordered (contract,
            // freeing/completion-order), and the leaf's own have completed.
            if let Err(error) = unsafe { (self.free)(&self.device, block.base) } {
                result = result.and(Err(error));
                let mut list = self.lock();
                list.blocks.push(block);
                self.len.store(list.blocks.len(), Ordering::Release);
            } else {
                freed += block.bytes;
            }
        }
        (freed, result)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        fork::locked(|| self.list.lock())
    }
}

impl StreamObserver for Quarantine {
    fn retiring(&self, stream: StreamId, marker: Option<&Event>) {
        self.leave(stream, u64::MAX, marker);
    }
}

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.quarantined(), f)
    }
}
