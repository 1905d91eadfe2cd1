//! The ranges of all segments, and an index over the free ones.

use super::directory::Directory;
use super::hot::UNLISTED;
use super::index::{FreeIndex, Key, Owners, class_of};
use super::range::{Range, RangeState, Slot, StreamIx, grains};
use super::{Fit, GRAIN, MOST, Need, Span};

/// The ranges of all segments, with an index over the free ones.
#[derive(Debug)]
pub(crate) struct Space {
    pub(super) fit: Fit,
    /// At index zero one that is nobody's neighbour and never free: what has no neighbour there has it.
    pub(super) ranges: Vec<Range>,
    /// From where on the starts of ranges are compared.
    base: u64,
    /// The first of the slots whose ranges were merged away; each names the next one.
    pub(super) vacant: Option<Slot>,
    /// Of some lanes the free range that changed last, which is in no index.
    pub(super) unlisted: [Option<Slot>; UNLISTED],
    /// Free ranges by lane.
    pub(super) free: Vec<FreeIndex>,
    /// Which of those have ranges of a size.
    pub(super) owners: Owners,
    /// Unmapped ranges.
    pub(super) unmapped: FreeIndex,
    /// Ranges mapped to memory that is in use elsewhere.
    pub(super) dormant: FreeIndex,
    pub(super) directory: Directory,
    /// Claims that are neither finished nor given up. Who has one may know tags of lanes.
    pub(crate) claims: usize,
    /// Claims finished and given up so far.
    pub(crate) claims_ended: u64,
}

impl Space {
    /// A space without segments.
    pub(crate) fn new(fit: Fit) -> Self {
        Self {
            fit,
            ranges: vec![Range::new(Span::new(0, 0), RangeState::Vacant)],
            base: 0,
            vacant: None,
            unlisted: [None; UNLISTED],
            free: Vec::new(),
            owners: Owners::default(),
            unmapped: FreeIndex::default(),
            dormant: FreeIndex::default(),
            directory: Directory::default(),
            claims: 0,
            claims_ended: 0,
        }
    }

    /// The smallest free range of `lane` that fits, the lowest one of equals. Takes `O(log n)`
    /// steps for alignments up to [`GRAIN`]; above, it may have to pass over ranges that are large
    /// enough but misaligned.
    #[inline]
    pub(crate) fn best_fit(&self, lane: StreamIx, need: Need) -> Option<Slot> {
        debug_assert!(self.is_listed(), "for all free ranges");
        if need.size > MOST {
            return None;
        }
        let best = self.free.get(lane.index())?.best(need.grains())?;
        if self.fit == Fit::Bins && self[best].size() != need.size {
            return None;
        }
        if need.alignment == GRAIN || need.start_in(self[best].start, self[best].size()).is_some() {
            return Some(best);
        }
        self.fits(lane, need).next()
    }

    /// All free ranges of `lane` that fit, smallest and lowest first.
    pub(crate) fn fits(&self, lane: StreamIx, need: Need) -> impl Iterator<Item = Slot> {
        debug_assert!(self.is_listed(), "for all free ranges");
        let index = self.free.get(lane.index()).into_iter();
        let index = index.filter(move |_| need.size <= MOST);
        let large = index.flat_map(move |index| index.at_least(need.grains()));
        let allowed = large.take_while(move |&slot| match self.fit {
            Fit::Best => true,
            Fit::Bins => self[slot].size() == need.size,
        });
        allowed.filter(move |&slot| need.start_in(self[slot].start, self[slot].size()).is_some())
    }

    /// All free ranges of `lane`.
    pub(crate) fn free_of(&self, lane: StreamIx) -> impl Iterator<Item = Slot> {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.free.get(lane.index()).into_iter().flat_map(FreeIndex::slots)
    }

    /// Whether `lane` has no free range.
    pub(crate) fn owns_nothing(&self, lane: StreamIx) -> bool {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.free.get(lane.index()).is_none_or(|index| index.is_empty())
    }

    /// How many lanes have free ranges: none, one, or two for all above.
    pub(crate) fn owners(&self) -> usize {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.owners.count(&self.free)
    }

    /// The free ranges of all lanes.
    pub(crate) fn all_free(&self) -> impl Iterator<Item = Slot> {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.owners.slots(&self.free)
    }

