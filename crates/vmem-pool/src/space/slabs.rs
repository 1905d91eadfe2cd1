//! Slabs: stretches of free memory set apart for small blocks, so that these lie together and do not
//! keep the memory between large ones from joining, moving and being returned.
//!
//! A slab has no record of its own. Its ranges are in the small zone, where they join only each other;
//! where nothing of it is live, its free ranges are one, without a neighbour in the small zone, and
//! that goes back to where large blocks are placed. Whoever finds no room elsewhere may use what is
//! free in slabs.

use super::range::Zone;
use super::{Fit, GRAIN, Need, Range, RangeState, Shard, Slot, Tag};

/// Blocks of up to so many bytes lie in slabs.
const SMALL: u64 = 4 << 10;

/// The smallest slab, in bytes.
const LEAST: u64 = 64 << 10;

/// The largest slab, in bytes: the granule of most devices.
const MOST: u64 = 2 << 20;

impl Shard {
    /// Whether a request belongs into a slab.
    #[inline]
    pub(super) fn is_small(&self, need: Need) -> bool {
        self.fit == Fit::Slabs && need.size <= SMALL && need.alignment <= SMALL
    }

    /// Takes the best fit in the lane's slabs, or makes another slab of its other memory.
    pub(super) fn take_small(&mut self, lane: u32, need: Need, rest: Option<Tag>) -> Option<Slot> {
        let slot = self.take_in(lane, Zone::Small, need, rest);
        slot.or_else(|| self.take_slab(lane, need, rest))
    }

    fn take_slab(&mut self, lane: u32, need: Need, rest: Option<Tag>) -> Option<Slot> {
        let whole = Need { size: self.slab_size(), alignment: GRAIN };
        let tag = self[self.best_in(lane, Zone::Large, whole)?].tag()?;
        let slot = self.take_in(lane, Zone::Large, whole, rest)?;
        self.open_slab(slot, need, rest.unwrap_or(tag));
        Some(slot)
    }

    /// A quarter of what small blocks use, so that the slabs of many are few and little is unused.
    fn slab_size(&self) -> u64 {
        (self.tally.small / 4).next_power_of_two().clamp(LEAST, MOST)
    }

    /// Makes a claimed range a slab and keeps what the request needs.
    fn open_slab(&mut self, slot: Slot, need: Need, rest: Tag) {
        self.at(slot).set_zone(Zone::Small);
        let Range { start, size, .. } = self[slot];
        let at = need.start_in(start, size).expect("a slab has room for an aligned small block");
        self.cut(slot, at, need.size, RangeState::Free(rest));
    }

    /// Cuts a claimed range, which is large enough, to what a request needs; the rest is free with the
    /// tag `rest`. A small block gets a slab if there is room for one.
    pub(crate) fn fit_claimed(&mut self, slot: Slot, need: Need, rest: Tag) {
        let Range { start, size, .. } = self[slot];
        let slab = self.slab_size();
        if self.is_small(need) && size >= slab {
            self.cut(slot, start, slab, RangeState::Free(rest));
            self.open_slab(slot, need, rest);
        } else {
            let at = need.start_in(start, size).expect("a claimed range fits its request");
            self.cut(slot, at, need.size, RangeState::Free(rest));
        }
    }

    /// Whether a range is all there is of a slab, and free.
    pub(super) fn is_idle_slab(&self, slot: Slot) -> bool {
        let range = self[slot];
        let small = |slot: Slot| self[slot].zone() == Zone::Small;
        let alone = !range.prev.is_some_and(small) && !range.next.is_some_and(small);
        small(slot) && range.tag().is_some() && alone
    }

    /// Gives an idle slab back to the lane's other memory.
    #[cold]
    pub(super) fn dissolve(&mut self, slot: Slot) {
        self.leave(slot);
        self.at(slot).set_zone(Zone::Large);
        let slot = self.coalesce(slot);
        self.enter(slot);
    }
}
