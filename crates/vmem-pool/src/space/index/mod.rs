//! Free ranges by size, for best fit.

mod bin;
mod class;

use bin::Bin;
use class::{CLASSES, class_of};

use super::{Range, Slot};

const WORDS: usize = CLASSES.div_ceil(64);

/// Free ranges in classes of similar size, with a bitmap of the classes that are not empty.
///
/// The best fit is in the class of the size asked for, or else the smallest range of the next class
/// that is not empty. Inside a class ranges are unordered while few or not searched, so that
/// entering, leaving and growing take constant time and searching takes a short scan; a class of
/// many that is searched is ordered, and takes `O(log n)` steps for everything. Each range knows its
/// place in its class.
#[derive(Debug)]
pub(super) struct FreeIndex {
    occupied: [u64; WORDS],
    /// Those up to the largest class that was ever used.
    bins: Vec<Bin>,
    len: usize,
}

impl Default for FreeIndex {
    fn default() -> Self {
        Self { occupied: [0; WORDS], bins: Vec::new(), len: 0 }
    }
}

impl FreeIndex {
    #[inline]
    pub(super) fn insert(&mut self, ranges: &mut [Range], slot: Slot) {
        let class = class_of(ranges[slot.index()].size);
        self.bin(class).insert(ranges, slot);
        self.occupied[class / 64] |= 1 << (class % 64);
        self.len += 1;
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
    pub(super) fn update(&mut self, ranges: &mut [Range], slot: Slot, before: (u64, u64)) {
        let class = class_of(ranges[slot.index()].size);
        if class == class_of(before.1) {
            self.bins[class].update(ranges, slot, before);
        } else {
            self.take_out(ranges, slot, before);
            self.bin(class).insert(ranges, slot);
            self.occupied[class / 64] |= 1 << (class % 64);
        }
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
            self.occupied[class / 64] &= !(1 << (class % 64));
        }
    }

    /// Makes the next [`best`](Self::best) for this size cheap.
    #[inline]
    pub(super) fn prepare(&mut self, ranges: &[Range], size: u64) {
        let class = class_of(size);
        if self.is_occupied(class) {
            self.bins[class].prepare(ranges);
        }
    }

    /// The smallest range of at least `size` bytes, the lowest of equals.
    #[inline]
    pub(super) fn best(&self, ranges: &[Range], size: u64) -> Option<Slot> {
        let class = class_of(size);
        if self.is_occupied(class)
            && let Some(slot) = self.bins[class].best(ranges, size)
        {
            return Some(slot);
        }
        self.bins[self.next_occupied(class + 1)?].best(ranges, 0)
    }

    /// All ranges of at least `size` bytes, smallest and lowest first. Sorts a class at a time.
    pub(super) fn at_least<'a>(
        &'a self,
        ranges: &'a [Range],
        size: u64,
    ) -> impl Iterator<Item = Slot> + 'a {
        let first = class_of(size);
        let next = move |class: &usize| self.next_occupied(class + 1);
        let classes = std::iter::successors(self.next_occupied(first), next);
        classes.flat_map(move |class| self.bins[class].sorted_from(ranges, size))
    }

    /// All ranges, in no particular order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.bins.iter().flat_map(Bin::slots)
    }

    /// The size of the largest range.
    pub(super) fn largest(&self, ranges: &[Range]) -> Option<u64> {
        let last = |(word, bits): (usize, &u64)| {
            (*bits != 0).then(|| word * 64 + 63 - bits.leading_zeros() as usize)
        };
        let class = self.occupied.iter().enumerate().rev().find_map(last)?;
        self.bins[class].slots().map(|slot| ranges[slot.index()].size).max()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn is_occupied(&self, class: usize) -> bool {
        self.occupied[class / 64] >> (class % 64) & 1 == 1
    }

    #[inline]
    fn next_occupied(&self, class: usize) -> Option<usize> {
        let mut word = class / 64;
        let mut bits = self.occupied.get(word)? & (u64::MAX << (class % 64));
        while bits == 0 {
            word += 1;
            bits = *self.occupied.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}
