//! What must always hold of the ranges.

use std::collections::HashSet;

use super::index::FreeIndex;
use super::{GRAIN, Slot, Space};

impl Space {
    /// Panics if anything is inconsistent. Takes `O(n log n)` steps.
    pub(crate) fn check(&self) {
        self.check_index();
        for (slot, range) in self.iter() {
            if let Some(next) = range.next {
                assert_eq!(self[next].prev, Some(slot), "neighbours know each other");
                assert_eq!(self[next].start, range.end(), "neighbours touch");
                assert!(range.joined(&self[next]).is_none(), "neighbours are coalesced");
            }
            if range.is_live() {
                assert_eq!(self.find(range.start), Some(slot), "a live range is found by address");
            }
        }
    }

    fn check_index(&self) {
        let mut indexed = HashSet::new();
        for slot in self.unmapped().chain(self.dormant()) {
            assert!(indexed.insert(slot), "a range is indexed once");
        }
        for (number, index) in self.free.iter().enumerate() {
            for slot in index.slots() {
                let tag = self[slot].tag().expect("an indexed range is free");
                assert_eq!(tag.lane.index(), number, "a range is in the index of its lane");
                assert!(indexed.insert(slot), "a range is indexed once");
            }
        }
        let listed: HashSet<Slot> = self.all_free().collect();
        let free: HashSet<Slot> = self.free.iter().flat_map(FreeIndex::slots).collect();
        assert_eq!(listed, free, "every free range is found by its size");
        let mut in_use = 0;
        for (slot, range) in self.iter() {
            in_use += 1;
            assert!(range.size() > 0, "no range is empty");
            let on_grain = range.start.is_multiple_of(GRAIN) && range.size().is_multiple_of(GRAIN);
            assert!(on_grain, "ranges lie on the grain");
            assert_eq!(range.state().is_indexed(), indexed.contains(&slot), "exactly the free are");
        }
        let next = |slot: &Slot| self.ranges[slot.index()].next;
        let vacant = std::iter::successors(self.vacant, next).count();
        assert_eq!(in_use + vacant, self.ranges.len() - 1, "a slot is used or vacant");
    }
}
