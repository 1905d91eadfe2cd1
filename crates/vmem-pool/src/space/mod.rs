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
mod directory;
mod granules;
mod hot;
mod index;
mod range;
mod runs;

use directory::Directory;
pub(crate) use granules::whole_granules;
use index::FreeIndex;
pub(crate) use range::{Range, Slot, State, Tag};
pub(crate) use runs::Stretch;

/// All sizes and addresses are multiples of this many bytes.
pub(crate) const GRAIN: u64 = 256;

/// The ranges of all segments, and an index over the free ones.
#[derive(Debug)]
pub(crate) struct Space {
    fit: Fit,
    ranges: Vec<Range>,
    /// The first of the slots whose ranges were merged away; each names the next one.
    vacant: Option<Slot>,
    /// Free ranges by lane.
    free: Vec<FreeIndex>,
    /// Unmapped ranges.
    holes: FreeIndex,
    /// Ranges mapped to memory that is in use elsewhere.
    dormant: FreeIndex,
    directory: Directory,
}

/// Which ranges a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The smallest that is large enough.
    Best,
    /// Only one of exactly its size.
    Bins,
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
    pub(crate) fn place(self, start: u64, size: u64) -> Option<u64> {
        let at = start.checked_next_multiple_of(self.alignment)?;
        (at.checked_add(self.size)? <= start + size).then_some(at)
    }
}

impl Space {
    pub(crate) fn new(fit: Fit) -> Self {
        Self {
            fit,
            ranges: Vec::new(),
            vacant: None,
            free: Vec::new(),
            holes: FreeIndex::default(),
            dormant: FreeIndex::default(),
            directory: Directory::default(),
        }
    }

    /// Adds a segment as one range in `state`.
    pub(crate) fn add_segment(&mut self, start: u64, size: u64, state: State) -> Slot {
        self.directory.add_segment(start, size);
        let slot = self.new_range(Range::new(start, size, state));
        self.enter(slot);
        slot
    }

    /// Removes a segment that is one range, in whatever state but live.
    pub(crate) fn remove_segment(&mut self, slot: Slot) {
        self.leave(slot);
        let range = self[slot];
        debug_assert!(range.prev.is_none() && range.next.is_none() && !range.is_live());
        self.directory.remove_segment(range.start);
        self.retire_slot(slot);
    }

    /// The smallest free range of `lane` that fits, the lowest one of equals. Takes `O(log n)`
    /// steps for alignments up to [`GRAIN`]; above, it may have to pass over ranges that are large
    /// enough but misaligned.
    #[inline]
    pub(crate) fn best_fit(&self, lane: u32, need: Need) -> Option<Slot> {
        let best = self.free.get(lane as usize)?.best(&self.ranges, need.size)?;
        if self.fit == Fit::Bins && self[best].size != need.size {
            return None;
        }
        if need.alignment == GRAIN || need.place(self[best].start, self[best].size).is_some() {
            return Some(best);
        }
        self.fits(lane, need).next()
    }

    /// All free ranges of `lane` that fit, smallest and lowest first.
    pub(crate) fn fits(&self, lane: u32, need: Need) -> impl Iterator<Item = Slot> {
        let index = self.free.get(lane as usize).into_iter();
        let large = index.flat_map(move |index| index.at_least(&self.ranges, need.size));
        let allowed = large.take_while(move |&slot| match self.fit {
            Fit::Best => true,
            Fit::Bins => self[slot].size == need.size,
        });
        allowed.filter(move |&slot| need.place(self[slot].start, self[slot].size).is_some())
    }

    /// All free ranges of `lane`.
    pub(crate) fn free_of(&self, lane: u32) -> impl Iterator<Item = Slot> {
        self.free.get(lane as usize).into_iter().flat_map(FreeIndex::slots)
    }

    /// All unmapped ranges.
    fn holes(&self) -> impl Iterator<Item = Slot> {
        self.holes.slots()
    }

