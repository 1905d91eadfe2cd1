//! The two operations that must be fast: taking the best fit and freeing a block.
//!
//! They do what claiming, cutting and releasing would do, in one step and with the fewest changes to the
//! indexes: a free range that grows or shrinks keeps its slot, and it is in no index until another one
//! does, because more often than not the next operation changes it again.

use vmem_core::{BlockLayout, Label, RawBlock};

use super::index::Key;
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
        let changed = self.unlisted.filter(|slot| {
            let range = &self.ranges[slot.index()];
            range.kind() == Kind::free(lane) && range.grains() >= wanted
        });
        let upto = changed.map_or(Key::MOST, |slot| self.key_of(&self.ranges[slot.index()]));
        let better = self.free.get_mut(lane.index()).and_then(|index| index.search(wanted, upto));
        let slot = better.or(changed)?;
        let range = self.ranges[slot.index()];
        let same_lane = rest.is_none_or(|rest| rest.lane == lane);
        if !same_lane || !range.start.is_multiple_of(need.alignment) || self.fit == Fit::Bins {
            return self.take_apart(lane, need, rest);
        }
        if range.grains() == wanted {
            self.unlist(slot, &range);
            self.at(slot).set_state(RangeState::Claimed);
            return Some(slot);
        }
        // The block is the lower end, in a slot of its own; the range above it goes on as it was.
        self.touch(slot, &range);
        let block = Range::between(range.start, wanted, range.prev, Some(slot));
        let block = self.new_range(block);
        self.ranges[Slot::index_of(range.prev)].next = Some(block);
        let above = self.at(slot);
        above.resize(range.start + need.size, range.grains() - wanted);
        above.prev = Some(block);
        if let Some(rest) = rest {
            above.set_epoch(rest.epoch);
        }
        Some(block)
    }

    #[cold]
    fn take_apart(&mut self, lane: StreamIx, need: Need, rest: Option<Tag>) -> Option<Slot> {
        self.list();
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
                    self.unlist(next, &gone);
                    epoch = epoch.max(gone.epoch());
                    grains += gone.grains();
                    beyond = gone.next;
                    self.retire_slot(next);
                }
                self.touch(prev, &range);
                let joined = &mut self.ranges[below];
                joined.resize(range.start, range.grains() + grains);
                joined.raise_epoch(epoch);
                joined.next = beyond;
                self.ranges[Slot::index_of(beyond)].prev = Some(prev);
                self.retire_slot(slot);
            }
            (_, Some(next)) if self.ranges[above].kind() == mine => {
                let range = self.ranges[above];
                self.touch(next, &range);
                let joined = &mut self.ranges[above];
                joined.resize(freed.start, range.grains() + freed.grains());
                joined.raise_epoch(tag.epoch);
                joined.prev = freed.prev;
                self.ranges[below].next = Some(next);
                self.retire_slot(slot);
            }
            _ => {
                self.at(slot).set_state(RangeState::Free(tag));
                self.list();
                self.unlisted = Some(slot);
            }
        }
    }

    /// A free range is about to grow or shrink.
    #[inline]
    fn touch(&mut self, slot: Slot, range: &Range) {
        if self.unlisted != Some(slot) {
            self.leave_lane(slot, range);
            self.list();
            self.unlisted = Some(slot);
        }
    }

    /// A free range is in no index from now on.
    #[inline]
    fn unlist(&mut self, slot: Slot, range: &Range) {
        match self.unlisted == Some(slot) {
            true => self.unlisted = None,
            false => self.leave_lane(slot, range),
        }
    }

    #[inline]
    fn leave_lane(&mut self, slot: Slot, range: &Range) {
        let (lane, key) = (range.lane(), self.key_of(range));
        self.free[lane.index()].remove(&mut self.ranges, slot, key);
    }

    /// Every free range is in its index from now on: whoever reads one calls this first. A pool does so
    /// whenever it is locked for more than a hit or a free.
    #[inline]
    pub(crate) fn list(&mut self) {
        if let Some(slot) = self.unlisted.take() {
            self.enter(slot);
        }
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
