//! Where shards meet: a range of one next to a range of another.
//!
//! Between the two lies a pair of edges, one in each shard, which know each other. Inside a shard
//! an edge is a neighbour like any other that never joins; only here somebody looks beyond it.

use std::ops::DerefMut;

use super::{Range, RangeState, Shard, Slot, Space};

impl<S: DerefMut<Target = Shard>> Space<S> {
    /// The range below, in whatever shard.
    pub(crate) fn prev(&self, slot: Slot) -> Option<Slot> {
        let prev = self[slot].prev?;
        if self.is_edge(prev) { self[self[prev].prev?].prev } else { Some(prev) }
    }

    /// The range above, in whatever shard.
    pub(crate) fn next(&self, slot: Slot) -> Option<Slot> {
        let next = self[slot].next?;
        if self.is_edge(next) { self[self[next].next?].next } else { Some(next) }
    }

    /// Moves a claimed range to another shard, where it has another slot.
    pub(crate) fn move_to(&mut self, slot: Slot, shard: usize) -> Slot {
        if slot.shard() == shard {
            return slot;
        }
        let range = self[slot];
        debug_assert!(range.state() == RangeState::Claimed);
        let (prev, next) = (self.prev(slot), self.next(slot));
        let moved = self.shard_mut(shard).new_range(range.between(None, None));
        self.drop_edge(range.prev);
        self.drop_edge(range.next);
        if let Some(prev) = prev {
            self.connect(prev, moved);
        }
        if let Some(next) = next {
            self.connect(moved, next);
        }
        // Last: until now the neighbours named it, and a new edge must not be mistaken for it.
        self.shard_mut(slot.shard()).retire_slot(slot);
        moved
    }

    /// Makes two ranges neighbours that were so of a range between them.
    fn connect(&mut self, low: Slot, high: Slot) {
        self.drop_edge(self[low].next);
        self.drop_edge(self[high].prev);
        let (mut above, mut below) = (high, low);
        if low.shard() != high.shard() {
            let at = self[high].start;
            above = self.add_edge(low.shard(), at);
            below = self.add_edge(high.shard(), at);
            self.set_links(above, Some(low), Some(below));
            self.set_links(below, Some(above), Some(high));
        }
        self.set_links(low, self[low].prev, Some(above));
        self.set_links(high, Some(below), self[high].next);
    }

    fn add_edge(&mut self, shard: usize, at: u64) -> Slot {
        self.shard_mut(shard).fill_slot(Range::new(at, 0, RangeState::Edge))
    }

    fn set_links(&mut self, slot: Slot, prev: Option<Slot>, next: Option<Slot>) {
        let range = self.shard_mut(slot.shard()).at(slot);
        (range.prev, range.next) = (prev, next);
    }

    /// Retires a neighbour's slot if it is an edge.
    fn drop_edge(&mut self, slot: Option<Slot>) {
        if let Some(edge) = slot.filter(|&slot| self.is_edge(slot)) {
            self.shard_mut(edge.shard()).retire_slot(edge);
        }
    }

    fn is_edge(&self, slot: Slot) -> bool {
        self[slot].state() == RangeState::Edge
    }
}
