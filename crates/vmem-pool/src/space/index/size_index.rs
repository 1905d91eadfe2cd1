//! Ranges by size, for best fit.

use super::bin::Bin;
use super::class::{Classes, class_of};
use super::{Key, Range, Slot};

/// Ranges in classes of similar size, with a bitmap of the classes that are not empty.
///
/// The best fit is in the class of the size asked for, or else the smallest range of the next class
/// that is not empty. Inside a class ranges are unordered while few or not searched, so that
/// entering and leaving take constant time and searching takes a short scan; a class of
/// many that is searched is ordered, and takes `O(log n)` steps for everything. Each range knows its
/// position in its class.
#[derive(Debug, Default)]
pub(crate) struct SizeIndex {
    pub(super) occupied: Classes,
    /// Those up to the largest class that was ever used.
    pub(super) bins: Vec<Bin>,
}

impl SizeIndex {
    /// Adds a range of this key. Returns the class in whose list of [`Owners`](super::Owners) the index is to be put.
    #[inline(always)]
    pub(super) fn insert(&mut self, ranges: &mut [Range], slot: Slot, key: Key) -> Option<usize> {
        let class = class_of(key.grains());
        let bin = self.bin(class);
        if !bin.insert(ranges, slot, key) {
            return None;
        }
        let listed = std::mem::replace(&mut bin.listed, true);
        self.occupied.insert(class);
        (!listed).then_some(class)
    }

    /// Takes a range out, which entered with this key.
    #[inline(always)]
    pub(super) fn remove(&mut self, ranges: &mut [Range], slot: Slot, key: Key) {
        let class = class_of(key.grains());
        if self.bins[class].remove(ranges, slot, key) {
            self.occupied.remove(class);
        }
    }

    /// The bin of a class, made with all below it when it is first used.
    #[inline]
    fn bin(&mut self, class: usize) -> &mut Bin {
        if self.bins.len() <= class {
            self.add_bins(class);
        }
        &mut self.bins[class]
    }

    #[cold]
    fn add_bins(&mut self, class: usize) {
        self.bins.resize_with(class + 1, Bin::default);
    }

    /// The same as [`best`](Self::best) of those with a key below `upto`, after which it is cheap for this
    /// size.
    #[inline]
    pub(super) fn search(&mut self, grains: u32, upto: Key) -> Option<Slot> {
        let (class, from) = (class_of(grains), Key::of(grains, 0));
        let mut first = self.occupied.next(class)?;
        if first == class {
            let bin = &mut self.bins[class];
            bin.prepare();
            if let Some(slot) = bin.least(from, upto) {
                return Some(slot);
            }
            first = self.occupied.next(class + 1)?;
        }
        self.bins[first].least(from, upto)
    }

    /// The smallest range of at least so many grains, the lowest of equals.
    #[inline]
    pub(in super::super) fn best(&self, grains: u32) -> Option<Slot> {
        let class = class_of(grains);
        let from = Key::of(grains, 0);
        if self.occupied.has(class)
            && let Some(slot) = self.bins[class].least(from, Key::MOST)
        {
            return Some(slot);
        }
        self.bins[self.occupied.next(class + 1)?].least(from, Key::MOST)
    }

    /// All ranges of at least so many grains, smallest and lowest first. Sorts a class at a time.
    pub(in super::super) fn at_least(&self, grains: u32) -> impl Iterator<Item = Slot> {
        let classes = self.occupied.from(class_of(grains));
        classes.flat_map(move |class| self.bins[class].sorted_from(Key::of(grains, 0)))
    }

    /// All ranges, in no particular order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.occupied.from(0).flat_map(|class| self.bins[class].slots())
    }

    /// The ranges of one class.
    pub(super) fn in_class(&self, class: usize) -> impl Iterator<Item = Slot> {
        self.bins.get(class).into_iter().flat_map(Bin::slots)
    }

    /// How many grains the largest range has.
    pub(super) fn largest(&self) -> Option<u32> {
        let class = self.occupied.last()?;
        self.bins[class].entries().map(|(key, _)| key.grains()).max()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.occupied.next(0).is_none()
    }
}
