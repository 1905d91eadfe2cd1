//! Placement over plain numbers: which ranges are live, free or unmapped, and which free range a
//! request gets. It knows nothing of devices, locks or time.
//!
//! Addresses and sizes are in bytes, multiples of [`GRAIN`]. Ranges form segments: inside a segment
//! every byte belongs to exactly one range, and neighbours know each other; ranges of different
//! segments are never neighbours.
//!
//! Every free range carries a [`Tag`]: the lane that freed it last, and when. Ranges of one lane
//! coalesce at once; ranges of different lanes stay apart until somebody who knows that it is safe
//! joins them.

#![forbid(unsafe_code)]

mod check;
mod claim;
mod directory;
mod granules;
mod hot;
mod index;
mod range;
mod ranges;
mod runs;
pub(crate) mod visits;

use vmem_core::{DevicePtr, RawBlock};

pub(crate) use claim::Claim;
use index::class_of;
pub(crate) use range::{CLEAN, Range, RangeState, Slot, StreamIx, Tag};
pub(crate) use ranges::Space;

/// All sizes and addresses are multiples of this many bytes.
pub(crate) const GRAIN: u64 = 256;

/// The most bytes that a range can have: their grains are counted in 32 bits.
pub(crate) const MOST: u64 = (u32::MAX as u64 - 1) * GRAIN;

/// Which ranges a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The smallest that is large enough.
    Best,
    /// Only one of exactly its size.
    Bins,
}

/// Addresses, by where they begin and how many bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Span {
    #[inline]
    pub(crate) const fn new(start: u64, size: u64) -> Self {
        Self { start, size }
    }

    /// From `start` up to `end`.
    #[inline]
    pub(crate) const fn between(start: u64, end: u64) -> Self {
        Self { start, size: end - start }
    }

    /// The address behind the last byte.
    #[inline]
    pub(crate) const fn end(self) -> u64 {
        self.start + self.size
    }

    /// Whether the two have a byte in common.
    pub(crate) const fn touches(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// The part that the two have in common: of no bytes if they have none.
    pub(crate) fn common(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self::between(start, self.end().min(other.end()).max(start))
    }
}

/// What a request needs of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Bytes, a multiple of [`GRAIN`].
    pub(crate) size: u64,
    /// A power of two, at least [`GRAIN`].
    pub(crate) alignment: u64,
}

impl Need {
    /// Where in `start .. start + size` the request would begin, if it fits.
    #[inline]
    pub(crate) fn start_in(self, start: u64, size: u64) -> Option<u64> {
        let at = start.checked_next_multiple_of(self.alignment)?;
        (at.checked_add(self.size)? <= start + size).then_some(at)
    }
}

impl Space {
    /// Adds a segment as one range in `state`.
    pub(crate) fn add_segment(&mut self, span: Span, state: RangeState) -> Slot {
        self.directory.add_segment(span);
        self.set_base(span.start);
        let slot = self.new_range(Range::new(span, state));
        self.enter(slot);
        slot
    }

    /// Removes a segment that is one range, in whatever state but live.
    pub(crate) fn remove_segment(&mut self, slot: Slot) {
        let range = self[slot];
        debug_assert!(range.prev.is_none() && range.next.is_none() && !range.is_live());
        self.leave(slot);
        self.retire_slot(slot);
        self.directory.remove_segment(range.start);
    }

    /// Lanes that have a free range which fits: `limit` of those whose best fit is smallest, or all if
    /// there are no more. In the order of their numbers. The second part says whether the limit was
    /// reached, so that there may be more.
    pub(crate) fn lanes_that_fit(&mut self, need: Need, limit: usize) -> (Vec<StreamIx>, bool) {
        let mut lanes = Vec::new();
        if need.size > MOST {
            return (lanes, false);
        }
        let mut class = self.owners.next_class(class_of(need.grains()));
        while let Some(now) = class.filter(|_| lanes.len() < limit) {
            self.add_lanes_that_fit(need, now, limit, &mut lanes);
            let exact = self.fit == Fit::Bins;
            class = if exact { None } else { self.owners.next_class(now + 1) };
        }
        let cut_short = lanes.len() >= limit;
        lanes.sort_unstable();
        (lanes, cut_short)
    }

    /// Joins claimed neighbours, lowest first, into one and returns its slot.
    pub(crate) fn join_claimed(&mut self, parts: &[(Slot, RangeState)]) -> Slot {
        let (first, end) = (parts[0].0, self[parts[parts.len() - 1].0].end());
        while self[first].end() < end
            && let Some(next) = self[first].next
        {
            debug_assert!(self[next].state() == RangeState::Claimed);
            self.absorb_next(first);
        }
        first
    }

    /// Notes of a block whether some of its memory is not the device's, or on its way. Such a block is
    /// ended by [`end_resting`](Self::end_resting) only.
    pub(crate) fn set_resting(&mut self, slot: Slot, resting: bool) {
        debug_assert!(self[slot].is_live());
        self.at(slot).set_resting(resting);
    }

    /// Ends the resting block that `raw` describes, whose range stays live until it is freed. `None` if
    /// there is no such block.
    pub(crate) fn end_resting(&mut self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.ranges.get_mut(slot.index())?;
        let ended = range.end_resting(raw.ptr().get(), raw.generation(), raw.layout());
        ended.then_some(slot)
    }

    /// The slot of the live block that `raw` describes.
    pub(crate) fn slot_of(&self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.get(slot)?;
        let (layout, _, generation) = range.block()?;
        let same = (layout, generation) == (raw.layout(), raw.generation());
        (same && range.start == raw.ptr().get()).then_some(slot)
    }

    /// The live range that starts at `start`. Steps as for [`covering`](Self::covering).
    pub(crate) fn find(&self, start: u64) -> Option<Slot> {
        let slot = self.covering(start)?;
        (self[slot].start == start && self[slot].is_live()).then_some(slot)
    }

    /// The range that `address` lies in. A short walk where ranges near it were made lately; at
    /// worst `O(n)` steps.
    pub(crate) fn covering(&self, address: u64) -> Option<Slot> {
        let mut slot = self.beside(address)?;
        while self[slot].start > address {
            slot = self[slot].prev?;
        }
        while self[slot].end() <= address {
            slot = self[slot].next?;
        }
        Some(slot)
    }
}

/// An address as the driver and programs have it.
///
/// # Panics
/// At zero, where no memory starts.
#[inline]
pub(crate) fn pointer(address: u64) -> DevicePtr {
    DevicePtr::new(address).expect("no memory starts at zero")
}

#[cfg(test)]
mod tests;
