//! The free ranges of one size class.

use std::collections::BTreeSet;

use super::super::{Range, Slot};

/// A class with more ranges than this is ordered when it is searched.
const MANY: usize = 4096;

/// An ordered class with fewer ranges than this is unordered again.
const FEW: usize = 1024;

/// A range in an unordered class, with its size, which is all that a search looks at unless two
/// sizes are equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    size: u64,
    slot: Slot,
}

#[derive(Debug)]
pub(super) enum Bin {
    /// Unordered. Each range knows its index here.
    Few(Vec<Entry>),
    /// By size, then address.
    Many(BTreeSet<(u64, u64, Slot)>),
}

impl Default for Bin {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Bin {
    #[inline]
    pub(super) fn insert(&mut self, ranges: &mut [Range], slot: Slot) {
        let range = &mut ranges[slot.index()];
        match self {
            Self::Few(entries) => {
                range.set_position(position(entries.len()));
                entries.push(Entry { size: range.size, slot });
            }
            Self::Many(ordered) => {
                ordered.insert((range.size, range.start, slot));
            }
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, ranges: &mut [Range], slot: Slot, (start, size): (u64, u64)) {
        match self {
            Self::Few(entries) => {
                let at = ranges[slot.index()].position();
                debug_assert_eq!(entries[at as usize].slot, slot);
                entries.swap_remove(at as usize);
                if let Some(moved) = entries.get(at as usize) {
                    ranges[moved.slot.index()].set_position(at);
                }
            }
            Self::Many(ordered) => {
                let removed = ordered.remove(&(size, start, slot));
                debug_assert!(removed, "the range was in its class");
                if ordered.len() < FEW {
                    self.unorder(ranges);
                }
            }
        }
    }

    /// A range of the class has grown or shrunk inside the class.
    #[inline]
    pub(super) fn update(&mut self, ranges: &[Range], slot: Slot, (start, size): (u64, u64)) {
        let range = &ranges[slot.index()];
        match self {
            Self::Few(entries) => entries[range.position() as usize].size = range.size,
            Self::Many(ordered) => {
                ordered.remove(&(size, start, slot));
                ordered.insert((range.size, range.start, slot));
            }
        }
    }

    /// The smallest range of at least `size` bytes, the lowest of equals.
    #[inline]
    pub(super) fn best(&self, ranges: &[Range], size: u64) -> Option<Slot> {
        match self {
            Self::Few(entries) => {
                let mut best: Option<Entry> = None;
                for &entry in entries.iter().filter(|entry| entry.size >= size) {
                    let better = best.is_none_or(|best| {
                        entry.size < best.size
                            || entry.size == best.size
                                && ranges[entry.slot.index()].start
                                    < ranges[best.slot.index()].start
                    });
                    if better {
                        best = Some(entry);
                    }
                }
                best.map(|entry| entry.slot)
            }
            Self::Many(ordered) => {
                ordered.range((size, 0, Slot::MIN)..).next().map(|&(_, _, slot)| slot)
            }
        }
    }

    /// The ranges of at least `size` bytes, smallest and lowest first.
    pub(super) fn sorted_from(&self, ranges: &[Range], size: u64) -> Vec<Slot> {
        let key = |slot: &Slot| (ranges[slot.index()].size, ranges[slot.index()].start);
        let mut slots: Vec<Slot> = self.slots().filter(|slot| key(slot).0 >= size).collect();
        slots.sort_unstable_by_key(key);
        slots
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let (few, many) = match self {
            Self::Few(entries) => (Some(entries), None),
            Self::Many(ordered) => (None, Some(ordered)),
        };
        let few = few.into_iter().flatten().map(|entry| entry.slot);
        few.chain(many.into_iter().flatten().map(|&(_, _, slot)| slot))
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(entries) => entries.is_empty(),
            Self::Many(ordered) => ordered.is_empty(),
        }
    }

    /// Orders a class of many, so that searching it is cheap from now on. Those that nobody
    /// searches stay unordered, where entering and leaving are cheapest.
    #[inline]
    pub(super) fn prepare(&mut self, ranges: &[Range]) {
        if let Self::Few(entries) = self
            && entries.len() > MANY
        {
            self.order(ranges);
        }
    }

    #[cold]
    fn order(&mut self, ranges: &[Range]) {
        let key = |slot: Slot| (ranges[slot.index()].size, ranges[slot.index()].start, slot);
        *self = Self::Many(self.slots().map(key).collect());
    }

    #[cold]
    fn unorder(&mut self, ranges: &mut [Range]) {
        let slots: Vec<Slot> = self.slots().collect();
        *self = Self::Few(Vec::with_capacity(MANY));
        for slot in slots {
            self.insert(ranges, slot);
        }
    }
}

/// An index in an unordered class.
#[inline]
fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a class of few ranges")
}