    /// Adds lanes whose best fit is of this class, until there are `limit`.
    pub(super) fn add_lanes_that_fit(
        &mut self,
        need: Need,
        class: usize,
        limit: usize,
        lanes: &mut Vec<StreamIx>,
    ) {
        let mut at = 0;
        while lanes.len() < limit
            && let Some(index) = self.owners.next_in(class, at, &mut self.free)
        {
            at += 1;
            let lane = StreamIx::at(index);
            let best = self.best_fit(lane, need);
            if best.is_some_and(|slot| class_of(self[slot].grains()) == class) {
                lanes.push(lane);
            }
        }
    }

    /// All unmapped ranges.
    pub(super) fn unmapped(&self) -> impl Iterator<Item = Slot> {
        self.unmapped.slots()
    }

    /// All ranges mapped to memory that is in use elsewhere.
    pub(crate) fn dormant(&self) -> impl Iterator<Item = Slot> {
        self.dormant.slots()
    }

    /// The size of the largest free range of `lane`.
    pub(crate) fn largest_of(&self, lane: StreamIx) -> u64 {
        debug_assert!(self.is_listed(), "for all free ranges");
        let largest = self.free.get(lane.index()).and_then(FreeIndex::largest);
        largest.map_or(0, |grains| u64::from(grains) * GRAIN)
    }

    /// Makes a free, unmapped or dormant range claimed: nobody else's to use until it is given a new
    /// state.
    #[inline]
    pub(crate) fn claim(&mut self, slot: Slot) {
        debug_assert!(self[slot].state().is_indexed(), "nobody else has it");
        self.leave(slot);
        self.at(slot).set_state(RangeState::Claimed);
    }

    /// Cuts a span out of a claimed range, which stays claimed; what is left on either side gets
    /// `state` and coalesces.
    pub(crate) fn cut(&mut self, slot: Slot, kept: Span, state: RangeState) {
        let range = self[slot];
        debug_assert!(range.state() == RangeState::Claimed);
        debug_assert!(kept.start >= range.start && kept.end() <= range.end());
        if kept.end() < range.end() {
            let rest = self.split(slot, kept.end());
            self.set_state(rest, state);
        }
        if kept.start > range.start {
            // The claimed part must keep its slot: the new range is the one in front.
            let front = self.split_front(slot, kept.start);
            self.set_state(front, state);
        }
    }

    /// Splits a claimed range at `at`; both parts are claimed, the returned one is the upper.
    pub(crate) fn split(&mut self, slot: Slot, at: u64) -> Slot {
        let range = self[slot];
        debug_assert!(range.state() == RangeState::Claimed && at > range.start && at < range.end());
        let (lower, upper) = (grains(at - range.start), grains(range.end() - at));
        let above = self.new_range(Range::between(at, upper, Some(slot), range.next));
        self.ranges[Slot::index_of(range.next)].prev = Some(above);
        let below = self.at(slot);
        below.resize(range.start, lower);
        below.next = Some(above);
        above
    }

    fn split_front(&mut self, slot: Slot, at: u64) -> Slot {
        let range = self[slot];
        let (lower, upper) = (grains(at - range.start), grains(range.end() - at));
        let front = self.new_range(Range::between(range.start, lower, range.prev, Some(slot)));
        self.ranges[Slot::index_of(range.prev)].next = Some(front);
        let above = self.at(slot);
        above.resize(at, upper);
        above.prev = Some(front);
        front
    }

    /// Gives a claimed or live range a new state. A free one coalesces with free neighbours of its
    /// lane (the latest tag holds for the whole), a dormant one likewise, an unmapped one with
    /// unmapped neighbours. Returns the slot of the range it is part of now.
    pub(crate) fn set_state(&mut self, slot: Slot, state: RangeState) -> Slot {
        debug_assert!(!self[slot].state().is_indexed());
        self.at(slot).set_state(state);
        let slot = self.coalesce(slot);
        self.enter(slot);
        slot
    }

    /// Joins a range, which is in no index, with its neighbours where it may be.
    pub(super) fn coalesce(&mut self, slot: Slot) -> Slot {
        let mut slot = slot;
        if let Some(prev) = self[slot].prev
            && let Some(state) = self[prev].joined(&self[slot])
        {
            self.leave(prev);
            self.at(prev).set_state(state);
            self.absorb_next(prev);
            slot = prev;
        }
        if let Some(next) = self[slot].next
            && let Some(state) = self[slot].joined(&self[next])
        {
            self.leave(next);
            self.at(slot).set_state(state);
            self.absorb_next(slot);
        }
        slot
    }

