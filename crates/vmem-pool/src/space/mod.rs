//! Placement over plain numbers: which ranges are live, free or unmapped, and which free range a
//! request gets. It knows nothing of devices, locks or time.
//!
//! Addresses and sizes are in bytes, multiples of [`GRAIN`]. Ranges form segments: inside a segment
//! every byte belongs to exactly one range, and neighbours know each other; ranges of different
//! segments are never neighbours.
//!
//! Ranges are kept in shards, each with a lock of its own: streams that several threads use at once
//! find their free memory in different ones.
//!
//! Every free range carries a [`Tag`]: the lane that freed it last, and when. Ranges of one lane
//! coalesce at once; ranges of different lanes stay apart until somebody who knows that it is safe
//! joins them.

#![forbid(unsafe_code)]

mod check;
mod directory;
mod edges;
mod granules;
mod hot;
mod index;
mod range;
mod runs;
mod shard;
pub(crate) mod visits;

use std::ops::DerefMut;

use vmem_core::DevicePtr;

pub(crate) use granules::whole_granules;
use index::class_of;
pub(crate) use range::{Range, RangeState, SHARDS, Slot, Tag};
pub(crate) use runs::Stretch;
pub(crate) use shard::{Shard, Tally};

/// All sizes and addresses are multiples of this many bytes.
pub(crate) const GRAIN: u64 = 256;

/// The ranges of all segments, in shards that have a lock each.
///
/// Whoever holds all the locks sees one space; whoever holds the lock of one shard may do there what
/// [`Shard`] can do alone. `S` is how a shard is held.
#[derive(Debug)]
pub(crate) struct Space<S> {
    first: S,
    others: Vec<S>,
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
    pub(crate) fn start_in(self, start: u64, size: u64) -> Option<u64> {
        let at = start.checked_next_multiple_of(self.alignment)?;
        (at.checked_add(self.size)? <= start + size).then_some(at)
    }
}

impl<S: DerefMut<Target = Shard>> Space<S> {
    /// The shards in the order of their numbers.
    pub(crate) fn new(first: S, others: Vec<S>) -> Self {
        Self { first, others }
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        std::iter::once(&self.first).chain(&self.others).map(|shard| &**shard)
    }

    /// Adds the next shard, which is empty.
    pub(crate) fn push(&mut self, mut shard: S) {
        debug_assert_eq!(shard.number, self.others.len() + 1);
        shard.directory = self.first.directory.same_segments();
        self.others.push(shard);
    }

    fn shards_mut(&mut self) -> impl Iterator<Item = &mut Shard> {
        std::iter::once(&mut self.first).chain(&mut self.others).map(|shard| &mut **shard)
    }

    /// The shard of this number, which there is.
    #[inline]
    pub(crate) fn shard(&self, number: usize) -> &Shard {
        if number == 0 { &self.first } else { &self.others[number - 1] }
    }

    #[inline]
    pub(crate) fn shard_mut(&mut self, number: usize) -> &mut Shard {
        if number == 0 { &mut self.first } else { &mut self.others[number - 1] }
    }

    fn fit(&self) -> Fit {
        self.first.fit
    }

    /// Adds a segment as one range in `state`, in the first shard.
    pub(crate) fn add_segment(&mut self, start: u64, size: u64, state: RangeState) -> Slot {
        self.shards_mut().for_each(|shard| shard.directory.add_segment(start, size));
        let slot = self.first.new_range(Range::new(start, size, state));
        self.first.enter(slot);
        slot
    }

    /// Removes a segment that is one range, in whatever state but live.
    pub(crate) fn remove_segment(&mut self, slot: Slot) {
        let range = self[slot];
        debug_assert!(range.prev.is_none() && range.next.is_none() && !range.is_live());
        let shard = self.shard_mut(slot.shard());
        shard.leave(slot);
        shard.retire_slot(slot);
        self.shards_mut().for_each(|shard| shard.directory.remove_segment(range.start));
    }

    /// The smallest free range of `lane` that fits, the lowest one of equals. Steps as for
    /// [`Shard::best_fit`].
    pub(crate) fn best_fit(&self, lane: u32, need: Need) -> Option<Slot> {
        let best = self.shards().filter_map(|shard| shard.best_fit(lane, need));
        best.min_by_key(|&slot| (self[slot].size, self[slot].start))
    }

    /// All free ranges of `lane` that fit, in a list for each shard, smallest and lowest first.
    pub(crate) fn fits(
        &self,
        lane: u32,
        need: Need,
    ) -> impl Iterator<Item = impl Iterator<Item = Slot>> {
        self.shards().map(move |shard| shard.fits(lane, need))
    }

    /// All free ranges of `lane`.
    pub(crate) fn free_of(&self, lane: u32) -> impl Iterator<Item = Slot> {
        self.shards().flat_map(move |shard| shard.free_of(lane))
    }

