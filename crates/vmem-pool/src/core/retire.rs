//! What a pool does when a stream ends, and how it lets go of ended lanes.

use vmem_core::{Event, EventKind, MemoryEvent, StreamId, StreamObserver};

use super::{Core, State};
use crate::backing::Backing;
use crate::lanes::{CLEAN, Lane};
use crate::space::{Slot, State as Range};

impl<B: Backing> StreamObserver for Core<B> {
    fn retiring(&self, stream: StreamId, marker: Option<&Event>) {
        let mut state = self.lock();
        if let Some(lane) = state.shared.lanes.find(stream) {
            state.shared.lanes.end(lane, marker);
        }
        let forgotten = state.forget_ended();
        drop(state);
        drop(forgotten);
        if let Some(sink) = &self.config.sink {
            sink.event(&MemoryEvent::new(EventKind::Retire, self.id).on(stream));
        }
    }
}

impl State<'_> {
    /// Hands everything that has completed to the clean lane, in the first shard, where neighbours of
    /// all lanes join; what is free in slabs too. Takes `O(n)` steps. Returns lanes to be dropped
    /// without the lock.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn settle(&mut self) -> Vec<Lane> {
        let numbers: Vec<u32> = self.shared.lanes.numbers().collect();
        for lane in numbers {
            let complete = |slot: &Slot| {
                self.space[*slot].tag().is_some_and(|tag| self.shared.lanes.is_complete(tag))
            };
            let settled = |slot: &Slot| {
                lane == CLEAN.lane && slot.shard() == 0 && !self.space[*slot].is_in_slab()
            };
            let free = self.space.free_of(lane).filter(|slot| !settled(slot));
            let slots: Vec<Slot> = free.filter(complete).collect();
            for slot in slots {
                self.space.claim(slot);
                let slot = self.space.move_to(slot, 0);
                self.space.leave_slab(slot);
                self.space.release(slot, Range::Free(CLEAN));
            }
        }
        self.settle_dormant();
        self.forget_ended()
    }

    /// Unties dormant addresses that no work touches any more from their lanes.
    fn settle_dormant(&mut self) {
        let complete = |slot: &Slot| match self.space[*slot].state() {
            Range::Dormant(tag) => tag.lane != CLEAN.lane && self.shared.lanes.is_complete(tag),
            _ => false,
        };
        let slots: Vec<Slot> = self.space.dormant().filter(complete).collect();
        for slot in slots {
            // A neighbour may have taken it in meanwhile.
            if let Some(Range::Dormant(_)) = self.space.get(slot).map(|range| range.state()) {
                self.space.claim(slot);
                self.space.release(slot, Range::Dormant(CLEAN));
            }
        }
    }

    /// Forgets ended lanes that have no memory left, unless somebody may hold a tag of theirs.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    fn forget_ended(&mut self) -> Vec<Lane> {
        if self.shared.claims > 0 {
            return Vec::new();
        }
        let tied: Vec<u32> =
            self.space.dormant().filter_map(|slot| self.dormant_lane(slot)).collect();
        let ended = |number: &u32| {
            self.shared.lanes.get(*number).is_some_and(Lane::has_ended)
                && self.space.free_of(*number).next().is_none()
                && !tied.contains(number)
        };
        let numbers: Vec<u32> = self.shared.lanes.numbers().skip(1).filter(ended).collect();
        numbers.into_iter().filter_map(|number| self.shared.lanes.forget(number)).collect()
    }

    fn dormant_lane(&self, slot: Slot) -> Option<u32> {
        match self.space[slot].state() {
            Range::Dormant(tag) => Some(tag.lane),
            _ => None,
        }
    }
}