    /// All ranges mapped to memory that is in use elsewhere.
    pub(crate) fn dormant(&self) -> impl Iterator<Item = Slot> {
        self.dormant.slots()
    }

    /// The size of the largest free range of `lane`.
    pub(crate) fn largest_of(&self, lane: u32) -> u64 {
        self.free.get(lane as usize).and_then(|index| index.largest(&self.ranges)).unwrap_or(0)
    }

    /// Makes a free, unmapped or dormant range claimed: nobody else's to use until it is given a new state.
    #[inline]
    pub(crate) fn claim(&mut self, slot: Slot) {
        debug_assert!(self[slot].state().is_indexed(), "nobody else has it");
        self.leave(slot);
        self.at(slot).set_state(State::Claimed);
    }

    /// Cuts `at .. at + size` out of a claimed range, which stays claimed; what is left on either
    /// side gets `state` and coalesces.
    pub(crate) fn cut(&mut self, slot: Slot, at: u64, size: u64, state: State) {
        let range = self[slot];
        debug_assert!(range.state() == State::Claimed);
        debug_assert!(at >= range.start && at + size <= range.end());
        if at + size < range.end() {
            let rest = self.split(slot, at + size);
            self.release(rest, state);
        }
        if at > range.start {
            // The claimed part must keep its slot: the new range is the one in front.
            let front = self.split_front(slot, at);
            self.release(front, state);
        }
    }

    /// Splits a claimed range at `at`; both parts are claimed, the returned one is the upper.
    pub(crate) fn split(&mut self, slot: Slot, at: u64) -> Slot {
        let range = self[slot];
        debug_assert!(range.state() == State::Claimed && at > range.start && at < range.end());
        let upper = Range::new(at, range.end() - at, State::Claimed);
        let upper = self.new_range(upper.between(Some(slot), range.next));
        if let Some(next) = range.next {
            self.at(next).prev = Some(upper);
        }
        let lower = self.at(slot);
        lower.size = at - range.start;
        lower.next = Some(upper);
        upper
    }

    fn split_front(&mut self, slot: Slot, at: u64) -> Slot {
        let range = self[slot];
        let front = Range::new(range.start, at - range.start, State::Claimed);
        let front = self.new_range(front.between(range.prev, Some(slot)));
        if let Some(prev) = range.prev {
            self.at(prev).next = Some(front);
        }
        let upper = self.at(slot);
        upper.start = at;
        upper.size = range.end() - at;
        upper.prev = Some(front);
        front
    }

    /// Gives a claimed or live range a new state. A free one coalesces with free neighbours of its
    /// lane (the latest tag holds for the whole), a dormant one likewise, an unmapped one with
    /// unmapped neighbours. Returns the slot of the range it is part of now.
    pub(crate) fn release(&mut self, slot: Slot, state: State) -> Slot {
        debug_assert!(!self[slot].state().is_indexed());
        self.at(slot).set_state(state);
        let mut slot = slot;
        if let Some(prev) = self[slot].prev
            && let Some(state) = self[prev].state().joined(self[slot].state())
        {
            self.leave(prev);
            self.at(prev).set_state(state);
            self.absorb_next(prev);
            slot = prev;
        }
        if let Some(next) = self[slot].next
            && let Some(state) = self[slot].state().joined(self[next].state())
        {
            self.leave(next);
            self.at(slot).set_state(state);
            self.absorb_next(slot);
        }
        self.enter(slot);
        slot
    }

    /// Joins claimed neighbours into the first one.
    pub(crate) fn join_claimed(&mut self, first: Slot, last: Slot) {
        let end = self[last].end();
        while self[first].end() < end {
            debug_assert!(self[first].next.is_some_and(|n| self[n].state() == State::Claimed));
            self.absorb_next(first);
        }
    }

    /// The live range that starts at `start`. Steps as for [`covering`](Self::covering).
    pub(crate) fn find(&self, start: u64) -> Option<Slot> {
        let slot = self.covering(start)?;
        (self[slot].start == start && self[slot].is_live()).then_some(slot)
    }

