//! The two operations that must be fast: taking the best fit and freeing a block.
//!
//! They do what claiming, cutting and releasing would do, in one step and with the fewest changes to the
//! indexes: a free range that grows or shrinks keeps its slot, and is the one that changed last of its lane.

use super::range::Kind;
use super::{CLEAN, Fit, MOST, Need, RangeState, Slot, Space, Span, StreamIx, Tag};

impl Space {
    /// Claims the best fit of what `lane` itself freed, cut to what is needed, and returns its slot. What
    /// is left of it stays free under its tag.
    #[inline]
    pub(crate) fn take_best(&mut self, lane: StreamIx, need: Need) -> Option<Slot> {
        if need.size > MOST {
            return None;
        }
        let wanted = need.grains();
        let slots = self.ranges.slots.as_mut_slice();
        let slot = self.indexes.search(slots, lane, wanted)?;
        let range = slots[slot.index()];
        if range.start & (need.alignment - 1) != 0 || self.fit == Fit::Bins {
            return self.take_apart(lane, need, None);
        }
        if range.grains() == wanted {
            self.indexes.unlist(slots, slot, lane);
            slots[slot.index()].set_state(RangeState::Claimed);
            return Some(slot);
        }
        // The block is the lower end, in a slot of its own; the range above it goes on as it was.
        self.indexes.touch(slots, slot, lane);
        Some(self.ranges.split_front(slot, range, range.start + need.size))
    }

    /// Claims the best fit of what no work touches, cut to what is needed; what is left of it is free
    /// with the tag `rest`.
    #[inline(never)]
    pub(crate) fn take_clean(&mut self, need: Need, rest: Tag) -> Option<Slot> {
        if need.size > MOST {
            return None;
        }
        self.list();
        self.indexes.search(&self.ranges.slots, CLEAN.lane, need.grains())?;
        self.take_apart(CLEAN.lane, need, Some(rest))
    }

    #[cold]
    fn take_apart(&mut self, lane: StreamIx, need: Need, rest: Option<Tag>) -> Option<Slot> {
        self.list();
        let slot = self.best_fit(lane, need)?;
        let range = self[slot];
        let rest = rest.or(range.tag())?;
        self.claim(slot);
        let at = need.start_in(range.span()).unwrap_or(range.start);
        self.cut(slot, Span::new(at, need.size), RangeState::Free(rest));
        Some(slot)
    }

    /// Frees a live range, coalescing with free neighbours of its lane under the latest tag.
    #[inline(always)]
    pub(crate) fn free(&mut self, slot: Slot, tag: Tag) {
        let Self { ranges, indexes, .. } = self;
        let freed = &ranges[slot];
        debug_assert!(freed.is_live());
        let (start, prev, next) = (freed.start, freed.prev, freed.next);
        let mut grains = freed.grains();
        let mine = Kind::free(tag.lane);
        let (below, above) = (Slot::index_of(prev), Slot::index_of(next));
        match (prev, next) {
            (Some(prev), _) if ranges.slots[below].kind() == mine => {
                let (mut epoch, mut beyond) = (tag.epoch, next);
                if let Some(next) = next
                    && ranges.slots[above].kind() == mine
                {
                    indexes.unlist(&mut ranges.slots, next, tag.lane);
                    let gone = &ranges.slots[above];
                    epoch = epoch.max(gone.epoch());
                    grains += gone.grains();
                    beyond = gone.next;
                    ranges.retire(next);
                }
                indexes.touch(&mut ranges.slots, prev, tag.lane);
                let joined = &mut ranges.slots[below];
                joined.resize(joined.start, joined.grains() + grains);
                joined.raise_epoch(epoch);
                joined.next = beyond;
                ranges.slots[Slot::index_of(beyond)].prev = Some(prev);
                ranges.retire(slot);
            }
            (_, Some(next)) if ranges.slots[above].kind() == mine => {
                indexes.touch(&mut ranges.slots, next, tag.lane);
                let joined = &mut ranges.slots[above];
                joined.resize(start, joined.grains() + grains);
                joined.raise_epoch(tag.epoch);
                joined.prev = prev;
                ranges.slots[below].next = Some(next);
                ranges.retire(slot);
            }
            _ => {
                ranges.at(slot).set_state(RangeState::Free(tag));
                indexes.hold(&mut ranges.slots, slot, tag.lane);
            }
        }
    }
}
