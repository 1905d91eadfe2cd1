//! What must always hold of the ranges.

use std::collections::HashSet;

use super::{FreeIndex, GRAIN, Slot, Space, State};

impl Space {
    /// Panics if anything is inconsistent. Takes `O(n log n)` steps.
    pub(crate) fn check(&self) {
        let mut indexed: HashSet<Slot> = self.holes().chain(self.dormant()).collect();
        for (lane, index) in self.free.iter().enumerate() {
            for slot in index.slots() {
                let tag = self[slot].tag().expect("an indexed range is free");
                assert_eq!(tag.lane as usize, lane, "a range is in its own lane's index");
                assert!(indexed.insert(slot), "a range is indexed once");
            }
        }
        let unused = self.holes.len() + self.dormant.len();
        let entries = self.free.iter().map(FreeIndex::len).sum::<usize>() + unused;
        assert_eq!(indexed.len(), entries, "no index holds a range twice");
        let mut in_use = 0;
        for (slot, range) in self.iter() {
            in_use += 1;
            self.check_range(slot, indexed.contains(&slot));
            assert_eq!(range.state().is_indexed(), indexed.contains(&slot), "exactly the free are");
        }
        assert_eq!(in_use + self.vacant_slots(), self.ranges.len(), "every slot is used or vacant");
    }

    fn vacant_slots(&self) -> usize {
        let next = |slot: &Slot| self.ranges[slot.index()].next;
        std::iter::successors(self.vacant, next).count()
    }

    fn check_range(&self, slot: Slot, indexed: bool) {
        let range = self[slot];
        assert!(range.size > 0, "no range is empty");
        let on_grain = range.start.is_multiple_of(GRAIN) && range.size.is_multiple_of(GRAIN);
        assert!(on_grain, "ranges lie on the grain");
        if range.state() == State::Hole {
            assert!(indexed, "a hole is in the index of holes");
        }
        if let Some(next) = range.next {
            assert_eq!(self[next].prev, Some(slot), "neighbours know each other");
            assert_eq!(self[next].start, range.end(), "neighbours touch");
            assert!(range.state().joined(self[next].state()).is_none(), "neighbours are coalesced");
        }
        if range.is_live() {
            assert_eq!(self.find(range.start), Some(slot), "a live range is found by address");
        }
    }
}
