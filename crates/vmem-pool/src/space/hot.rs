//! The two operations that must be fast: taking the best fit and freeing a block.
//!
//! They do what claiming, cutting and releasing would do, in one step and with the fewest changes
//! to the indexes: a free range that only grows or shrinks keeps its slot and its place.

use vmem_core::{BlockLayout, Label, RawBlock};

use super::range::Kind;
use super::{Fit, GRAIN, MOST, Need, Range, RangeState, Slot, Space, Span, StreamIx, Tag};

impl Space {
    /// Claims the best fit of `lane`, cut to what is needed, and returns its slot. What is left of it
    /// stays free under its tag, or under `rest` if one is given.
    #[inline]
    pub(crate) fn take_best(
        &mut self,
        lane: StreamIx,
        need: Need,
        rest: Option<Tag>,
    ) -> Option<Slot> {
        if need.size > MOST {
            return None;
        }
        let wanted = need.grains();
        let index = self.free.get_mut(lane.index())?;
        let slot = index.search(wanted)?;
        let range = self.ranges[slot.index()];
        let same_lane = rest.is_none_or(|rest| rest.lane == lane);
        if !same_lane || !range.start.is_multiple_of(need.alignment) || self.fit == Fit::Bins {
            return self.take_apart(lane, need, rest);
        }
        let before = self.key_of(&range);
        if range.grains() == wanted {
            self.free[lane.index()].remove(&mut self.ranges, slot, before);
            self.at(slot).set_state(RangeState::Claimed);
            return Some(slot);
        }
        // The block is the lower end, in a slot of its own; the range above it goes on as it was.
        let block = Range::between(range.start, wanted, range.prev, Some(slot));
        let block = self.new_range(block);
        self.ranges[Slot::index_of(range.prev)].next = Some(block);
        let above = self.at(slot);
        above.resize(range.start + need.size, range.grains() - wanted);
        above.prev = Some(block);
        if let Some(rest) = rest {
            above.set_epoch(rest.epoch);
        }
        self.reindex(slot, lane, before);
        Some(block)
    }

    #[cold]
    fn take_apart(&mut self, lane: StreamIx, need: Need, rest: Option<Tag>) -> Option<Slot> {
        let slot = self.best_fit(lane, need)?;
        let range = self[slot];
        let rest = rest.or(range.tag())?;
        self.claim(slot);
        let at = need.start_in(range.start, range.size()).unwrap_or(range.start);
        self.cut(slot, Span::new(at, need.size), RangeState::Free(rest));
        Some(slot)
    }

    /// Makes a claimed range a block and returns its generation.
    #[inline]
    pub(crate) fn begin_block(
        &mut self,
        slot: Slot,
        layout: BlockLayout,
        label: Label,
        home: StreamIx,
    ) -> u32 {
        debug_assert!(self[slot].state() == RangeState::Claimed);
        self.at(slot).begin_block(layout, label, home)
    }

    /// Ends the block that `raw` describes, whose range stays live until it is freed. `None` if it
    /// is not a block of this space.
    #[inline]
    pub(crate) fn end_block(&mut self, raw: &RawBlock, home: StreamIx) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.ranges.get_mut(slot.index())?;
        let ended = range.end_block(raw.ptr().get(), raw.generation(), raw.layout(), home);
        ended.then_some(slot)
    }

    /// The lane that the block was taken for, if it is one of this space.
    pub(crate) fn home_of(&self, raw: &RawBlock) -> Option<StreamIx> {
        let range = self.ranges.get(Slot::from_raw(raw.slot())?.index())?;
        range.is_live().then(|| range.home())
    }

    /// Frees a live range, coalescing with free neighbours of its lane under the latest tag.
    #[inline(always)]
    pub(crate) fn free(&mut self, slot: Slot, tag: Tag) {
        let freed = self.ranges[slot.index()];
        debug_assert!(freed.is_live());
        let mine = Kind::free(tag.lane);
        let below = Slot::index_of(freed.prev);
        let above = Slot::index_of(freed.next);
        match (freed.prev, freed.next) {
            (Some(prev), next) if self.ranges[below].kind() == mine => {
                let range = self.ranges[below];
                let (mut epoch, mut grains, mut beyond) = (tag.epoch, freed.grains(), next);
                if let Some(next) = next
                    && self.ranges[above].kind() == mine
                {
                    let gone = self.ranges[above];
                    let key = self.key_of(&gone);
                    self.free[tag.lane.index()].remove(&mut self.ranges, next, key);
                    epoch = epoch.max(gone.epoch());
                    grains += gone.grains();
                    beyond = gone.next;
                    self.retire_slot(next);
                }
                let joined = &mut self.ranges[below];
                joined.resize(range.start, range.grains() + grains);
                joined.raise_epoch(epoch);
                joined.next = beyond;
                self.ranges[Slot::index_of(beyond)].prev = Some(prev);
                self.retire_slot(slot);
                let before = self.key_of(&range);
                self.reindex(prev, tag.lane, before);
            }
            (_, Some(next)) if self.ranges[above].kind() == mine => {
                let range = self.ranges[above];
                let joined = &mut self.ranges[above];
                joined.resize(freed.start, range.grains() + freed.grains());
                joined.raise_epoch(tag.epoch);
                joined.prev = freed.prev;
                self.ranges[below].next = Some(next);
                self.retire_slot(slot);
                let before = self.key_of(&range);
                self.reindex(next, tag.lane, before);
            }
            _ => {
                self.at(slot).set_state(RangeState::Free(tag));
                self.enter(slot);
            }
        }
    }

    /// A free range of the lane had another key before it grew or shrank.
    #[inline]
    fn reindex(&mut self, slot: Slot, lane: StreamIx, before: super::index::Key) {
        let (index, now) = (lane.index(), self.key_of(&self.ranges[slot.index()]));
        let listing = self.free[index].update(&mut self.ranges, slot, before, now);
        self.owners.note(index, listing, &mut self.free);
    }
}

impl Need {
    /// The size in grains, of what is no larger than a range can be.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 2^32, as the caller has seen")]
    pub(super) const fn grains(self) -> u32 {
        (self.size / GRAIN) as u32
    }
}
