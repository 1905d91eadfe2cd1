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

/// Unordered while few or not searched; then by key.
#[derive(Debug, Default)]
pub(super) struct Bin {
    /// One of an unordered class. Most have no other.
    first: Option<Entry>,
    /// The index is in the list of [`Owners`](super::Owners) for this class. One that was emptied since
    /// stays there until somebody looks.
    pub(super) listed: bool,
    /// The others. Each range knows its place: zero if it is the first, else one more than here.
    others: Vec<Entry>,
    /// All of an ordered class.
    #[expect(
        clippy::box_collection,
        reason = "hardly any class has one: a pointer is room enough"
    )]
    ordered: Option<Box<BTreeSet<(Key, Slot)>>>,
}

impl Bin {
    /// Puts a range in; returns whether it is the only one.
    #[inline(always)]
    pub(super) fn insert(&mut self, ranges: &mut [Range], slot: Slot, key: Key) -> bool {
        if let Some(ordered) = &mut self.ordered {
            ordered.insert((key, slot));
            return false;
        }
        if self.first.is_none() {
            self.first = Some(Entry::new(key, slot));
            ranges[slot.index()].set_position(0);
            return true;
        }
        self.others.push(Entry::new(key, slot));
        ranges[slot.index()].set_position(position(self.others.len()));
        false
    }

    /// Takes a range out; returns whether none is left.
    #[inline(always)]
    pub(super) fn remove(&mut self, ranges: &mut [Range], slot: Slot, key: Key) -> bool {
        if let Some(ordered) = &mut self.ordered {
            let removed = ordered.remove(&(key, slot));
            debug_assert!(removed, "the range was in its class");
            if ordered.len() < FEW {
                self.unorder(ranges);
            }
            return false;
        }
        // The last one comes to its place.
        let Some(last) = self.others.pop() else {
            debug_assert_eq!(self.first.map(|first| first.slot), Some(slot));
            self.first = None;
            return true;
        };
        if last.slot != slot {
            let at = ranges[slot.index()].position();
            *self.entry(at) = last;
            ranges[last.slot.index()].set_position(at);
        }
        false
    }

    /// The entry of an unordered class at this place.
    #[inline]
    fn entry(&mut self, at: u32) -> &mut Entry {
        match at.checked_sub(1) {
            None => self.first.as_mut().expect("the class is not empty"),
            Some(other) => &mut self.others[other as usize],
        }
    }

    /// The range with the least key from one on and below another.
    #[inline]
    pub(super) fn least(&self, from: Key, upto: Key) -> Option<Slot> {
        if let Some(ordered) = &self.ordered {
            let first = ordered.range((from, Slot::MIN)..).next();
            return first.filter(|(key, _)| *key < upto).map(|&(_, slot)| slot);
        }
        let first = self.first.filter(|first| first.key() >= from && first.key() < upto);
        let mut best = first.map_or(upto, Entry::key);
        let mut found = first.map(|first| first.slot);
        // A loop of selects without branches, which would go wrong every other time.
        for entry in &self.others {
            let key = entry.key();
            let better = (key >= from) & (key < best);
            best = if better { key } else { best };
            found = if better { Some(entry.slot) } else { found };
        }
        found
    }

    /// The ranges with a key from this one on, in order.
    pub(super) fn sorted_from(&self, from: Key) -> impl Iterator<Item = Slot> {
        // Most classes have only one, and an ordered one needs no sorting.
        let first = self.first.filter(|first| self.others.is_empty() && first.key() >= from);
        let mut few: Vec<(Key, Slot)> = match self.others.is_empty() {
            true => Vec::new(),
            false => self.entries().filter(|(key, _)| *key >= from).collect(),
        };
        few.sort_unstable();
        let ordered = self.ordered.iter().flat_map(move |all| all.range((from, Slot::MIN)..));
        let few =
            first.map(|first| first.slot).into_iter().chain(few.into_iter().map(|(_, slot)| slot));
        few.chain(ordered.map(|&(_, slot)| slot))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Key, Slot)> {
        let few = self.first.iter().chain(&self.others).map(|entry| (entry.key(), entry.slot));
        few.chain(self.ordered.iter().flat_map(|ordered| ordered.iter().copied()))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.entries().map(|(_, slot)| slot)
    }

    /// Orders a class of many, so that searching it is cheap from now on. Those that nobody
    /// searches stay unordered, where entering and leaving are cheapest.
    #[inline]
    pub(super) fn prepare(&mut self) {
        if self.others.len() >= MANY {
            self.order();
        }
    }

    #[cold]
    fn order(&mut self) {
        let ordered = Some(Box::new(self.entries().collect()));
        *self = Self { ordered, listed: self.listed, ..Self::default() };
    }

    #[cold]
    fn unorder(&mut self, ranges: &mut [Range]) {
        let entries: Vec<(Key, Slot)> = self.entries().collect();
        let others = Vec::with_capacity(FEW);
        *self = Self { others, listed: self.listed, ..Self::default() };
        for (key, slot) in entries {
            _ = self.insert(ranges, slot, key);
        }
    }
}

/// A place in an unordered class.
#[inline]
fn position(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 ranges")
}
