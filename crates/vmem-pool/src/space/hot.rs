//! The two operations that must be fast: taking the best fit and freeing a block.
//!
//! They do what claiming, cutting and releasing would do, in one step and with the fewest changes
//! to the indexes: a free range that only grows or shrinks keeps its slot and its place.

use vmem_core::{BlockLayout, Label, RawBlock};

use super::{Need, Range, RangeState, Slot, Space, Tag};

impl Space {
    /// Claims the best fit of `lane`, cut to what is needed, and returns its slot. What is left of it
    /// stays free under its tag, or under `rest` if one is given.
    #[inline]
    pub(crate) fn take_best(&mut self, lane: u32, need: Need, rest: Option<Tag>) -> Option<Slot> {
        let index = lane as usize;
        self.free.get_mut(index)?.prepare(&self.ranges, need.size);
        let slot = self.best_fit(lane, need)?;
        let range = self[slot];
        if range.size == need.size {
            self.free[index].remove(&mut self.ranges, slot);
            self.at(slot).set_state(RangeState::Claimed);
            return Some(slot);
        }
        let tag = range.tag()?;
        let same_lane = rest.is_none_or(|rest| rest.lane == tag.lane);
        if !same_lane || !range.start.is_multiple_of(need.alignment) {
            return Some(self.take_apart(slot, need, rest.unwrap_or(tag)));
        }
        // The block is the lower end, in a slot of its own; the range above it goes on as it was.
        let block = Range::new(range.start, need.size, RangeState::Claimed);
        let block = self.new_range(block.between(range.prev, Some(slot)));
        if let Some(prev) = range.prev {
            self.at(prev).next = Some(block);
        }
        let at = range.start + need.size;
        let above = self.at(slot);
        above.start = at;
        above.size = range.size - need.size;
        above.prev = Some(block);
        above.set_state(RangeState::Free(rest.unwrap_or(tag)));
        let listing = self.free[index].update(&mut self.ranges, slot, range.extent());
        self.owners.note(index, listing, &mut self.free);
        Some(block)
    }

    #[cold]
    fn take_apart(&mut self, slot: Slot, need: Need, rest: Tag) -> Slot {
        self.claim(slot);
        let range = self[slot];
        let at = need.start_in(range.start, range.size).unwrap_or(range.start);
        self.cut(slot, at, need.size, RangeState::Free(rest));
        slot
    }

    /// Makes a claimed range a block and returns its generation.
    #[inline]
    pub(crate) fn begin_block(&mut self, slot: Slot, layout: BlockLayout, label: Label) -> u32 {
        debug_assert!(self[slot].state() == RangeState::Claimed);
        let tally = &mut self.tally;
        tally.begun += 1;
        tally.live += layout.size();
        tally.peak = tally.peak.max(tally.live);
        self.at(slot).begin_block(layout, label)
    }

    /// Ends the block that `raw` describes, whose range stays live until it is freed. `None` if it
    /// is not a block of this space.
    #[inline]
    pub(crate) fn end_block(&mut self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.ranges.get_mut(slot.index())?;
        let here = range.is_live() && range.start == raw.ptr().get();
        if !here || !range.end_block(raw.generation(), raw.layout()) {
            return None;
        }
        self.tally.ended += 1;
        self.tally.live -= raw.layout().size();
        Some(slot)
    }

    /// Frees a live range, coalescing with free neighbours of its lane under the latest tag.
    #[inline]
    pub(crate) fn free(&mut self, slot: Slot, tag: Tag) {
        let Range { prev, next, .. } = self[slot];
        debug_assert!(self[slot].is_live());
        let joins = |neighbour: &Slot| self[*neighbour].free_of(tag.lane).is_some();
        match (prev.filter(joins), next.filter(joins)) {
            (None, None) => {
                self.at(slot).set_state(RangeState::Free(tag));
                self.enter(slot);
            }
            (Some(prev), None) => {
                let before = self[prev].extent();
                self.absorb_next(prev);
                self.regrow(prev, tag, before);
            }
            (None, Some(next)) => {
                let before = self[next].extent();
                self.absorb_prev(next);
                self.regrow(next, tag, before);
            }
            (Some(prev), Some(next)) => {
                let before = self[prev].extent();
                let above = self[next].free_of(tag.lane).unwrap_or(0);
                self.free[tag.lane as usize].remove(&mut self.ranges, next);
                self.absorb_next(prev);
                self.absorb_next(prev);
                self.regrow(prev, Tag { epoch: tag.epoch.max(above), ..tag }, before);
            }
        }
    }

    /// A free range has grown in place.
    #[inline]
    fn regrow(&mut self, slot: Slot, tag: Tag, before: (u64, u64)) {
        self.at(slot).raise_epoch(tag.epoch);
        let index = tag.lane as usize;
        let listing = self.free[index].update(&mut self.ranges, slot, before);
        self.owners.note(index, listing, &mut self.free);
    }

    /// Merges the left neighbour, which is in no index, into `slot`.
    #[inline]
    fn absorb_prev(&mut self, slot: Slot) {
        let Some(gone) = self[slot].prev else { return };
        let Range { start, size, prev, .. } = self[gone];
        let range = self.at(slot);
        range.start = start;
        range.size += size;
        range.prev = prev;
        if let Some(prev) = prev {
            self.at(prev).next = Some(slot);
        }
        self.retire_slot(gone);
    }
}
