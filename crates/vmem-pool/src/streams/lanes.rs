//! What is known of all lanes. Nothing here makes a driver call.

use std::collections::{BTreeSet, HashMap};

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{Event, ResourceId, Stream, StreamId};

use super::front::{Closer, Front};
use super::home::Away;
use super::lane::{Access, Lane};
use super::retire::Departed;
use crate::Batch;
use crate::space::{CLEAN, StreamIx, Tag, visits};
use crate::sync::thread::ThreadId;

/// Events kept for recording again.
const IDLE_EVENTS: usize = 64;

/// When a freed range may be reused by the stream that freed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reuse {
    /// At once: the stream's own order protects it.
    #[default]
    StreamOrdered,
    /// After the host observed that the work before the free completed, because the host may touch
    /// the memory.
    Observed,
}

/// All lanes of a pool.
///
/// There may be thousands. Nothing that a request or a free does looks at all of them: what it needs
/// is found by the stream, by the size of what is free (see [`Space`](crate::space::Space)), or in one
/// of the sets here.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(super) reuse: Reuse,
    pub(super) batch: Batch,
    /// `None` where a lane ended and nothing refers to it. Number 0 is the clean lane.
    pub(super) lanes: Vec<Option<Lane>>,
    /// The numbers of those.
    pub(super) vacant: Vec<StreamIx>,
    pub(super) by_stream: HashMap<StreamId, StreamIx>,
    /// Whether there are several streams.
    pub(super) accompanied: bool,
    /// Lanes with markers that are not known to be complete.
    pub(super) marked: BTreeSet<StreamIx>,
    /// Lanes that have ended and are not forgotten.
    pub(super) ended: Vec<StreamIx>,
    /// With more of those it is time to look which can be forgotten.
    pub(super) sweep_above: usize,
    /// Open lanes that only their stream's thread can close, or calls that vouch for it.
    pub(super) bound: BTreeSet<StreamIx>,
    /// Those of them that another thread met first: whose they are is not known yet.
    pub(super) unowned: BTreeSet<StreamIx>,
    /// Lanes of which nothing may cover what they freed.
    pub(super) uncovered: BTreeSet<StreamIx>,
    /// The lanes of each thread's default streams: one queue of the driver, whatever streams name it one
    /// after the other. An event recorded on a later one covers the work of those before it, because vmem
    /// hands what these had yet to wait for on to it.
    pub(super) queues: HashMap<ThreadId, Vec<StreamIx>>,
    /// What lanes that were forgotten may have pending.
    pub(crate) departed: Departed,
    /// Numbers of memory that is free away from home.
    pub(super) away: Away,
    /// How many requests found nothing at hand.
    pub(super) misses: u64,
    /// Whose the last of those was.
    pub(super) missed_last: StreamIx,
    /// How many there had been when another lane had one last.
    pub(super) missed_before: u64,
    pub(crate) idle: Vec<IdleEvent>,
    /// Orders markers by when they were recorded.
    pub(super) recorded: u64,
    /// How often a lane that others could not close was marked, or a lane ended: changes whenever others may
    /// use what they could not before although it was free.
    pub(crate) opened: u64,
    /// How often more was found to be complete.
    pub(crate) completions: u64,
    /// What is to be dropped without the lock.
    pub(super) garbage: Vec<Garbage>,
}

/// Handles whose end may call the driver.
#[derive(Debug)]
#[expect(dead_code, reason = "they are only dropped")]
pub(crate) enum Garbage {
    Stream(Stream),
    Event(Event),
    Idle(IdleEvent),
    Lane(Lane),
    Departed(Departed),
}

impl Lanes {
    pub(crate) fn new(reuse: Reuse, batch: Batch) -> Self {
        let front = Front::new(CLEAN.lane, u64::MAX, batch, false, Closer::Anybody);
        Self { reuse, batch, lanes: vec![Some(Lane::clean(front))], ..Self::default() }
    }

    #[inline]
    pub(crate) fn reuse(&self) -> Reuse {
        self.reuse
    }

    /// The lane of a stream that is known, which may have ended.
    #[inline]
    pub(crate) fn known(&mut self, pool: ResourceId, stream: &Stream) -> Option<StreamIx> {
        match stream.noted(pool).map(StreamIx) {
            Some(lane) if self.is_of(lane, stream.id()) => Some(lane),
            _ => self.look_up(pool, stream),
        }
    }

    /// Whether a lane is this stream's; another stream may have its number by now.
    #[inline]
    pub(super) fn is_of(&self, lane: StreamIx, stream: StreamId) -> bool {
        let lane = self.lanes.get(lane.index()).and_then(Option::as_ref);
        lane.is_some_and(|lane| lane.stream() == Some(stream))
    }

    #[cold]
    fn look_up(&mut self, pool: ResourceId, stream: &Stream) -> Option<StreamIx> {
        let lane = self.find(stream.id())?;
        self.note_owner(lane, stream);
        self.note_on(pool, stream, lane);
        Some(lane)
    }

