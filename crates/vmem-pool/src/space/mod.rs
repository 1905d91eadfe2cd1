//! Placement over plain numbers: which ranges are live, free or unmapped, and which free range a
//! request gets. It knows nothing of devices, locks or time.
//!
//! Addresses and sizes are in bytes, multiples of [`GRAIN`]. Every free range carries a [`Tag`]: the lane
//! that freed it last, and when. Ranges of one lane coalesce at once; ranges of different lanes stay apart
//! until somebody who knows that it is safe joins them.
//!
//! Neither of two parts knows the other: [`Ranges`] says which range every byte belongs to (`ranges.rs`, as
//! blocks `blocks.rs`, over `range.rs` and `segment.rs`), and [`Indexes`] which ranges are in no block, by
//! state, lane and size (`index/`). [`Space`] is both, and what changes both: a range that changes its
//! state (here), the two operations that must be fast (`hot.rs`), claims (`claim.rs`). What looks for
//! something in both reads them: the best fit (`fits.rs`), neighbours that fit together (`runs.rs`),
//! and where memory can be mapped (`unmapped.rs`).

#![forbid(unsafe_code)]

mod blocks;
mod check;
mod claim;
mod fits;
mod hot;
mod index;
mod range;
mod ranges;
mod runs;
mod segment;
mod span;
mod tag;
mod unmapped;
pub(crate) mod visits;

pub(crate) use claim::Claim;
pub(crate) use fits::Fit;
use index::Indexes;
pub(crate) use range::{Range, RangeState, Slot};
use ranges::Ranges;
pub(crate) use span::{GRAIN, MOST, Need, Span, pointer};
pub(crate) use tag::{CLEAN, StreamIx, Tag};

/// The ranges of all segments, with indexes of those that are in no block.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) ranges: Ranges,
    pub(crate) indexes: Indexes,
    fit: Fit,
    /// Claims that are neither finished nor given up. Who has one may know tags of lanes.
    pub(crate) claims: usize,
    /// Claims finished and given up so far.
    pub(crate) claims_ended: u64,
}

impl Space {
    /// A space without segments.
    pub(crate) fn new(fit: Fit) -> Self {
        let (ranges, indexes) = (Ranges::new(), Indexes::default());
        Self { ranges, indexes, fit, claims: 0, claims_ended: 0 }
    }

    /// Adds a segment as one range in `state`.
    pub(crate) fn add_segment(&mut self, span: Span, state: RangeState) -> Slot {
        if self.ranges.slots.len() == 1 {
            self.indexes.set_first(span.start);
        }
        let slot = self.ranges.add_segment(span, state);
        self.indexes.enter(&mut self.ranges.slots, slot);
        slot
    }

    /// Removes a segment that is one range, in whatever state but live.
    pub(crate) fn remove_segment(&mut self, slot: Slot) {
        debug_assert!(!self[slot].is_live());
        self.indexes.leave(&mut self.ranges.slots, slot);
        self.ranges.remove_segment(slot);
    }

    /// Every free range is in its index from now on: whoever reads one calls this first. A pool does so
    /// whenever it is locked for more than a hit or a free.
    #[inline]
    pub(crate) fn list(&mut self) {
        self.indexes.list(&mut self.ranges.slots);
    }

    /// Makes a free, unmapped or dormant range claimed: nobody else's to use until it is given a new
    /// state.
    #[inline]
    pub(crate) fn claim(&mut self, slot: Slot) {
        debug_assert!(self[slot].state().is_indexed(), "nobody else has it");
        self.indexes.leave(&mut self.ranges.slots, slot);
        self.ranges.at(slot).set_state(RangeState::Claimed);
    }

    /// Cuts a span out of a claimed range, which stays claimed; what is left on either side gets
    /// `state` and coalesces.
    pub(crate) fn cut(&mut self, slot: Slot, kept: Span, state: RangeState) {
        let range = self[slot];
        debug_assert!(range.state() == RangeState::Claimed);
        debug_assert!(kept.start >= range.start && kept.end() <= range.end());
        if kept.end() < range.end() {
            let rest = self.ranges.split(slot, kept.end());
            self.set_state(rest, state);
        }
        if kept.start > range.start {
            // The claimed part must keep its slot: the new range is the one in front.
            let range = self[slot];
            let front = self.ranges.split_front(slot, range, kept.start);
            self.set_state(front, state);
        }
    }

    /// Gives a claimed or live range a new state. A free one coalesces with free neighbours of its
    /// lane (the latest tag holds for the whole), a dormant one likewise, an unmapped one with
    /// unmapped neighbours.
    pub(crate) fn set_state(&mut self, slot: Slot, state: RangeState) {
        let Self { ranges, indexes, .. } = self;
        debug_assert!(!ranges[slot].state().is_indexed());
        ranges.at(slot).set_state(state);
        let mut slot = slot;
        if let Some(prev) = ranges[slot].prev
            && let Some(state) = ranges[prev].joined(&ranges[slot])
        {
            indexes.leave(&mut ranges.slots, prev);
            ranges.at(prev).set_state(state);
            ranges.absorb_next(prev);
            slot = prev;
        }
        if let Some(next) = ranges[slot].next
            && let Some(state) = ranges[slot].joined(&ranges[next])
        {
            indexes.leave(&mut ranges.slots, next);
            ranges.at(slot).set_state(state);
            ranges.absorb_next(slot);
        }
        indexes.enter(&mut ranges.slots, slot);
    }
}

impl std::ops::Index<Slot> for Space {
    type Output = Range;

    #[inline]
    fn index(&self, slot: Slot) -> &Range {
        &self.ranges[slot]
    }
}

#[cfg(test)]
mod tests;