    /// Whether `lane` has no free range.
    pub(crate) fn owns_nothing(&self, lane: u32) -> bool {
        self.shards().all(|shard| shard.owns_nothing(lane))
    }

    /// The free ranges of all lanes.
    pub(crate) fn all_free(&self) -> impl Iterator<Item = Slot> {
        self.shards().flat_map(Shard::all_free)
    }

    /// Lanes that have a free range which fits: `limit` of those whose best fit is smallest, or all if
    /// there are no more. In the order of their numbers. A lane with free ranges in several shards counts
    /// each time: the second part says whether the limit was reached, so that there may be more.
    pub(crate) fn lanes_that_fit(&mut self, need: Need, limit: usize) -> (Vec<u32>, bool) {
        let mut lanes = Vec::new();
        let next = |space: &Self, from| space.shards().filter_map(|s| s.next_class(from)).min();
        let mut class = next(self, class_of(need.size));
        while let Some(now) = class.filter(|_| lanes.len() < limit) {
            self.shards_mut().for_each(|s| s.add_lanes_that_fit(need, now, limit, &mut lanes));
            let exact = self.fit() == Fit::Bins;
            class = if exact { None } else { next(self, now + 1) };
        }
        let cut_short = lanes.len() >= limit;
        lanes.sort_unstable();
        lanes.dedup();
        (lanes, cut_short)
    }

    /// All unmapped ranges.
    fn unmapped(&self) -> impl Iterator<Item = Slot> {
        self.shards().flat_map(|shard| shard.unmapped.slots())
    }

    /// All ranges mapped to memory that is in use elsewhere.
    pub(crate) fn dormant(&self) -> impl Iterator<Item = Slot> {
        self.shards().flat_map(|shard| shard.dormant.slots())
    }

    /// The size of the largest free range of `lane`.
    pub(crate) fn largest_of(&self, lane: u32) -> u64 {
        self.shards().map(|shard| shard.largest_of(lane)).max().unwrap_or(0)
    }

    /// As [`Shard::claim`].
    pub(crate) fn claim(&mut self, slot: Slot) {
        self.shard_mut(slot.shard()).claim(slot);
    }

    /// As [`Shard::cut`].
    pub(crate) fn cut(&mut self, slot: Slot, at: u64, size: u64, state: RangeState) {
        self.shard_mut(slot.shard()).cut(slot, at, size, state);
    }

    /// As [`Shard::split`].
    pub(crate) fn split(&mut self, slot: Slot, at: u64) -> Slot {
        self.shard_mut(slot.shard()).split(slot, at)
    }

    /// As [`Shard::set_state`].
    pub(crate) fn set_state(&mut self, slot: Slot, state: RangeState) -> Slot {
        self.shard_mut(slot.shard()).set_state(slot, state)
    }

    /// Joins claimed neighbours into one, in this shard, and returns its slot.
    pub(crate) fn join_claimed(&mut self, first: Slot, last: Slot, shard: usize) -> Slot {
        let end = self[last].end();
        let first = self.move_to(first, shard);
        while self[first].end() < end
            && let Some(next) = self.next(first)
        {
            debug_assert!(self[next].state() == RangeState::Claimed);
            self.move_to(next, shard);
            self.shard_mut(shard).absorb_next(first);
        }
        first
    }

    /// The live range that starts at `start`. Steps as for [`covering`](Self::covering).
    pub(crate) fn find(&self, start: u64) -> Option<Slot> {
        let slot = self.covering(start)?;
        (self[slot].start == start && self[slot].is_live()).then_some(slot)
    }

    /// The range that `address` lies in. A short walk where ranges near it were made lately; at
    /// worst `O(n)` steps.
    pub(crate) fn covering(&self, address: u64) -> Option<Slot> {
        let near = self.shards().filter_map(|shard| shard.near(address));
        let nearest = near.min_by_key(|&slot| self[slot].start.abs_diff(address));
        let any = || self.shards().find_map(|shard| shard.any_beside(address));
        let mut slot = nearest.or_else(any)?;
        while self[slot].start > address {
            slot = self.prev(slot)?;
        }
        while self[slot].end() <= address {
            slot = self.next(slot)?;
        }
        Some(slot)
    }

    /// The range behind a slot, if the slot is in use.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&Range> {
        let number = slot.shard();
        let shard = if number == 0 { &self.first } else { self.others.get(number - 1)? };
        shard.get(slot)
    }

    /// All ranges in use, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Range)> {
        self.shards().flat_map(Shard::iter)
    }
}

impl<S: DerefMut<Target = Shard>> std::ops::Index<Slot> for Space<S> {
    type Output = Range;

    #[inline]
    fn index(&self, slot: Slot) -> &Range {
        &self.shard(slot.shard())[slot]
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
