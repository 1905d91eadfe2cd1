//! How lanes begin and end, and what is done about those that ended without a marker.

use vmem_core::author::{StreamExt, WeakStream};
use vmem_core::{Event, Stream, StreamKind};

use super::front::{Closer, Front};
use super::lane::Lane;
use super::lanes::{Garbage, Lanes, Reuse};
use crate::space::StreamIx;
use crate::sync::thread::{self, ThreadId};

impl Lanes {
    /// Makes a lane for a stream that is not known.
    pub(crate) fn add(&mut self, stream: &Stream) -> StreamIx {
        let number = self.vacant_number();
        let observed = self.reuse == Reuse::Observed;
        let closer = match stream.is_bound() {
            true if is_threads_own(stream) => Closer::Thread,
            true => Closer::Voucher,
            false => Closer::Anybody,
        };
        let front = Front::new(number, 1, self.batch, observed, closer);
        let lane = Lane::new(stream, front);
        if lane.bound {
            self.bound.insert(number);
        }
        match lane.owner {
            Some(owner) => self.queues.entry(owner).or_default().push(number),
            None if is_threads_own(stream) => _ = self.unowned.insert(number),
            None => {}
        }
        self.lanes[number.index()] = Some(lane);
        self.by_stream.insert(stream.id(), number);
        self.note_company();
        self.want_for_others(number);
        number
    }

