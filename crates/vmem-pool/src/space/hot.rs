//! The two operations that must be fast: taking the best fit and freeing a block.
//!
//! They do what claiming, cutting and releasing would do, in one step and with the fewest changes to the
//! indexes: a free range that grows or shrinks keeps its slot, and it is in no index until another one
//! does, because more often than not the next operation changes it again.

use vmem_core::{BlockLayout, Label, RawBlock};

use super::index::{FreeIndex, Key};
use super::range::Kind;
use super::{CLEAN, Fit, GRAIN, MOST, Need, Range, RangeState, Slot, Space, Span, StreamIx, Tag};

/// So many free ranges are in no index, so that a few streams at work do not list each other's.
pub(super) const UNLISTED: usize = 4;

impl Space {
    /// Claims the best fit of what `lane` itself freed, cut to what is needed, and returns its slot. What
    /// is left of it stays free under its tag.
    #[inline]
    pub(crate) fn take_best(&mut self, lane: StreamIx, need: Need) -> Option<Slot> {
        if need.size > MOST {
            return None;
        }
        let wanted = need.grains();
        let changed = self.unlisted[place(lane)].filter(|slot| {
            let range = &self.ranges[slot.index()];
            range.kind() == Kind::free(lane) && range.grains() >= wanted
        });
        let upto = changed.map_or(Key::MOST, |slot| self.key_of(&self.ranges[slot.index()]));
        let better = self.free.get_mut(lane.index()).and_then(|index| index.search(wanted, upto));
        let slot = better.or(changed)?;
        let range = &self.ranges[slot.index()];
        let (start, grains, prev) = (range.start, range.grains(), range.prev);
        if start & (need.alignment - 1) != 0 || self.fit == Fit::Bins {
            return self.take_apart(lane, need, None);
        }
        if grains == wanted {
            self.unlist(slot, lane);
            self.at(slot).set_state(RangeState::Claimed);
            return Some(slot);
        }
        // The block is the lower end, in a slot of its own; the range above it goes on as it was.
        self.touch(slot, lane);
        let block = self.new_range(Range::between(start, wanted, prev, Some(slot)));
        self.ranges[Slot::index_of(prev)].next = Some(block);
        let above = self.at(slot);
        above.resize(start + need.size, grains - wanted);
        above.prev = Some(block);
        Some(block)
    }

    /// Claims the best fit of what no work touches, cut to what is needed; what is left of it is free
    /// with the tag `rest`.
    #[inline(never)]
    pub(crate) fn take_clean(&mut self, need: Need, rest: Tag) -> Option<Slot> {
        if need.size > MOST {
            return None;
        }
        self.list();
        let clean = self.free.get_mut(CLEAN.lane.index())?;
        clean.search(need.grains(), Key::MOST)?;
        self.take_apart(CLEAN.lane, need, Some(rest))
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
    #[inline(always)]
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
    #[inline(always)]
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
        let freed = &self.ranges[slot.index()];
        debug_assert!(freed.is_live());
        let (start, prev, next) = (freed.start, freed.prev, freed.next);
        let mut grains = freed.grains();
        let mine = Kind::free(tag.lane);
        let (below, above) = (Slot::index_of(prev), Slot::index_of(next));
        match (prev, next) {
            (Some(prev), _) if self.ranges[below].kind() == mine => {
                let (mut epoch, mut beyond) = (tag.epoch, next);
                if let Some(next) = next
                    && self.ranges[above].kind() == mine
                {
                    self.unlist(next, tag.lane);
                    let gone = &self.ranges[above];
                    epoch = epoch.max(gone.epoch());
                    grains += gone.grains();
                    beyond = gone.next;
                    self.retire_slot(next);
                }
                self.touch(prev, tag.lane);
                let joined = &mut self.ranges[below];
                joined.resize(joined.start, joined.grains() + grains);
                joined.raise_epoch(epoch);
                joined.next = beyond;
                self.ranges[Slot::index_of(beyond)].prev = Some(prev);
                self.retire_slot(slot);
            }
            (_, Some(next)) if self.ranges[above].kind() == mine => {
                self.touch(next, tag.lane);
                let joined = &mut self.ranges[above];
                joined.resize(start, joined.grains() + grains);
                joined.raise_epoch(tag.epoch);
                joined.prev = prev;
                self.ranges[below].next = Some(next);
                self.retire_slot(slot);
            }
            _ => {
                self.at(slot).set_state(RangeState::Free(tag));
                self.list_at(place(tag.lane));
                self.unlisted[place(tag.lane)] = Some(slot);
            }
        }
    }

    /// A free range of the lane is about to grow or shrink.
    #[inline]
    fn touch(&mut self, slot: Slot, lane: StreamIx) {
        let place = place(lane);
        if self.unlisted[place] != Some(slot) {
            self.leave_lane(slot);
            self.list_at(place);
            self.unlisted[place] = Some(slot);
        }
    }

    /// A free range of the lane is in no index from now on.
    #[inline]
    pub(super) fn unlist(&mut self, slot: Slot, lane: StreamIx) {
        match self.unlisted[place(lane)] == Some(slot) {
            true => self.unlisted[place(lane)] = None,
            false => self.leave_lane(slot),
        }
    }

    fn leave_lane(&mut self, slot: Slot) {
        let range = &self.ranges[slot.index()];
        let (lane, key) = (range.lane(), self.key_of(range));
        self.free[lane.index()].remove(&mut self.ranges, slot, key);
    }

    /// Every free range is in its index from now on: whoever reads one calls this first. A pool does so
    /// whenever it is locked for more than a hit or a free.
    #[inline]
    pub(crate) fn list(&mut self) {
        (0..UNLISTED).for_each(|place| self.list_at(place));
    }

    #[inline]
    fn list_at(&mut self, place: usize) {
        if let Some(slot) = self.unlisted[place].take() {
            self.enter_lane(slot);
        }
    }

    /// Whether every free range is in its index.
    pub(super) fn is_listed(&self) -> bool {
        self.unlisted.iter().all(Option::is_none)
    }

    pub(super) fn enter_lane(&mut self, slot: Slot) {
        let range = &self.ranges[slot.index()];
        let (lane, key) = (range.lane(), self.key_of(range));
        if self.free.len() <= lane.index() {
            self.free.resize_with(lane.index() + 1, FreeIndex::default);
        }
        let listing = self.free[lane.index()].insert(&mut self.ranges, slot, key);
        self.owners.note(lane.index(), listing, &mut self.free);
    }
}

/// Where the range of a lane is that is in no index: lanes of the same place make each other list theirs.
#[inline]
const fn place(lane: StreamIx) -> usize {
    lane.index() % UNLISTED
}

impl Need {
    /// The size in grains, of what is no larger than a range can be.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 2^32, as the caller has seen")]
    pub(super) const fn grains(self) -> u32 {
        (self.size / GRAIN) as u32
    }
}
