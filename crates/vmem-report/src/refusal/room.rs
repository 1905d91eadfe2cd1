//! What would have had to go.

use std::fmt;

use vmem_trace::{Event, Trace};

use super::Case;
use crate::bytes::show;
use crate::composition::Held;
use crate::space::{ELSEWHERE, FREE, LIVE, PENDING, QUARANTINED, Range};

/// How far a request was from being served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missing {
    /// Bytes that were too few even if all free memory had been in one place; `None` where the most
    /// that the stack may hold is not known.
    pub(crate) short: Option<u64>,
    /// The fewest blocks that would have had to go for that, largest first.
    pub(crate) blocks: Vec<Held>,
    /// The addresses that hold least of what is live, among those that the request fits in.
    pub(crate) window: Option<Window>,
    /// The largest free stretch of addresses.
    pub(crate) largest_free: Option<u64>,
    /// Free bytes in all: free, pending and in quarantine.
    pub(crate) free: Option<u64>,
}

/// Addresses side by side that a request would have fitted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Live bytes in it, whole blocks, in so many pieces.
    pub(crate) live: u64,
    pub(crate) pieces: u64,
}

impl Missing {
    pub(super) fn of(case: &Case) -> Self {
        let short = case.most.map(|most| (case.live.live + case.rounded()).saturating_sub(most));
        let frame = case.frame.as_ref();
        let told = case.report.as_ref().map(|report| report.largest_free);
        Self {
            short,
            blocks: fewest(&case.held, short.unwrap_or(0)),
            window: frame.and_then(|frame| window(&frame.ranges, case.rounded())),
            largest_free: frame.map(|frame| frame.largest_free).or(told),
            free: frame.map(crate::space::Frame::free),
        }
    }
}

/// The fewest blocks of so many bytes together: the smallest one that is enough, or else the largest. None
/// where all together are not enough.
fn fewest(held: &[Held], bytes: u64) -> Vec<Held> {
    if bytes == 0 {
        return Vec::new();
    }
    let mut order: Vec<_> = held.to_vec();
    order.sort_unstable_by(|a, b| b.size.cmp(&a.size).then(a.since.cmp(&b.since)));
    let mut left = bytes;
    let mut chosen = Vec::new();
    for (at, block) in order.iter().enumerate() {
        if block.size >= left {
            // What follows is smaller: the last that is still enough.
            let enough = order[at..].iter().take_while(|block| block.size >= left).last();
            chosen.extend(enough);
            return chosen;
        }
        left -= block.size;
        chosen.push(*block);
    }
    Vec::new()
}

/// The stretch of at least `size` bytes with the fewest live bytes; `None` where no stretch is as long.
fn window(ranges: &[Range], size: u64) -> Option<Window> {
    let usable = |kind| matches!(kind, FREE | PENDING | QUARANTINED) || kind >= LIVE;
    let live = |range: &Range| if range.kind >= LIVE { range.size } else { 0 };
    let mut best: Option<Window> = None;
    let (mut first, mut held, mut pieces) = (0, 0, 0);
    for (at, range) in ranges.iter().enumerate() {
        let follows = at == 0 || ranges[at - 1].end() == range.start;
        if !follows || !usable(range.kind) {
            (first, held, pieces) = (if usable(range.kind) { at } else { at + 1 }, 0, 0);
        }
        if !usable(range.kind) {
            debug_assert!(range.kind >= ELSEWHERE, "everything else is usable");
            continue;
        }
        held += live(range);
        pieces += u64::from(range.kind >= LIVE);
        // Without its first range it would still be long enough.
        while first < at && range.end() - ranges[first + 1].start >= size {
            held -= live(&ranges[first]);
            pieces -= u64::from(ranges[first].kind >= LIVE);
            first += 1;
        }
        let (start, length) = (ranges[first].start, range.end() - ranges[first].start);
        if length >= size && best.is_none_or(|best| held < best.live) {
            best = Some(Window { start, size: length, live: held, pieces });
        }
    }
    best
}

/// After how many events from `index` on the request would have fitted by bytes.
pub(super) fn after(trace: &Trace, index: usize, asked: u64, most: u64) -> Option<usize> {
    let mut sizes = vec![0_u64; usize::try_from(trace.slots()).ok()?];
    let mut live = 0_u64;
    for (at, event) in trace.events().iter().enumerate() {
        match *event {
            Event::Allocate { slot, size, .. } if at != index => {
                *sizes.get_mut(usize::try_from(slot).ok()?)? = size;
                live += size;
            }
            Event::Free { slot, .. } => {
                live -= std::mem::take(sizes.get_mut(usize::try_from(slot).ok()?)?);
            }
            _ => {}
        }
        if at > index && live + asked <= most {
            return Some(at - index);
        }
    }
    None
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.short, &self.blocks[..]) {
            (None, _) => f.write_str("what the stack could hold is not known")?,
            (Some(0), _) => {
                f.write_str("by bytes it fits: free memory was not where it was needed")?;
            }
            (Some(short), []) => {
                write!(f, "{} too few, though nothing were live", show(short))?;
            }
            (Some(short), [one]) => {
                write!(
                    f,
                    "{} too few: one block of {} would be enough",
                    show(short),
                    show(one.size)
                )?;
            }
            (Some(short), blocks) => {
                let bytes: u64 = blocks.iter().map(|block| block.size).sum();
                let count = blocks.len();
                write!(f, "{} too few: {count} blocks of {} in all", show(short), show(bytes))?;
            }
        }
        if let (Some(free), Some(largest)) = (self.free, self.largest_free) {
            write!(f, "; {} free, {} of it in one place", show(free), show(largest))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vmem_core::Label;

    use super::*;

    fn held(size: u64) -> Held {
        Held { size, label: Label::NONE, stream: 0, since: 0 }
    }

    #[test]
    fn the_fewest_blocks_are_the_smallest_one_that_is_enough_or_the_largest() {
        let blocks = [held(10), held(50), held(30), held(20)];
        let sizes =
            |bytes| -> Vec<u64> { fewest(&blocks, bytes).iter().map(|block| block.size).collect() };
        assert_eq!(sizes(0), Vec::<u64>::new());
        assert_eq!(sizes(15), [20]);
        assert_eq!(sizes(50), [50]);
        assert_eq!(sizes(55), [50, 10]);
        assert_eq!(sizes(110), [50, 30, 20, 10]);
        assert_eq!(sizes(111), [0; 0], "all of them are not enough");
    }

    #[test]
    fn the_window_is_where_least_is_live_and_has_no_gap() {
        let range = |start, size, kind| Range { start, size, kind };
        let ranges = [
            range(0, 40, FREE),
            range(40, 30, LIVE),
            range(70, 40, FREE),
            // Apart from what was before.
            range(200, 60, FREE),
            range(260, 10, LIVE),
            range(270, 20, FREE),
            range(290, 100, ELSEWHERE),
            range(390, 60, FREE),
        ];
        let found = window(&ranges, 80).unwrap();
        assert_eq!((found.start, found.size, found.live, found.pieces), (200, 90, 10, 1));
        assert_eq!(window(&ranges, 100).map(|window| window.live), Some(30));
        assert_eq!(window(&ranges, 60).map(|window| (window.start, window.live)), Some((200, 0)));
        assert_eq!(window(&ranges, 120), None);
    }
}
