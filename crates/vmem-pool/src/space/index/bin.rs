//! The free ranges of one size class.

use std::collections::BTreeSet;

use super::super::{Range, Slot};
use super::Key;

/// A class with more ranges than this is ordered when it is searched.
const MANY: usize = 4096;

/// An ordered class with fewer ranges than this is unordered again.
const FEW: usize = 1024;

/// A range in an unordered class, with its key, which is all that a search looks at. Twelve bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    start: u32,
    grains: u32,
    slot: Slot,
}

const _: () = assert!(size_of::<Entry>() == 12, "as documented");

impl Entry {
    #[inline]
    const fn new(key: Key, slot: Slot) -> Self {
        Self { start: key.start(), grains: key.grains(), slot }
    }

    #[inline]
    const fn key(self) -> Key {
        Key::of(self.grains, self.start)
    }
}

#[derive(Debug)]
pub(super) enum Bin {
    /// Unordered. Each range knows its index here.
    Few(Vec<Entry>),
    /// By key.
    Many(BTreeSet<(Key, Slot)>),
}

impl Default for Bin {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Bin {
    /// Puts a range in; returns whether it is the only one.
    #[inline]
    pub(super) fn insert(&mut self, ranges: &mut [Range], slot: Slot, key: Key) -> bool {
        match self {
            Self::Few(entries) => {
                let at = entries.len();
                ranges[slot.index()].set_position(position(at));
                entries.push(Entry::new(key, slot));
                at == 0
            }
            Self::Many(ordered) => {
                ordered.insert((key, slot));
                false
            }
        }
    }

    /// Takes a range out; returns whether none is left.
    #[inline]
    pub(super) fn remove(&mut self, ranges: &mut [Range], slot: Slot, key: Key) -> bool {
        match self {
            // As nearly all classes are.
            Self::Few(entries) if entries.len() == 1 => {
                entries.clear();
                true
            }
            Self::Few(entries) => {
                let at = ranges[slot.index()].position();
                debug_assert_eq!(entries[at as usize].slot, slot);
                entries.swap_remove(at as usize);
                if let Some(moved) = entries.get(at as usize) {
                    ranges[moved.slot.index()].set_position(at);
                }
                false
            }
            Self::Many(ordered) => {
                let removed = ordered.remove(&(key, slot));
                debug_assert!(removed, "the range was in its class");
                if ordered.len() < FEW {
                    self.unorder(ranges);
                }
                false
            }
        }
    }

    /// A range of the class has grown or shrunk inside the class.
    #[inline]
    pub(super) fn update(&mut self, ranges: &[Range], slot: Slot, before: Key, now: Key) {
        match self {
            Self::Few(entries) => {
                entries[ranges[slot.index()].position() as usize] = Entry::new(now, slot);
            }
            Self::Many(ordered) => {
                ordered.remove(&(before, slot));
                ordered.insert((now, slot));
            }
        }
    }

    /// The range with the least key from this one on.
    #[inline]
    pub(super) fn least(&self, from: Key) -> Option<Slot> {
        match self {
            // A loop of selects without branches, which would go wrong every other time.
            Self::Few(entries) => {
                let (mut best, mut found) = (Key::MOST, None);
                for entry in entries {
                    let key = entry.key();
                    let better = (key >= from) & (key < best);
                    best = if better { key } else { best };
                    found = if better { Some(entry.slot) } else { found };
                }
                found
            }
            Self::Many(ordered) => {
                let first = std::ops::Bound::Included((from, Slot::MIN));
                ordered.range((first, std::ops::Bound::Unbounded)).next().map(|&(_, slot)| slot)
            }
        }
    }

    /// The ranges with a key from this one on, in order.
    pub(super) fn sorted_from(&self, from: Key) -> Vec<Slot> {
        let mut all: Vec<(Key, Slot)> = self.entries().filter(|(key, _)| *key >= from).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, slot)| slot).collect()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Key, Slot)> {
        let (few, many) = match self {
            Self::Few(entries) => (Some(entries), None),
            Self::Many(ordered) => (None, Some(ordered)),
        };
        let few = few.into_iter().flatten().map(|entry| (entry.key(), entry.slot));
        few.chain(many.into_iter().flatten().copied())
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.entries().map(|(_, slot)| slot)
    }

    /// Orders a class of many, so that searching it is cheap from now on. Those that nobody
    /// searches stay unordered, where entering and leaving are cheapest.
    #[inline]
    pub(super) fn prepare(&mut self) {
        if let Self::Few(entries) = self
            && entries.len() > MANY
        {
            self.order();
        }
    }

    #[cold]
    fn order(&mut self) {
        *self = Self::Many(self.entries().collect());
    }

    #[cold]
    fn unorder(&mut self, ranges: &mut [Range]) {
        let entries: Vec<(Key, Slot)> = self.entries().collect();
        *self = Self::Few(Vec::with_capacity(FEW));
        for (key, slot) in entries {
            _ = self.insert(ranges, slot, key);
        }
    }
}

/// An index in an unordered class.
#[inline]
fn position(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 ranges")
}
