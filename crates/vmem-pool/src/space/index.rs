//! Free ranges ordered for best fit.

use std::collections::BTreeSet;

use super::Slot;

/// Ranges by size, then address, so that the first one from a size on is the best fit and the
/// lowest of equals. All operations take `O(log n)` steps.
#[derive(Debug, Default)]
pub(super) struct FreeIndex {
    ranges: BTreeSet<(u64, u64, Slot)>,
}

impl FreeIndex {
    pub(super) fn insert(&mut self, size: u64, start: u64, slot: Slot) {
        let added = self.ranges.insert((size, start, slot));
        debug_assert!(added, "the range was not in the index");
    }

    pub(super) fn remove(&mut self, size: u64, start: u64, slot: Slot) {
        let removed = self.ranges.remove(&(size, start, slot));
        debug_assert!(removed, "the range was in the index");
    }

    /// Ranges of at least `size` bytes, smallest and lowest first.
    pub(super) fn at_least(&self, size: u64) -> impl Iterator<Item = (u64, u64, Slot)> {
        self.ranges.range((size, 0, Slot::MIN)..).copied()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.ranges.iter().map(|&(_, _, slot)| slot)
    }

    pub(super) fn largest(&self) -> Option<u64> {
        self.ranges.last().map(|&(size, _, _)| size)
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }
}
