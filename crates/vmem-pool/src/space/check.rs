//! What must always hold of the ranges.

use std::collections::HashSet;

use super::index::SizeIndex;
use super::ranges::Ranges;
use super::{GRAIN, Slot, Space};

impl Space {
    /// Panics if anything is inconsistent. Takes `O(n log n)` steps.
    pub(crate) fn check(&self) {
        self.ranges.check();
        let Self { ranges, indexes, .. } = self;
        let mut indexed = HashSet::new();
        for slot in indexes.unmapped.slots().chain(indexes.dormant.slots()) {
            assert!(indexed.insert(slot), "a range is indexed once");
        }
        for (number, index) in indexes.lanes.iter().enumerate() {
            for slot in index.slots() {
                let tag = ranges[slot].tag().expect("an indexed range is free");
                assert_eq!(tag.lane.index(), number, "a range is in the index of its lane");
                assert!(indexed.insert(slot), "a range is indexed once");
            }
        }
        let listed: HashSet<Slot> = indexes.all_free().collect();
        let free: HashSet<Slot> = indexes.lanes.iter().flat_map(SizeIndex::slots).collect();
        assert_eq!(listed, free, "every free range is found by its size");
        for (slot, range) in ranges.iter() {
            assert_eq!(range.state().is_indexed(), indexed.contains(&slot), "exactly the free are");
        }
    }
}

impl Ranges {
    fn check(&self) {
        for (slot, range) in self.iter() {
            assert!(range.size() > 0, "no range is empty");
            let on_grain = range.start.is_multiple_of(GRAIN) && range.size().is_multiple_of(GRAIN);
            assert!(on_grain, "ranges lie on the grain");
            if let Some(next) = range.next {
                assert_eq!(self[next].prev, Some(slot), "neighbours know each other");
                assert_eq!(self[next].start, range.end(), "neighbours touch");
                assert!(range.joined(&self[next]).is_none(), "neighbours are coalesced");
            }
            if range.is_live() {
                assert_eq!(self.find(range.start), Some(slot), "a live range is found by address");
            }
        }
        let next = |slot: &Slot| self.slots[slot.index()].next;
        let vacant = std::iter::successors(self.vacant, next).count();
        assert_eq!(self.iter().count() + vacant, self.slots.len() - 1, "a slot is used or vacant");
    }
}
