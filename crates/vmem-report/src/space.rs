//! The address space at one moment.

use vmem_pool::{RangeState, Snapshot};

use crate::timeline::Timeline;

/// What is at an address. Live memory has the kind [`LIVE`] and its group on top.
pub(crate) const FREE: u8 = 0;
pub(crate) const PENDING: u8 = 1;
pub(crate) const QUARANTINED: u8 = 2;
pub(crate) const ELSEWHERE: u8 = 3;
pub(crate) const BUSY: u8 = 4;
pub(crate) const LIVE: u8 = 5;

/// The most ranges that one moment is drawn with; what is finer than a pixel is drawn as what there is
/// most of.
const MOST_RANGES: usize = 4096;

/// Addresses with something at them, next to others of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) kind: u8,
}

impl Range {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// The address space after one event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// The event.
    pub(crate) index: usize,
    /// By address, those of one kind joined; without what has no memory.
    pub(crate) ranges: Vec<Range>,
    /// Bytes by kind, live memory in one.
    pub(crate) bytes: [u64; 6],
    /// The largest stretch of addresses with free memory: free, or pending.
    pub(crate) largest_free: u64,
    /// The largest request that would be served without more memory, if the stack says: an arena
    /// gathers free memory from several places.
    pub(crate) largest_request: Option<u64>,
}

impl Frame {
    /// From a pool's own account.
    pub(crate) fn of_pool(index: usize, snapshot: &Snapshot, timeline: &Timeline) -> Self {
        let ranges = snapshot.segments.iter().flat_map(|segment| &segment.ranges);
        let known = ranges.filter_map(|range| {
            let kind = match range.state {
                RangeState::Live { layout, label } => {
                    LIVE + timeline.group_in_space(label, layout.size())
                }
                RangeState::Free => FREE,
                RangeState::Pending => PENDING,
                RangeState::Quarantined => QUARANTINED,
                RangeState::Dormant => ELSEWHERE,
                RangeState::Busy => BUSY,
                // Addresses without memory, and what this version does not know.
                _ => return None,
            };
            Some(Range { start: range.start.get(), size: range.size, kind })
        });
        Self::of(index, known)
    }

    /// From the addresses with memory behind them, and the live blocks there; by address both.
    pub(crate) fn of_blocks(
        index: usize,
        backed: &[(u64, u64)],
        live: impl Iterator<Item = (u64, u64, u8)>,
    ) -> Self {
        let mut live = live.peekable();
        let mut ranges = Vec::new();
        // A block may lie on several mappings side by side, and reach into the next.
        let mut at = 0;
        for &(start, size) in backed {
            let end = start + size;
            at = at.max(start);
            while let Some((block, size, group)) = live.next_if(|&(block, ..)| block < end) {
                if block > at {
                    ranges.push(Range { start: at, size: block - at, kind: FREE });
                }
                ranges.push(Range { start: block, size, kind: LIVE + group });
                at = at.max(block + size);
            }
            if at < end {
                ranges.push(Range { start: at, size: end - at, kind: FREE });
                at = end;
            }
        }
        ranges.extend(live.map(|(start, size, group)| Range { start, size, kind: LIVE + group }));
        Self::of(index, ranges.into_iter())
    }

    fn of(index: usize, ranges: impl Iterator<Item = Range>) -> Self {
        let mut frame = Self { index, ..Self::default() };
        let mut free_until = (0, 0);
        for range in ranges {
            frame.bytes[usize::from(range.kind.min(LIVE))] += range.size;
            if matches!(range.kind, FREE | PENDING) {
                let start = if free_until.1 == range.start { free_until.0 } else { range.start };
                free_until = (start, range.end());
                frame.largest_free = frame.largest_free.max(range.end() - start);
            }
            match frame.ranges.last_mut() {
                Some(last) if last.end() == range.start && last.kind == range.kind => {
                    last.size += range.size;
                }
                _ => frame.ranges.push(range),
            }
        }
        frame.coarsen();
        frame
    }

    /// Free bytes: free, pending and in quarantine.
    pub(crate) fn free(&self) -> u64 {
        [FREE, PENDING, QUARANTINED].iter().map(|&kind| self.bytes[usize::from(kind)]).sum()
    }

    /// Joins what is too fine to be drawn.
    fn coarsen(&mut self) {
        if self.ranges.len() <= MOST_RANGES {
            return;
        }
        let all: u64 = self.ranges.iter().map(|range| range.size).sum();
        let cell = all.div_ceil(u64::try_from(MOST_RANGES / 2).expect("it is small"));
        let mut coarse: Vec<Range> = Vec::new();
        let mut sums = [0_u64; 256];
        let mut open: Option<Range> = None;
        for range in std::mem::take(&mut self.ranges) {
            let joins = open
                .is_some_and(|open| open.end() == range.start && open.size + range.size <= cell);
            if !joins {
                close(&mut coarse, open.take(), &mut sums);
            }
            let joined = open.get_or_insert(Range { size: 0, ..range });
            joined.size += range.size;
            sums[usize::from(range.kind)] += range.size;
        }
        close(&mut coarse, open, &mut sums);
        self.ranges = coarse;
    }
}

/// A coarse range is what there is most of in it.
fn close(coarse: &mut Vec<Range>, open: Option<Range>, sums: &mut [u64; 256]) {
    if let Some(range) = open {
        let most = (0..=u8::MAX).max_by_key(|&kind| sums[usize::from(kind)]).unwrap_or(FREE);
        coarse.push(Range { kind: most, ..range });
    }
    sums.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_between_live_blocks_is_free_and_stretches_of_it_are_measured() {
        let live = [(100, 50, 0), (150, 50, 0), (400, 10, 1)];
        let frame = Frame::of_blocks(3, &[(0, 300), (400, 10), (500, 90)], live.into_iter());
        let kinds: Vec<_> = frame.ranges.iter().map(|r| (r.start, r.size, r.kind)).collect();
        assert_eq!(
            kinds,
            [
                (0, 100, FREE),
                (100, 100, LIVE),
                (200, 100, FREE),
                (400, 10, LIVE + 1),
                (500, 90, FREE)
            ]
        );
        assert_eq!((frame.free(), frame.largest_free), (290, 100));
        assert_eq!(frame.bytes[usize::from(LIVE)], 110);
    }

    #[test]
    fn a_block_on_several_mappings_leaves_none_of_them_free() {
        let live = [(50, 200, 0)];
        let frame = Frame::of_blocks(0, &[(0, 100), (100, 100), (200, 100)], live.into_iter());
        let kinds: Vec<_> = frame.ranges.iter().map(|r| (r.start, r.size, r.kind)).collect();
        assert_eq!(kinds, [(0, 50, FREE), (50, 200, LIVE), (250, 50, FREE)]);
    }

    #[test]
    fn what_is_too_fine_is_joined_and_covers_the_same_addresses() {
        let live = (0..20_000).map(|n| (n * 20, 10, 0));
        let frame = Frame::of_blocks(0, &[(0, 400_000)], live);
        assert!(frame.ranges.len() <= MOST_RANGES, "{}", frame.ranges.len());
        assert_eq!(frame.ranges.iter().map(|range| range.size).sum::<u64>(), 400_000);
        assert_eq!((frame.free(), frame.largest_free), (200_000, 10));
    }
}