    /// Notes the lane on its stream, so that it is found there. Not while it is not known whose default
    /// stream it is: its own thread is to be noticed.
    pub(crate) fn note_on(&self, pool: ResourceId, stream: &Stream, lane: StreamIx) {
        if !self.unowned.contains(&lane) {
            stream.note(pool, lane.0);
        }
    }

    /// All lanes that are not forgotten.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().flatten()
    }

    /// The lane of a stream that is known.
    pub(crate) fn find(&self, stream: StreamId) -> Option<StreamIx> {
        self.by_stream.get(&stream).copied()
    }

    /// The open lane of a stream that is known. `None` says only that it takes more to find it.
    #[inline(always)]
    pub(super) fn open(
        &mut self,
        pool: ResourceId,
        stream: &Stream,
    ) -> Option<(StreamIx, &mut Front)> {
        let number = match stream.noted(pool).map(StreamIx) {
            Some(number) => number,
            None => self.look_up(pool, stream)?,
        };
        let lane = self.lanes.get_mut(number.index())?.as_mut()?;
        let open = lane.stream() == Some(stream.id()) && !lane.front().has_ended();
        open.then(|| (number, lane.front_mut()))
    }

    #[inline]
    pub(crate) fn get(&self, lane: StreamIx) -> Option<&Lane> {
        visits::note();
        self.lanes.get(lane.index())?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, lane: StreamIx) -> Option<&mut Lane> {
        visits::note();
        self.lanes.get_mut(lane.index())?.as_mut()
    }

    /// The tag of a range of `bytes` bytes that is being freed on `lane`, and whether the lane's
    /// open batch should be closed now.
    #[inline]
    pub(crate) fn tag_free(&mut self, lane: StreamIx, bytes: u64) -> (Tag, bool) {
        let accompanied = self.accompanied;
        let lane = self.lanes.get_mut(lane.index()).and_then(Option::as_mut);
        lane.map_or((CLEAN, false), |lane| lane.front_mut().note_free(bytes, accompanied))
    }

    /// Whether others may come for what the lane frees who cannot close it, or are there already.
    pub(crate) fn needs_marks(&self, lane: StreamIx) -> bool {
        self.get(lane).is_some_and(|lane| lane.front().needs_marks(self.accompanied))
    }

    /// The lane's open batch was to be closed and could not be by this caller.
    pub(crate) fn leave_open(&mut self, lane: StreamIx) {
        if let Some(lane) = self.get_mut(lane) {
            lane.front_mut().leave_open();
        }
    }

    /// The tag of what `lane` may use after work that is now queued on its stream.
    pub(crate) fn open_tag(&mut self, lane: StreamIx) -> Tag {
        let state = self.get_mut(lane);
        state.map_or(CLEAN, |state| Tag { lane, epoch: state.front_mut().use_open_epoch() })
    }

    /// What `thief` must do before it uses a range with this tag.
    pub(crate) fn access(&self, tag: Tag, thief: StreamIx) -> Access<'_> {
        let lane = self.freed_on(tag.lane);
        let own = lane == thief && self.reuse == Reuse::StreamOrdered;
        match self.get(lane) {
            _ if own => Access::Now,
            Some(lane) => lane.access(tag.epoch),
            None => Access::Never,
        }
    }

    /// Whether a range with this tag is known to be free of pending work.
    pub(crate) fn is_complete(&self, tag: Tag) -> bool {
        let lane = self.get(self.freed_on(tag.lane));
        lane.is_some_and(|lane| lane.is_complete(tag.epoch))
    }

    /// Notes that everything up to `epoch` has completed, and returns the markers that are of no
    /// more use, to be recycled without the lock.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn complete(&mut self, lane: StreamIx, epoch: u64) -> Vec<Event> {
        self.completions += 1;
        let Some(state) = self.get_mut(lane) else { return Vec::new() };
        let done = state.complete(epoch);
        if !state.has_markers() {
            self.marked.remove(&lane);
        }
        done
    }

    /// Adds a marker unless a later epoch was recorded before it.
    pub(super) fn publish(&mut self, lane: StreamIx, epoch: u64, event: Event, order: u64) {
        let displaced = match self.get_mut(lane) {
            Some(state) => {
                let displaced = state.publish(epoch, event, order);
                if state.has_markers() {
                    self.marked.insert(lane);
                }
                displaced
            }
            None => Some(event),
        };
        self.garbage.extend(displaced.map(Garbage::Event));
    }

    /// How many lanes there are, the clean one aside.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.by_stream.len()
    }

    /// Keeps events for recording again, as many as there is room for.
    pub(crate) fn keep_idle(&mut self, events: impl IntoIterator<Item = IdleEvent>) {
        for event in events {
            match self.idle.len() < IDLE_EVENTS {
                true => self.idle.push(event),
                false => self.garbage.push(Garbage::Idle(event)),
            }
        }
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.recorded += 1;
        self.recorded
    }
}
