//! How lanes begin and end.

use vmem_core::author::StreamExt;
use vmem_core::{Event, Stream};

use super::bound::{is_threads_own, owner_of};
use super::front::{Closer, Front};
use super::lane::Lane;
use super::lanes::{Garbage, Lanes, Reuse};
use crate::space::StreamIx;

impl Lanes {
    /// Makes a lane for a stream that is not known.
    pub(super) fn add(&mut self, stream: &Stream) -> StreamIx {
        let number = self.table.vacant_number();
        let observed = self.reuse == Reuse::Observed;
        let closer = match stream.is_bound() {
            true if is_threads_own(stream) => Closer::Thread,
            true => Closer::Voucher,
            false => Closer::Anybody,
        };
        let front = Front::new(number, 1, self.batch, observed, closer);
        let lane = Lane::new(stream, front);
        self.bound.add(number, &lane, stream);
        self.table.insert(number, stream.id(), lane);
        self.want_for_others(number);
        number
    }

    /// Notes whose default stream a lane is, if that was not known and can be told here.
    pub(super) fn note_owner(&mut self, number: StreamIx, stream: &Stream) {
        if !is_threads_own(stream) {
            return;
        }
        let unknown = self.table.get_mut(number).filter(|lane| lane.owner.is_none());
        if let Some(lane) = unknown
            && let Some(owner) = owner_of(stream)
        {
            lane.owner = Some(owner);
            self.bound.own(number, owner);
            self.want_for_others(number);
        }
    }

    /// Ends a lane: no work will follow on its stream. `marker` covers all of it, if there is one.
    pub(super) fn end(&mut self, number: StreamIx, marker: Option<&Event>) {
        self.recorded += 1;
        self.opened += 1;
        let lane = self.table.get_mut(number).filter(|lane| !lane.has_ended());
        let Some(lane) = lane else { return };
        lane.end(marker.cloned(), self.recorded);
        let owner = lane.owner;
        self.bound.end(number);
        self.departed.ended.push(number);
        match marker {
            Some(_) => self.cover(number),
            None => self.leave_unmarked(number, owner),
        }
    }

    /// Forgets an ended lane that no range refers to.
    pub(super) fn forget(&mut self, number: StreamIx) {
        let Some(lane) = self.table.remove(number) else { return };
        self.marked.remove(&number);
        self.uncovered.remove(&number);
        if !lane.is_complete(u64::MAX) {
            self.departed.note(lane.last_marker());
        }
        if let Some(owner) = lane.owner {
            self.bound.forget(number, owner);
        }
        self.garbage.push(Garbage::Lane(lane));
    }
}
