//! How a pool lets go of streams that have ended, and what it does with memory that is complete.

use std::collections::HashSet;
use std::sync::Arc;

use vmem_core::{Event, StreamId};

use super::{Lane, State, Streams};
use crate::space::{CLEAN, RangeState, Slot, StreamIx, Tag};

impl Streams {
    /// A stream ends: no work will follow on it. `marker` covers all there was, if there is one.
    pub(crate) fn retire(&self, stream: StreamId, marker: Option<&Event>) {
        let mut state = self.lock();
        if let Some(lane) = state.lanes.table.find(stream) {
            state.lanes.end(lane, marker);
        }
        if state.lanes.departed.is_sweep_due() {
            state.forget_ended();
        }
    }
}

impl State {
    /// Hands everything that has completed to the clean lane, where neighbours of all lanes join. Takes `O(f)`
    /// steps for `f` free ranges, none if nothing has changed since the last time.
    pub(crate) fn settle(&mut self) {
        // A sum that changes whenever more may be there to settle.
        let claims = self.space.claims_ended + self.lanes.completions;
        let now = self.counters.allocations + self.counters.frees + claims;
        if self.settled == Some(now) {
            return;
        }
        let ready = |slot: &Slot| {
            let Some(tag) = self.space[*slot].tag() else { return false };
            tag.lane != CLEAN.lane && self.lanes.is_complete(tag)
        };
        let slots: Vec<Slot> = self.space.indexes.all_free().filter(ready).collect();
        self.memory().retag(slots, CLEAN);
        self.settle_dormant();
        self.settled = Some(now);
        self.forget_ended();
    }

    /// Unties dormant addresses that no work touches any more from their lanes.
    fn settle_dormant(&mut self) {
        let complete = |slot: &Slot| match self.space[*slot].state() {
            // Epoch 0 says which lane lends it.
            RangeState::Dormant(Tag { lane, epoch: 0 }) => {
                lane != CLEAN.lane && self.lanes.table.get(lane).is_none_or(Lane::has_ended)
            }
            RangeState::Dormant(tag) => tag.lane != CLEAN.lane && self.lanes.is_complete(tag),
            _ => false,
        };
        let slots: Vec<Slot> = self.space.indexes.dormant.slots().filter(complete).collect();
        for slot in slots {
            // A neighbour may have taken it in meanwhile.
            let range = self.space.ranges.get(slot);
            if range.is_some_and(|range| range.state().dormant().is_some()) {
                self.space.claim(slot);
                self.space.set_state(slot, RangeState::Dormant(CLEAN));
            }
        }
    }

    /// Whether nobody knows the number of a lane, or holds a tag.
    pub(super) fn may_forget(&self) -> bool {
        Arc::strong_count(&self.pins) == 1 && self.space.claims == 0
    }

    /// Forgets ended lanes that have no memory left, unless somebody may hold a tag of theirs.
    fn forget_ended(&mut self) {
        if !self.may_forget() {
            return;
        }
        let ended = std::mem::take(&mut self.lanes.departed.ended);
        if ended.is_empty() {
            return;
        }
        self.inherit(&ended);
        let dormant = self
            .space
            .indexes
            .dormant
            .slots()
            .filter_map(|slot| self.space[slot].state().dormant());
        let tied: HashSet<StreamIx> = dormant.map(|tag| tag.lane).collect();
        let kept = |lane: &StreamIx| {
            let away = || self.lanes.away.freed_by(*lane).next().is_some();
            tied.contains(lane) || !self.space.indexes.owns_nothing(*lane) || away()
        };
        let (kept, gone): (Vec<StreamIx>, Vec<StreamIx>) = ended.into_iter().partition(kept);
        self.lanes.departed.keep(kept);
        gone.into_iter().for_each(|number| self.lanes.forget(number));
    }
}