    pub(super) fn vacant_number(&mut self) -> StreamIx {
        self.vacant.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            StreamIx::at(self.lanes.len() - 1)
        })
    }

    fn note_company(&mut self) {
        self.accompanied = self.by_stream.len() > 1;
    }

    /// Notes whose default stream a lane is, if that was not known and can be told here.
    pub(crate) fn note_owner(&mut self, lane: StreamIx, stream: &Stream) {
        if !is_threads_own(stream) {
            return;
        }
        let unknown = self.get(lane).is_some_and(|lane| lane.owner.is_none());
        if unknown && let Some(owner) = owner_of(stream) {
            self.queues.entry(owner).or_default().push(lane);
            self.unowned.remove(&lane);
            self.get_mut(lane).into_iter().for_each(|lane| lane.owner = Some(owner));
            self.want_for_others(lane);
        }
    }

    /// The lanes of a thread's default streams.
    fn queue_of(&self, owner: ThreadId) -> &[StreamIx] {
        self.queues.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// Those of the calling thread.
    fn queue_here(&self) -> &[StreamIx] {
        if self.queues.is_empty() { &[] } else { self.queue_of(thread::current().id()) }
    }

    /// The lanes of the calling thread's default streams that have unmarked frees.
    pub(crate) fn unmarked_here(&self) -> Vec<StreamIx> {
        let unmarked = |&number: &StreamIx| {
            self.get(number).is_some_and(|lane| !lane.has_ended() && lane.has_unmarked_frees())
        };
        self.queue_here().iter().copied().filter(unmarked).collect()
    }

    /// Default streams of which it is not known yet whose they are, with their lanes.
    pub(crate) fn unowned(&self) -> Vec<(StreamIx, WeakStream)> {
        let lanes = self.unowned.iter().filter_map(|&number| Some((number, self.get(number)?)));
        lanes.map(|(number, lane)| (number, lane.handle.clone())).collect()
    }

    /// Ends a lane: no work will follow on its stream. `marker` covers all of it, if there is one.
    pub(crate) fn end(&mut self, lane: StreamIx, marker: Option<&Event>) {
        let order = self.next_order();
        self.opened += 1;
        let Some(state) = self.get_mut(lane).filter(|state| !state.has_ended()) else { return };
        state.end(marker.cloned(), order);
        let owner = state.owner;
        self.bound.remove(&lane);
        self.unowned.remove(&lane);
        self.ended.push(lane);
        match marker {
            Some(_) => {
                self.uncovered.remove(&lane);
                self.marked.insert(lane);
            }
            None => self.leave_unmarked(lane, owner),
        }
    }

    /// A lane has ended, and nothing covers its last frees.
    fn leave_unmarked(&mut self, lane: StreamIx, owner: Option<ThreadId>) {
        self.uncovered.insert(lane);
        // The thread's next default stream can still cover what was freed on this one.
        let others = owner.map_or(&[][..], |owner| self.queue_of(owner)).to_vec();
        others.into_iter().for_each(|other| self.want_for_others(other));
    }

    /// A marker of the lane stands for nothing. What it was to cover can be marked again, unless the stream
    /// has ended.
    pub(crate) fn lose(&mut self, lane: StreamIx, epoch: u64) {
        let Some(state) = self.get_mut(lane) else { return };
        let Some(lost) = state.lose(epoch) else { return };
        let (unmarked, owner) = (state.is_unmarked(), state.owner);
        if !state.has_markers() {
            self.marked.remove(&lane);
        }
        if unmarked {
            self.leave_unmarked(lane, owner);
        }
        self.garbage.push(Garbage::Event(lost));
    }

    /// Earlier default streams of the lane's thread that ended unmarked.
    pub(super) fn unmarked_before(&self, lane: StreamIx) -> Vec<StreamIx> {
        let owner = self.get(lane).and_then(|lane| lane.owner);
        let lanes = owner.map_or(&[][..], |owner| self.queue_of(owner));
        let unmarked = |other: &StreamIx| self.get(*other).is_some_and(Lane::is_unmarked);
        lanes.iter().copied().filter(unmarked).collect()
    }

    /// Asks the next caller of an open lane to mark it, if that would cover what other lanes freed.
    pub(super) fn want_for_others(&mut self, lane: StreamIx) {
        if !self.unmarked_before(lane).is_empty()
            && let Some(state) = self.get_mut(lane).filter(|state| !state.has_ended())
        {
            state.front_mut().want();
        }
    }

    /// A marker recorded after these lanes had ended unmarked, on a later default stream of their
    /// thread, covers them.
    pub(super) fn bequeath(&mut self, lanes: Vec<StreamIx>, marker: &Event, order: u64) {
        for lane in lanes {
            // One that ended meanwhile in another way needs it no more.
            if let Some(state) = self.get_mut(lane).filter(|state| state.is_unmarked()) {
                state.end(Some(marker.clone()), order);
                self.opened += 1;
                self.uncovered.remove(&lane);
                self.marked.insert(lane);
            }
        }
    }

    /// A marker of the lane could not be queried: nobody else may rely on its markers.
    pub(crate) fn poison(&mut self, lane: StreamIx) {
        if let Some(state) = self.get_mut(lane) {
            state.poisoned = true;
            self.uncovered.insert(lane);
        }
    }

    /// Streams of threads that may have ended, leaving unmarked frees, with their lanes.
    pub(crate) fn possible_orphans(&self) -> Vec<(StreamIx, WeakStream)> {
        let lanes = self.bound.iter().filter_map(|&number| Some((number, self.get(number)?)));
        let possible = lanes.filter(|(_, lane)| !lane.orphaned && lane.has_unmarked_frees());
        possible.map(|(number, lane)| (number, lane.handle.clone())).collect()
    }

    /// Another lane takes memory of this one, for which it had to close it or not.
    pub(crate) fn note_theft(&mut self, lane: StreamIx, closes: bool) {
        let frees = if closes { 8 } else { 2 };
        let lane = self.get_mut(self.freed_on(lane));
        lane.into_iter().for_each(|lane| lane.front_mut().note_theft(frees));
    }

    /// Whether the lane marks what it frees at once, because others take it.
    pub(crate) fn marks_at_once(&self, lane: StreamIx) -> bool {
        self.get(self.freed_on(lane)).is_some_and(|lane| lane.front().marks_at_once())
    }

    /// Whether the calling thread has nothing to mark on default streams of its own, as far as is known.
    pub(crate) fn owes_nothing_here(&self) -> bool {
        self.unowned.is_empty() && self.queue_here().is_empty()
    }

    /// Another lane looked at what this one freed.
    pub(crate) fn contend(&mut self, lane: StreamIx) {
        self.get_mut(self.freed_on(lane)).into_iter().for_each(Lane::contend);
    }

    /// Whether others cannot mark what the lane frees.
    pub(crate) fn is_bound(&self, lane: StreamIx) -> bool {
        self.get(self.freed_on(lane)).is_some_and(|lane| lane.bound)
    }

    /// Asks threads to mark what they freed on their default streams when they next call the pool, and
    /// what they free from then on.
    pub(crate) fn contend_bound(&mut self) {
        for &number in &self.bound {
            let lane = self.lanes.get_mut(number.index()).and_then(Option::as_mut);
            if let Some(lane) = lane.filter(|lane| lane.has_unmarked_frees()) {
                lane.contend();
            }
        }
    }

    /// The thread that alone could close the lane has ended.
    pub(crate) fn orphan(&mut self, lane: StreamIx) {
        if let Some(state) = self.get_mut(lane).filter(|lane| !lane.has_ended()) {
            state.orphaned = true;
            self.uncovered.insert(lane);
        }
    }

    /// Begins a synchronisation of the device: returns each lane with the epoch that it will complete.
    pub(crate) fn before_device_sync(&mut self) -> Vec<(StreamIx, u64)> {
        self.opened += 1;
        let lanes = (0..).map(StreamIx::at).zip(&mut self.lanes).skip(1);
        lanes
            .filter_map(|(number, lane)| Some((number, lane.as_mut()?.before_device_sync())))
            .collect()
    }

    /// The device was synchronised since `epoch` was closed.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn after_device_sync(&mut self, lane: StreamIx, epoch: u64) -> Vec<Event> {
        let done = self.complete(lane, epoch);
        // A later marker was recorded meanwhile, and may be the one that could not be queried.
        if let Some(state) = self.get_mut(lane).filter(|state| !state.has_markers()) {
            state.poisoned = false;
            if !state.orphaned {
                self.uncovered.remove(&lane);
            }
        }
        done
    }

    /// The host has waited for the lane's latest marker: what could not be queried before is complete,
    /// unless a later marker was recorded meanwhile, which may be the one that could not.
    pub(crate) fn trust(&mut self, lane: StreamIx) {
        let settled = |state: &&mut Lane| state.poisoned && !state.has_markers();
        if let Some(state) = self.get_mut(lane).filter(settled) {
            state.poisoned = false;
            if !state.orphaned && !state.is_unmarked() {
                self.uncovered.remove(&lane);
            }
        }
    }

    /// Lanes whose markers could not be queried.
    pub(crate) fn poisoned(&self) -> Vec<StreamIx> {
        let is_poisoned = |lane: &StreamIx| self.get(*lane).is_some_and(|lane| lane.poisoned);
        self.uncovered.iter().copied().filter(is_poisoned).collect()
    }

    /// Whether it is time to look which of the lanes that have ended can be forgotten. Looking takes as
    /// many steps as there are, so it is put off until twice as many have ended as could not be
    /// forgotten the last time.
    pub(crate) fn is_sweep_due(&self) -> bool {
        self.ended.len() > self.sweep_above
    }

    /// Lanes that have ended, to look which of them can be forgotten. Each must be
    /// [forgotten](Self::forget) or [kept](Self::keep_ended).
    pub(crate) fn take_ended(&mut self) -> Vec<StreamIx> {
        self.sweep_above = 0;
        std::mem::take(&mut self.ended)
    }

    /// Lanes that have ended cannot be forgotten yet.
    pub(crate) fn keep_ended(&mut self, lanes: Vec<StreamIx>) {
        self.sweep_above = 2 * lanes.len();
        self.ended = lanes;
    }

    /// Forgets an ended lane that no range refers to.
    pub(crate) fn forget(&mut self, lane: StreamIx) {
        let forgotten = self.lanes.get_mut(lane.index()).and_then(Option::take);
        let Some(forgotten) = forgotten else { return };
        self.vacant.push(lane);
        self.marked.remove(&lane);
        self.uncovered.remove(&lane);
        if let Some(stream) = forgotten.stream() {
            self.by_stream.remove(&stream);
            if !forgotten.is_complete(u64::MAX) {
                self.departed.note(forgotten.last_marker());
            }
        }
        if let Some(owner) = forgotten.owner
            && let Some(queue) = self.queues.get_mut(&owner)
        {
            queue.retain(|&known| known != lane);
            if queue.is_empty() {
                self.queues.remove(&owner);
            }
        }
        self.note_company();
        self.garbage.push(Garbage::Lane(forgotten));
    }

    /// All work of the device was waited for when so many of those had been forgotten.
    pub(crate) fn forget_departed(&mut self, count: u64) {
        if self.departed.count == count {
            let departed = std::mem::take(&mut self.departed);
            self.garbage.push(Garbage::Departed(departed));
        }
    }
}

/// Whether it is some thread's default stream.
pub(super) fn is_threads_own(stream: &Stream) -> bool {
    stream.kind() == StreamKind::PerThreadDefault
}

/// The thread whose default stream this is, if it is one and the calling thread's own.
pub(super) fn owner_of(stream: &Stream) -> Option<ThreadId> {
    let own = is_threads_own(stream) && stream.is_callable_here();
    own.then(|| thread::current().id())
}