    /// The range that `address` lies in. A short walk where ranges near it were made lately; at
    /// worst `O(n)` steps.
    pub(crate) fn covering(&self, address: u64) -> Option<Slot> {
        let (low, high, mut hints) = self.directory.hints(address)?;
        let inside = |slot: &Slot| {
            self.get(*slot).is_some_and(|range| low <= range.start && range.start < high)
        };
        let anywhere = || self.iter().map(|(slot, _)| slot).find(inside);
        let mut slot = hints.find(inside).or_else(anywhere)?;
        while self[slot].start > address {
            slot = self[slot].prev?;
        }
        while self[slot].end() <= address {
            slot = self[slot].next?;
        }
        Some(slot)
    }

    /// The range behind a slot, if the slot is in use.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&Range> {
        self.ranges.get(slot.index()).filter(|range| range.state() != State::Vacant)
    }

    /// All ranges in use, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Range)> {
        let in_use = |(_, range): &(usize, &Range)| range.state() != State::Vacant;
        self.ranges.iter().enumerate().filter(in_use).map(|(i, range)| (Slot::at(i), range))
    }

    #[inline]
    fn at(&mut self, slot: Slot) -> &mut Range {
        &mut self.ranges[slot.index()]
    }

    /// Merges the right neighbour into `slot`; neither is in an index.
    #[inline]
    fn absorb_next(&mut self, slot: Slot) {
        let Some(gone) = self[slot].next else { return };
        let Range { size, next, .. } = self[gone];
        let range = self.at(slot);
        range.size += size;
        range.next = next;
        if let Some(next) = next {
            self.at(next).prev = Some(slot);
        }
        self.retire_slot(gone);
    }

    #[inline]
    fn new_range(&mut self, range: Range) -> Slot {
        let slot = match self.vacant {
            Some(slot) => {
                let before = self.at(slot);
                let next = before.next;
                *before = range.in_slot_of(before);
                self.vacant = next;
                slot
            }
            None => self.new_slot(range),
        };
        self.directory.note(slot, range.start);
        slot
    }

    /// Room is made for an eighth more at a time: what is never used costs less than copying.
    #[cold]
    fn new_slot(&mut self, range: Range) -> Slot {
        if self.ranges.len() == self.ranges.capacity() {
            self.ranges.reserve_exact(16 + self.ranges.len() / 8);
        }
        self.ranges.push(range);
        Slot::at(self.ranges.len() - 1)
    }

    #[inline]
    fn retire_slot(&mut self, slot: Slot) {
        let next = self.vacant.replace(slot);
        let range = self.at(slot);
        range.set_state(State::Vacant);
        range.next = next;
    }

    /// Puts a range into the index of its state.
    #[inline]
    fn enter(&mut self, slot: Slot) {
        match self[slot].state() {
            State::Free(tag) => {
                let lane = tag.lane as usize;
                if self.free.len() <= lane {
                    self.free.resize_with(lane + 1, FreeIndex::default);
                }
                self.free[lane].insert(&mut self.ranges, slot);
            }
            State::Hole => self.holes.insert(&mut self.ranges, slot),
            State::Dormant(_) => self.dormant.insert(&mut self.ranges, slot),
            State::Live | State::Claimed | State::Vacant => {}
        }
    }

    /// Takes a range out of the index of its state.
    #[inline]
    fn leave(&mut self, slot: Slot) {
        match self[slot].state() {
            State::Free(tag) => self.free[tag.lane as usize].remove(&mut self.ranges, slot),
            State::Hole => self.holes.remove(&mut self.ranges, slot),
            State::Dormant(_) => self.dormant.remove(&mut self.ranges, slot),
            State::Live | State::Claimed | State::Vacant => {}
        }
    }
}

impl std::ops::Index<Slot> for Space {
    type Output = Range;

    #[inline]
    fn index(&self, slot: Slot) -> &Range {
        &self.ranges[slot.index()]
    }
}

#[cfg(test)]
mod tests;
