//! Free ranges by size, for best fit.

mod bin;
mod class;
mod owners;

use bin::Bin;
use class::CLASSES;
pub(super) use class::class_of;
pub(super) use owners::Owners;

use super::{Range, Slot};

const WORDS: usize = CLASSES.div_ceil(64);

/// Free ranges in classes of similar size, with a bitmap of the classes that are not empty.
///
/// The best fit is in the class of the size asked for, or else the smallest range of the next class
/// that is not empty. Inside a class ranges are unordered while few or not searched, so that
/// entering, leaving and growing take constant time and searching takes a short scan; a class of
/// many that is searched is ordered, and takes `O(log n)` steps for everything. Each range knows its
/// position in its class.
#[derive(Debug, Default)]
pub(super) struct FreeIndex {
    occupied: Classes,
    /// The classes in whose list of [`Owners`] this index is. A class that was emptied since stays
    /// there until somebody looks.
    listed: Classes,
    /// Those up to the largest class that was ever used.
    bins: Vec<Bin>,
    len: usize,
}

/// A set of classes.
#[derive(Debug)]
struct Classes([u64; WORDS]);

impl Default for Classes {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl Classes {
    #[inline]
    fn has(&self, class: usize) -> bool {
        self.0[class / 64] >> (class % 64) & 1 == 1
    }

    /// Returns whether the class was not there before.
    #[inline]
    fn insert(&mut self, class: usize) -> bool {
        let (word, bit) = (&mut self.0[class / 64], 1 << (class % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    #[inline]
    fn remove(&mut self, class: usize) {
        self.0[class / 64] &= !(1 << (class % 64));
    }

    /// The first class from this one on.
    #[inline]
    fn next(&self, class: usize) -> Option<usize> {
        let mut word = class / 64;
        let mut bits = self.0.get(word)? & (u64::MAX << (class % 64));
        while bits == 0 {
            word += 1;
            bits = *self.0.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// All of them from this one on, in order.
    fn from(&self, class: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.next(class), |class| self.next(class + 1))
    }

    fn last(&self) -> Option<usize> {
        let last = |(word, bits): (usize, &u64)| {
            (*bits != 0).then(|| word * 64 + 63 - bits.leading_zeros() as usize)
        };
        self.0.iter().enumerate().rev().find_map(last)
    }
}

/// What entering a range came to.
#[derive(Debug, Clone, Copy)]
#[must_use = "owners are found by their lists"]
pub(super) struct Listing(Option<usize>);

impl FreeIndex {
    #[inline]
    pub(super) fn insert(&mut self, ranges: &mut [Range], slot: Slot) -> Listing {
        let class = class_of(ranges[slot.index()].size);
        self.bin(class).insert(ranges, slot);
        self.len += 1;
        self.occupy(class)
    }

    #[inline]
    fn occupy(&mut self, class: usize) -> Listing {
        self.occupied.insert(class);
        Listing(self.listed.insert(class).then_some(class))
    }

    /// Takes a range out. Its start and size are as they were when it entered or was last updated.
    #[inline]
    pub(super) fn remove(&mut self, ranges: &mut [Range], slot: Slot) {
        let Range { start, size, .. } = ranges[slot.index()];
        self.take_out(ranges, slot, (start, size));
        self.len -= 1;
    }

    /// A range has grown or shrunk; it was `(start, size)` before.
    #[inline]
    pub(super) fn update(
        &mut self,
        ranges: &mut [Range],
        slot: Slot,
        before: (u64, u64),
    ) -> Listing {
        let class = class_of(ranges[slot.index()].size);
        if class == class_of(before.1) {
            self.bins[class].update(ranges, slot, before);
            return Listing(None);
        }
        self.take_out(ranges, slot, before);
        self.bin(class).insert(ranges, slot);
        self.occupy(class)
    }

    /// The bin of a class, made with all below it when it is first used.
    #[inline]
    fn bin(&mut self, class: usize) -> &mut Bin {
        if self.bins.len() <= class {
            self.bins.resize_with(class + 1, Bin::default);
        }
        &mut self.bins[class]
    }

    #[inline]
    fn take_out(&mut self, ranges: &mut [Range], slot: Slot, (start, size): (u64, u64)) {
        let class = class_of(size);
        let bin = &mut self.bins[class];
        bin.remove(ranges, slot, (start, size));
        if bin.is_empty() {
            self.occupied.remove(class);
        }
    }

    /// Makes the next [`best`](Self::best) for this size cheap.
    #[inline]
    pub(super) fn prepare(&mut self, ranges: &[Range], size: u64) {
        let class = class_of(size);
        if self.occupied.has(class) {
            self.bins[class].prepare(ranges);
        }
    }

    /// The smallest range of at least `size` bytes, the lowest of equals.
    #[inline]
    pub(super) fn best(&self, ranges: &[Range], size: u64) -> Option<Slot> {
        let class = class_of(size);
        if self.occupied.has(class)
            && let Some(slot) = self.bins[class].best(ranges, size)
        {
            return Some(slot);
        }
        self.bins[self.occupied.next(class + 1)?].best(ranges, 0)
    }

    /// All ranges of at least `size` bytes, smallest and lowest first. Sorts a class at a time.
    pub(super) fn at_least<'a>(
        &'a self,
        ranges: &'a [Range],
        size: u64,
    ) -> impl Iterator<Item = Slot> + 'a {
        let classes = self.occupied.from(class_of(size));
        classes.flat_map(move |class| self.bins[class].sorted_from(ranges, size))
    }

    /// All ranges, in no particular order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.occupied.from(0).flat_map(|class| self.bins[class].slots())
    }

    /// The ranges of one class.
    fn in_class(&self, class: usize) -> impl Iterator<Item = Slot> {
        self.bins.get(class).into_iter().flat_map(Bin::slots)
    }

    /// The size of the largest range.
    pub(super) fn largest(&self, ranges: &[Range]) -> Option<u64> {
        let class = self.occupied.last()?;
        self.bins[class].slots().map(|slot| ranges[slot.index()].size).max()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}
