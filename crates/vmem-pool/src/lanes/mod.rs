//! Lanes: who may reuse a freed block, and when. The marker protocol's state.
//!
//! Every stream that uses a pool is a *lane*. A lane has an open *epoch*; a free tags its range
//! with the lane and that epoch and makes no driver call. *Closing* an epoch records an event on
//! the stream, a *marker*, that covers every tag up to it. A thief, which wants a range that
//! another lane freed, uses the earliest marker that covers the range's tag: if it has completed
//! the range is free for all, otherwise the thief's stream waits for it on the device.
//!
//! What a hit and a free need of their lane is its [`Front`], which takes no lock.
//!
//! Nothing here makes a driver call: closing is begun under the pool's lock, recorded without it,
//! and finished under it again.

#![forbid(unsafe_code)]

mod close;
mod front;
mod lane;

use std::collections::HashMap;

pub(crate) use front::Front;
pub(crate) use lane::{Access, Lane};
use vmem_core::{Event, IdleEvent, Stream, StreamId};

use crate::Batch;
use crate::space::Tag;

/// The lane of ranges that no pending work touches.
pub(crate) const CLEAN: Tag = Tag { lane: 0, epoch: 0 };

/// Events kept for recording again.
const IDLE_EVENTS: usize = 64;

/// When a freed range may be reused by the stream that freed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// At once: the stream's own order protects it.
    StreamOrdered,
    /// After the host observed that the work before the free completed, because the host may touch
    /// the memory.
    Observed,
}

/// All lanes of a pool.
#[derive(Debug)]
pub(crate) struct Lanes {
    reuse: Reuse,
    batch: Batch,
    /// `None` where a lane ended and nothing refers to it. Number 0 is the clean lane.
    lanes: Vec<Option<Lane>>,
    /// How many lanes belong to streams.
    streams: usize,
    by_stream: HashMap<StreamId, u32>,
    idle: Vec<IdleEvent>,
    /// Orders markers by when they were recorded.
    recorded: u64,
    /// How often a lane that others could not close was marked, or a lane ended.
    opened: u64,
}

impl Lanes {
    pub(crate) fn new(reuse: Reuse, batch: Batch) -> Self {
        Self {
            reuse,
            batch,
            lanes: vec![Some(Lane::clean(Front::new(CLEAN.lane, u64::MAX, batch, false)))],
            streams: 0,
            by_stream: HashMap::new(),
            idle: Vec::new(),
            recorded: 0,
            opened: 0,
        }
    }

    #[inline]
    pub(crate) fn reuse(&self) -> Reuse {
        self.reuse
    }

    /// The lane of a stream that is known.
    pub(crate) fn find(&self, stream: StreamId) -> Option<u32> {
        self.by_stream.get(&stream).copied()
    }

    /// Makes a lane for a stream that is not known.
    pub(crate) fn add(&mut self, stream: &Stream) -> u32 {
        let vacant = self.lanes.iter().position(Option::is_none);
        let index = vacant.unwrap_or(self.lanes.len());
        if vacant.is_none() {
            self.lanes.push(None);
        }
        let number = u32::try_from(index).expect("fewer than 2^32 streams");
        let front = Front::new(number, 1, self.batch, self.reuse == Reuse::Observed);
        self.lanes[index] = Some(Lane::new(stream, front));
        self.by_stream.insert(stream.id(), number);
        self.streams += 1;
        self.tell_company();
        number
    }

    /// Tells every lane whether it is the only one.
    fn tell_company(&self) {
        for lane in self.lanes.iter().flatten() {
            lane.front().set_accompanied(self.streams > 1);
        }
    }

    /// The numbers of all lanes, the clean one first.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + use<'_> {
        let numbered = (0_u32..).zip(&self.lanes);
        numbered.filter_map(|(number, lane)| lane.as_ref().map(|_| number))
    }

    #[inline]
    pub(crate) fn get(&self, lane: u32) -> Option<&Lane> {
        self.lanes.get(lane as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, lane: u32) -> Option<&mut Lane> {
        self.lanes.get_mut(lane as usize)?.as_mut()
    }

    /// The tag of a range of `bytes` bytes that is being freed on `lane`, and whether the lane's
    /// open batch should be closed now.
    pub(crate) fn tag_free(&self, lane: u32, bytes: u64) -> (Tag, bool) {
        self.get(lane).map_or((CLEAN, false), |lane| lane.front().note_free(bytes))
    }

    /// The tag of what `lane` may use after work that is now queued on its stream.
    pub(crate) fn open_tag(&self, lane: u32) -> Tag {
        self.get(lane).map_or(CLEAN, |state| Tag { lane, epoch: state.front().use_open_epoch() })
    }

    /// What `thief` must do before it uses a range with this tag.
    pub(crate) fn access(&self, tag: Tag, thief: u32) -> Access {
        let own = tag.lane == thief && self.reuse == Reuse::StreamOrdered;
        match self.get(tag.lane) {
            _ if own => Access::Now,
            Some(lane) => lane.access(tag.epoch),
            None => Access::Never,
        }
    }

    /// Whether a range with this tag is known to be free of pending work.
    pub(crate) fn is_complete(&self, tag: Tag) -> bool {
        self.get(tag.lane).is_some_and(|lane| lane.is_complete(tag.epoch))
    }

    /// Notes that everything up to `epoch` has completed, and returns the markers that are of no
    /// more use, to be recycled without the lock.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn complete(&mut self, lane: u32, epoch: u64) -> Vec<Event> {
        self.get_mut(lane).map(|lane| lane.complete(epoch)).unwrap_or_default()
    }

    /// Changes whenever others may use what they could not before although it was free.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Ends a lane: no work will follow on its stream. `marker` covers all of it, if there is one.
    pub(crate) fn end(&mut self, lane: u32, marker: Option<&Event>) {
        let order = self.next_order();
        self.opened += 1;
        let Some(state) = self.get_mut(lane) else { return };
        state.end(marker.cloned(), order);
    }

    /// Forgets an ended lane that no range refers to.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn forget(&mut self, lane: u32) -> Option<Lane> {
        let forgotten = self.lanes.get_mut(lane as usize)?.take();
        if let Some(stream) = forgotten.as_ref().and_then(Lane::stream) {
            self.by_stream.remove(&stream);
        }
        self.streams -= usize::from(forgotten.is_some());
        self.tell_company();
        forgotten
    }

    /// Keeps events for recording again; gives back those there is no room for.
    pub(crate) fn keep_idle(&mut self, mut events: Vec<IdleEvent>) -> Vec<IdleEvent> {
        let room = IDLE_EVENTS.saturating_sub(self.idle.len()).min(events.len());
        self.idle.extend(events.drain(..room));
        events
    }

    /// Takes all events kept, for the end of the pool.
    pub(crate) fn take_idle(&mut self) -> Vec<IdleEvent> {
        std::mem::take(&mut self.idle)
    }

    fn next_order(&mut self) -> u64 {
        self.recorded += 1;
        self.recorded
    }
}