    /// The range behind a slot, if the slot is in use.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&Range> {
        let in_use = |range: &&Range| range.state() != RangeState::Vacant;
        self.ranges.get(slot.index()).filter(in_use)
    }

    /// A range of the segment that `address` lies in: near it if one is known, else any, which takes `O(n)`
    /// steps.
    pub(super) fn beside(&self, address: u64) -> Option<Slot> {
        let (segment, mut hints) = self.directory.hints(address)?;
        let inside = |range: &Range| range.span().touches(segment);
        let near = hints.find(|&slot| self.get(slot).is_some_and(inside));
        let any = || self.iter().find(|(_, range)| inside(range)).map(|(slot, _)| slot);
        near.or_else(any)
    }

    /// All ranges in use, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Range)> {
        let slots = (1..self.ranges.len()).map(Slot::at);
        slots.filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    #[inline]
    pub(super) fn at(&mut self, slot: Slot) -> &mut Range {
        &mut self.ranges[slot.index()]
    }

    /// Merges the right neighbour into `slot`; neither is in an index.
    pub(super) fn absorb_next(&mut self, slot: Slot) {
        let Some(gone) = self[slot].next else { return };
        let (size, next) = (self[gone].grains(), self[gone].next);
        let range = self.at(slot);
        range.resize(range.start, range.grains() + size);
        range.next = next;
        self.ranges[Slot::index_of(next)].prev = Some(slot);
        self.retire_slot(gone);
    }

    #[inline]
    pub(super) fn new_range(&mut self, range: Range) -> Slot {
        let slot = match self.vacant {
            Some(slot) => {
                let place = self.at(slot);
                let next = place.next;
                place.replace(range);
                self.vacant = next;
                slot
            }
            None => self.new_slot(range),
        };
        self.directory.note(slot, range.start);
        slot
    }

    /// Room is made for a thirty-second more at a time: what is never used costs less than copying.
    #[cold]
    fn new_slot(&mut self, range: Range) -> Slot {
        if self.ranges.len() == self.ranges.capacity() {
            self.ranges.reserve_exact(16 + self.ranges.len() / 32);
        }
        self.ranges.push(range);
        Slot::at(self.ranges.len() - 1)
    }

    #[inline]
    pub(super) fn retire_slot(&mut self, slot: Slot) {
        let next = self.vacant.replace(slot);
        let range = self.at(slot);
        range.set_state(RangeState::Vacant);
        range.next = next;
    }

    /// What a range is ordered by among others of its state: its size, then its start. Starts are told
    /// apart over 1 TiB from 256 GiB below the first segment on.
    #[inline]
    pub(super) fn key_of(&self, range: &Range) -> Key {
        #[expect(clippy::cast_possible_truncation, reason = "as documented")]
        let start = (range.start.wrapping_sub(self.base) / GRAIN) as u32;
        Key::of(range.grains(), start)
    }

    /// The first segment begins at `start`.
    pub(super) fn set_base(&mut self, start: u64) {
        if self.ranges.len() == 1 {
            self.base = start.wrapping_sub(256 << 30);
        }
    }

    /// Puts a range into the index of its state.
    #[inline]
    pub(super) fn enter(&mut self, slot: Slot) {
        let range = self[slot];
        let key = self.key_of(&range);
        match range.state() {
            RangeState::Free(_) => self.enter_lane(slot),
            RangeState::Unmapped => _ = self.unmapped.insert(&mut self.ranges, slot, key),
            RangeState::Dormant(_) => _ = self.dormant.insert(&mut self.ranges, slot, key),
            RangeState::Live | RangeState::Claimed | RangeState::Vacant => {}
        }
    }

    /// Takes a range out of the index of its state.
    #[inline]
    pub(super) fn leave(&mut self, slot: Slot) {
        let range = self[slot];
        let key = self.key_of(&range);
        match range.state() {
            RangeState::Free(tag) => self.unlist(slot, tag.lane),
            RangeState::Unmapped => self.unmapped.remove(&mut self.ranges, slot, key),
            RangeState::Dormant(_) => self.dormant.remove(&mut self.ranges, slot, key),
            RangeState::Live | RangeState::Claimed | RangeState::Vacant => {}
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
