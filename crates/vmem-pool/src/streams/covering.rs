//! What covers what lanes freed: markers, until they are complete or lost, and what is done about lanes that
//! ended without one.

use vmem_core::Event;

use super::lane::Lane;
use super::lanes::{Garbage, Lanes};
use crate::space::StreamIx;
use crate::sync::thread::ThreadId;

impl Lanes {
    /// A marker covers all of a lane that has ended. One that could not be queried stays set aside until the
    /// host has waited for the marker.
    pub(super) fn cover(&mut self, number: StreamIx) {
        if self.table.get(number).is_none_or(|lane| !lane.poisoned) {
            self.uncovered.remove(&number);
        }
        self.marked.insert(number);
    }

    /// A lane has ended, and nothing covers its last frees.
    pub(super) fn leave_unmarked(&mut self, number: StreamIx, owner: Option<ThreadId>) {
        self.uncovered.insert(number);
        // The thread's next default stream can still cover what was freed on this one.
        let others = self.bound.queue_of(owner).to_vec();
        others.into_iter().for_each(|other| self.want_for_others(other));
    }

    /// Earlier default streams of the lane's thread that ended unmarked.
    pub(super) fn unmarked_before(&self, number: StreamIx) -> Vec<StreamIx> {
        let owner = self.table.get(number).and_then(|lane| lane.owner);
        let unmarked = |other: &StreamIx| self.table.get(*other).is_some_and(Lane::is_unmarked);
        self.bound.queue_of(owner).iter().copied().filter(unmarked).collect()
    }

    /// Asks the next caller of an open lane to mark it, if that would cover what other lanes freed.
    pub(super) fn want_for_others(&mut self, number: StreamIx) {
        if !self.unmarked_before(number).is_empty()
            && let Some(lane) = self.table.get_mut(number).filter(|lane| !lane.has_ended())
        {
            lane.front.want();
        }
    }

    /// A marker recorded after these lanes had ended unmarked, on a later default stream of their
    /// thread, covers them.
    pub(super) fn bequeath(&mut self, lanes: Vec<StreamIx>, marker: &Event, order: u64) {
        for number in lanes {
            // One that ended meanwhile in another way needs it no more.
            if let Some(lane) = self.table.get_mut(number).filter(|lane| lane.is_unmarked()) {
                lane.end(Some(marker.clone()), order);
                self.opened += 1;
                self.cover(number);
            }
        }
    }

    /// Adds a marker unless a later epoch was recorded before it.
    pub(super) fn publish(&mut self, number: StreamIx, epoch: u64, event: Event, order: u64) {
        let displaced = match self.table.get_mut(number) {
            Some(lane) => {
                let displaced = lane.publish(epoch, event, order);
                if lane.has_markers() {
                    self.marked.insert(number);
                }
                displaced
            }
            None => Some(event),
        };
        self.garbage.extend(displaced.map(Garbage::Event));
    }

    /// The device was waited for, which completed everything up to `epoch`: the same as
    /// [`complete`](Self::complete), and the lane is to be relied on again.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn after_device_sync(&mut self, number: StreamIx, epoch: u64) -> Vec<Event> {
        let done = self.complete(number, epoch);
        self.trust(number);
        done
    }

    /// Notes that everything up to `epoch` has completed, and returns the markers that are of no
    /// more use, to be recycled without the lock.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn complete(&mut self, number: StreamIx, epoch: u64) -> Vec<Event> {
        self.completions += 1;
        let Some(lane) = self.table.get_mut(number) else { return Vec::new() };
        let done = lane.complete(epoch);
        if !lane.has_markers() {
            self.marked.remove(&number);
        }
        done
    }

    /// A marker of the lane stands for nothing. What it was to cover can be marked again, unless the stream
    /// has ended.
    pub(super) fn lose(&mut self, number: StreamIx, epoch: u64) {
        let Some(lane) = self.table.get_mut(number) else { return };
        let Some(lost) = lane.lose(epoch) else { return };
        let (unmarked, owner) = (lane.is_unmarked(), lane.owner);
        if !lane.has_markers() {
            self.marked.remove(&number);
        }
        if unmarked {
            self.leave_unmarked(number, owner);
        }
        self.garbage.push(Garbage::Event(lost));
    }

    /// A marker of the lane could not be queried: nobody else may rely on its markers.
    pub(crate) fn poison(&mut self, number: StreamIx) {
        if let Some(lane) = self.table.get_mut(number) {
            lane.poisoned = true;
            self.uncovered.insert(number);
        }
    }

    /// The thread that alone could close the lane has ended.
    pub(super) fn orphan(&mut self, number: StreamIx) {
        if let Some(lane) = self.table.get_mut(number).filter(|lane| !lane.has_ended()) {
            lane.orphaned = true;
            self.uncovered.insert(number);
        }
    }

    /// The host has waited for the lane's latest marker, or for the device: what could not be queried before is
    /// complete, unless a later marker was recorded meanwhile, which may be the one that could not.
    pub(crate) fn trust(&mut self, number: StreamIx) {
        let settled = self.table.get_mut(number).filter(|lane| !lane.has_markers());
        let Some(lane) = settled else { return };
        lane.poisoned = false;
        let left = lane.is_unmarked() && !lane.is_complete(u64::MAX);
        if !lane.orphaned && !left {
            self.uncovered.remove(&number);
        }
    }

    /// Lanes whose markers could not be queried.
    pub(crate) fn poisoned(&self) -> Vec<StreamIx> {
        let poisoned = |number: &StreamIx| self.table.get(*number).is_some_and(|it| it.poisoned);
        self.uncovered.iter().copied().filter(poisoned).collect()
    }
}
