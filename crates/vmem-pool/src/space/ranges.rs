//! Which range every byte belongs to.

use super::range::grains;
use super::segment::{self, Segment};
use super::{Range, RangeState, Slot, Span, Tag};

/// The ranges of all segments. Inside a segment every byte belongs to exactly one, and neighbours know
/// each other; ranges of different segments are never neighbours. A slot is a range's, or vacant.
///
/// Which ranges are in an index is not known here: one that is cut or joined is in none.
#[derive(Debug)]
pub(crate) struct Ranges {
    /// At index zero one that is nobody's neighbour and never free: what has no neighbour there has it.
    pub(super) slots: Vec<Range>,
    /// The first of the slots whose ranges were merged away; each names the next one.
    pub(super) vacant: Option<Slot>,
    /// Sorted by start.
    segments: Vec<Segment>,
}

impl Ranges {
    /// Those of no segment.
    pub(super) fn new() -> Self {
        let nobody = Range::new(Span::new(0, 0), RangeState::Vacant);
        Self { slots: vec![nobody], vacant: None, segments: Vec::new() }
    }

    /// Adds a segment as one range in `state`.
    pub(super) fn add_segment(&mut self, span: Span, state: RangeState) -> Slot {
        let at = self.segments.partition_point(|s| s.span.start < span.start);
        let apart = self.segments.get(at).is_none_or(|next| !span.touches(next.span));
        debug_assert!(apart, "segments do not overlap");
        self.segments.insert(at, Segment::new(span));
        self.add(Range::new(span, state))
    }

    /// Removes a segment that is one range.
    pub(super) fn remove_segment(&mut self, slot: Slot) {
        let range = self[slot];
        debug_assert!(range.prev.is_none() && range.next.is_none());
        self.retire(slot);
        if let Ok(at) = self.segments.binary_search_by_key(&range.start, |s| s.span.start) {
            self.segments.remove(at);
        }
    }

    /// Makes a range, whose neighbours are to be told.
    #[inline]
    fn add(&mut self, range: Range) -> Slot {
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
        if let Some(segment) = segment::of(&mut self.segments, range.start) {
            segment.note(slot, range.start);
        }
        slot
    }

    /// Room is made for a thirty-second more at a time: what is never used costs less than copying.
    #[cold]
    fn new_slot(&mut self, range: Range) -> Slot {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(16 + self.slots.len() / 32);
        }
        self.slots.push(range);
        Slot::at(self.slots.len() - 1)
    }

    /// Nothing is the range's any more, and no neighbour knows it.
    #[inline]
    pub(super) fn retire(&mut self, slot: Slot) {
        let next = self.vacant.replace(slot);
        let range = self.at(slot);
        range.set_state(RangeState::Vacant);
        range.next = next;
    }

    /// Splits a claimed range at `at`; both parts are claimed, the returned one is the upper.
    pub(crate) fn split(&mut self, slot: Slot, at: u64) -> Slot {
        let range = self[slot];
        debug_assert!(range.state() == RangeState::Claimed && at > range.start && at < range.end());
        let lower = grains(at - range.start);
        let upper = range.grains() - lower;
        let above = self.add(Range::between(at, upper, Some(slot), range.next));
        self.slots[Slot::index_of(range.next)].prev = Some(above);
        let below = self.at(slot);
        below.resize(range.start, lower);
        below.next = Some(above);
        above
    }

    /// Splits the range that a slot has, in no index, at `at`; the upper part keeps the slot and its state,
    /// the returned one is claimed.
    #[inline]
    pub(super) fn split_front(&mut self, slot: Slot, range: Range, at: u64) -> Slot {
        let lower = grains(at - range.start);
        let front = self.add(Range::between(range.start, lower, range.prev, Some(slot)));
        self.slots[Slot::index_of(range.prev)].next = Some(front);
        let above = self.at(slot);
        above.resize(at, range.grains() - lower);
        above.prev = Some(front);
        front
    }

    /// Merges the right neighbour into `slot`; neither is in an index.
    pub(super) fn absorb_next(&mut self, slot: Slot) {
        let Some(gone) = self[slot].next else { return };
        let (size, next) = (self[gone].grains(), self[gone].next);
        let range = self.at(slot);
        range.resize(range.start, range.grains() + size);
        range.next = next;
        self.slots[Slot::index_of(next)].prev = Some(slot);
        self.retire(gone);
    }

    /// Joins claimed neighbours, lowest first, into one and returns its slot.
    pub(super) fn join_claimed(&mut self, parts: &[(Slot, RangeState)]) -> Slot {
        let (first, end) = (parts[0].0, self[parts[parts.len() - 1].0].end());
        while self[first].end() < end
            && let Some(next) = self[first].next
        {
            debug_assert!(self[next].state() == RangeState::Claimed);
            self.absorb_next(first);
        }
        first
    }

    #[inline]
    pub(super) fn at(&mut self, slot: Slot) -> &mut Range {
        &mut self.slots[slot.index()]
    }

    /// The range behind a slot, if the slot is in use.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&Range> {
        let in_use = |range: &&Range| range.state() != RangeState::Vacant;
        self.slots.get(slot.index()).filter(in_use)
    }

    /// All ranges in use, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Range)> {
        let slots = (1..self.slots.len()).map(Slot::at);
        slots.filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// The range that `address` lies in. A short walk where ranges near it were made lately; at
    /// worst `O(n)` steps.
    pub(crate) fn covering(&self, address: u64) -> Option<Slot> {
        let at = self.segments.partition_point(|s| s.span.start <= address).checked_sub(1)?;
        let segment = self.segments.get(at).filter(|segment| segment.holds(address))?;
        let inside = |range: &Range| range.span().touches(segment.span);
        let near = segment.hints(address).find(|&slot| self.get(slot).is_some_and(inside));
        let any = || self.iter().find(|(_, range)| inside(range)).map(|(slot, _)| slot);
        let mut slot = near.or_else(any)?;
        while self[slot].start > address {
            slot = self[slot].prev?;
        }
        while self[slot].end() <= address {
            slot = self[slot].next?;
        }
        Some(slot)
    }

    /// The ranges that a span touches, lowest first.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = Slot> {
        let next = move |slot: &Slot| self[*slot].next;
        let first = if span.size > 0 { self.covering(span.start) } else { None };
        let slots = std::iter::successors(first, next);
        slots.take_while(move |&slot| self[slot].start < span.end())
    }

    /// Whether all of a span is free with a `usable` tag.
    pub(crate) fn is_free(&self, span: Span, usable: impl Fn(Tag) -> bool) -> bool {
        let mut upto = span.start;
        for slot in self.within(span) {
            if !self[slot].tag().is_some_and(&usable) {
                return false;
            }
            upto = self[slot].end();
        }
        upto >= span.end()
    }

    /// The unmapped parts of a span, lowest first.
    pub(crate) fn unmapped_in(&self, span: Span) -> Vec<Span> {
        let unmapped = self.within(span).filter(|&slot| self[slot].state() == RangeState::Unmapped);
        unmapped.map(|slot| self[slot].span().common(span)).collect()
    }
}

impl std::ops::Index<Slot> for Ranges {
    type Output = Range;

    #[inline]
    fn index(&self, slot: Slot) -> &Range {
        &self.slots[slot.index()]
    }
}
