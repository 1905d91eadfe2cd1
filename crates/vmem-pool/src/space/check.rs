//! What must always hold of the ranges.

use std::collections::HashSet;
use std::ops::DerefMut;

use super::index::FreeIndex;
use super::{GRAIN, RangeState, Shard, Slot, Space};

impl<S: DerefMut<Target = Shard>> Space<S> {
    /// Panics if anything is inconsistent. Takes `O(n log n)` steps.
    pub(crate) fn check(&self) {
        self.shards().for_each(Shard::check);
        for (slot, range) in self.iter() {
            if let Some(next) = self.next(slot) {
                assert_eq!(self.prev(next), Some(slot), "neighbours know each other");
                assert_eq!(self[next].start, range.end(), "neighbours touch");
                let joined = range.joined(&self[next]);
                let apart = slot.shard() != next.shard();
                assert!(apart || joined.is_none(), "neighbours in a shard are coalesced");
            }
            if range.is_live() {
                assert_eq!(self.find(range.start), Some(slot), "a live range is found by address");
            }
        }
        let edges = self.shards().flat_map(|shard| shard.edges().map(move |edge| (edge, shard)));
        for (edge, shard) in edges {
            let twin = [shard[edge].prev, shard[edge].next];
            let twin = twin.into_iter().flatten().find(|slot| slot.shard() != edge.shard());
            let twin = self[twin.expect("an edge has a twin")];
            assert_eq!(twin.state(), RangeState::Edge, "which is one");
            assert!([twin.prev, twin.next].contains(&Some(edge)), "and knows it");
        }
    }
}

impl Shard {
    fn check(&self) {
        let mut indexed: HashSet<Slot> = self.unmapped().chain(self.dormant()).collect();
        for (number, index) in self.free.iter().enumerate() {
            for slot in index.slots() {
                let tag = self[slot].tag().expect("an indexed range is free");
                assert_eq!(tag.lane as usize, number, "a range is in the index of its lane");
                assert!(indexed.insert(slot), "a range is indexed once");
            }
        }
        let listed: HashSet<Slot> = self.all_free().collect();
        let free: HashSet<Slot> = self.free.iter().flat_map(FreeIndex::slots).collect();
        assert_eq!(listed, free, "every free range is found by its size");
        let unused = self.unmapped.len() + self.dormant.len();
        let entries = self.free.iter().map(FreeIndex::len).sum::<usize>() + unused;
        assert_eq!(indexed.len(), entries, "no index holds a range twice");
        let mut in_use = 0;
        for (slot, range) in self.iter() {
            in_use += 1;
            assert_eq!(slot.shard(), self.number, "a range is in its shard");
            assert!(range.size > 0, "no range is empty");
            let on_grain = range.start.is_multiple_of(GRAIN) && range.size.is_multiple_of(GRAIN);
            assert!(on_grain, "ranges lie on the grain");
            assert_eq!(range.state().is_indexed(), indexed.contains(&slot), "exactly the free are");
        }
        let used = in_use + self.edges().count();
        assert_eq!(used + self.vacant_slots(), self.ranges.len(), "every slot is used or vacant");
    }

    fn edges(&self) -> impl Iterator<Item = Slot> {
        let slots = (0..self.ranges.len()).map(|index| Slot::at(self.number, index));
        slots.filter(|&slot| self[slot].state() == RangeState::Edge)
    }

    fn vacant_slots(&self) -> usize {
        let next = |slot: &Slot| self.ranges[slot.index()].next;
        std::iter::successors(self.vacant, next).count()
    }
}
