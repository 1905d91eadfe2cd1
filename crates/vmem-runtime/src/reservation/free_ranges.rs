//! Free ranges of one stretch of addresses, as plain numbers.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// Sizes are multiples of this, in bytes.
pub(super) const UNIT: u64 = 256;

/// Disjoint free ranges that do not adjoin. Taking costs time in their number, giving back in its
/// logarithm.
#[derive(Debug)]
pub(super) struct FreeRanges {
    /// Length by start.
    ranges: BTreeMap<u64, u64>,
    whole: (u64, u64),
}

impl FreeRanges {
    /// All of the `len` bytes at `start` are free.
    pub(super) fn new(start: u64, len: u64) -> Self {
        Self { ranges: BTreeMap::from([(start, len)]), whole: (start, len) }
    }

    /// Takes `len` bytes at a multiple of `alignment`, a power of two, from the smallest range that
    /// holds them, the lowest of equals.
    pub(super) fn take(&mut self, len: u64, alignment: u64) -> Option<u64> {
        let fits = |(&start, &room): (&u64, &u64)| {
            let at = start.checked_next_multiple_of(alignment)?;
            (room.checked_sub(at - start)? >= len).then_some((room, start, at))
        };
        let (room, start, at) = self.ranges.iter().filter_map(fits).min()?;
        self.ranges.remove(&start);
        let (before, end) = (at - start, start + room);
        if before > 0 {
            self.ranges.insert(start, before);
        }
        if at + len < end {
            self.ranges.insert(at + len, end - (at + len));
        }
        Some(at)
    }

    /// Gives `len` bytes at `start` back, which were taken.
    pub(super) fn give_back(&mut self, start: u64, len: u64) {
        let (mut start, mut end) = (start, start + len);
        if let Some(after) = self.ranges.remove(&end) {
            end += after;
        }
        if let Some((&before, &room)) = self.ranges.range(..start).next_back()
            && before + room == start
        {
            start = before;
        }
        self.ranges.insert(start, end - start);
    }

    /// Bytes that are free.
    pub(super) fn bytes(&self) -> u64 {
        self.ranges.values().sum()
    }

    /// The longest free range, in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.ranges.values().copied().max().unwrap_or(0)
    }

    /// Whether everything is free.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes() == self.whole.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_joins_its_neighbours() {
        let mut free = FreeRanges::new(4096, 1024);
        let taken: Vec<u64> = (0..4).map(|_| free.take(256, 256).unwrap()).collect();
        assert_eq!((taken.as_slice(), free.largest()), (&[4096, 4352, 4608, 4864][..], 0));
        assert_eq!(free.take(256, 256), None);
        for (index, largest) in [(0, 256), (2, 256), (1, 768), (3, 1024)] {
            free.give_back(taken[index], 256);
            assert_eq!(free.largest(), largest);
        }
        assert!(free.is_whole());
        assert_eq!(free.ranges.len(), 1);
    }

    #[test]
    fn the_smallest_range_that_fits_is_taken() {
        let mut free = FreeRanges::new(0, 4096);
        let at = free.take(1024, 256).unwrap();
        let between = free.take(256, 256).unwrap();
        let small = free.take(512, 256).unwrap();
        let _last = free.take(256, 256).unwrap();
        free.give_back(at, 1024);
        free.give_back(small, 512);
        assert_eq!(between, 1024);
        assert_eq!(free.take(512, 256), Some(small));
        assert_eq!(free.take(512, 256), Some(at));
    }

    #[test]
    fn alignment_is_honoured_and_what_precedes_it_stays_free() {
        let mut free = FreeRanges::new(256, 8192);
        assert_eq!(free.take(256, 4096), Some(4096));
        assert_eq!(free.bytes(), 8192 - 256);
        assert_eq!(free.take(256, 8192), Some(8192));
        assert_eq!(free.take(256, 1 << 20), None);
        free.give_back(4096, 256);
        free.give_back(8192, 256);
        assert!(free.is_whole());
        assert_eq!(free.largest(), 8192);
    }
}
