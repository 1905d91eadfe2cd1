//! Ranges that are in no block, by state, lane and size.

mod bin;
mod class;
mod key;
mod owners;
mod size_index;

pub(super) use class::class_of;
use key::Key;
use owners::Owners;
pub(crate) use size_index::SizeIndex;

use super::range::Kind;
use super::{GRAIN, Range, RangeState, Slot, StreamIx};

/// So many free ranges are in no index, so that a few streams at work do not list each other's.
const UNLISTED: usize = 4;

/// The indexes of ranges in no block: every free, unmapped or dormant one is in the one of its state, and
/// of its lane if it is free.
///
/// The free range of a lane that grew, shrank or came last is in none, because more often than not the next
/// operation changes it again. It enters its index when another one takes its place, or at
/// [`list`](Self::list), which whoever reads all of a lane's ranges calls first.
///
/// Of the ranges, which are handed to the functions that need them, nothing changes here but the position
/// that each has in its index.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// From where on the starts of ranges are compared.
    base: u64,
    /// Of some lanes the free range that changed last.
    unlisted: [Option<Slot>; UNLISTED],
    /// Free ranges by lane.
    pub(super) lanes: Vec<SizeIndex>,
    /// Which of those have ranges of a size.
    pub(super) owners: Owners,
    pub(super) unmapped: SizeIndex,
    /// Ranges mapped to memory that is in use elsewhere, or away.
    pub(crate) dormant: SizeIndex,
}

impl Indexes {
    /// The first segment begins at `start`. Starts are told apart over 1 TiB from 256 GiB below it on.
    pub(super) fn set_first(&mut self, start: u64) {
        self.base = start.wrapping_sub(256 << 30);
    }

    /// What a range is ordered by among others of its state: its size, then its start.
    #[inline]
    fn key_of(&self, range: &Range) -> Key {
        #[expect(clippy::cast_possible_truncation, reason = "as documented")]
        let start = (range.start.wrapping_sub(self.base) / GRAIN) as u32;
        Key::of(range.grains(), start)
    }

    /// Puts a range into the index of its state.
    #[inline]
    pub(super) fn enter(&mut self, ranges: &mut [Range], slot: Slot) {
        let range = ranges[slot.index()];
        let key = self.key_of(&range);
        match range.state() {
            RangeState::Free(_) => self.enter_lane(ranges, slot),
            RangeState::Unmapped => _ = self.unmapped.insert(ranges, slot, key),
            RangeState::Dormant(_) => _ = self.dormant.insert(ranges, slot, key),
            RangeState::Live | RangeState::Claimed | RangeState::Vacant => {}
        }
    }

    /// Takes a range out of the index of its state.
    #[inline]
    pub(super) fn leave(&mut self, ranges: &mut [Range], slot: Slot) {
        let range = ranges[slot.index()];
        let key = self.key_of(&range);
        match range.state() {
            RangeState::Free(tag) => self.unlist(ranges, slot, tag.lane),
            RangeState::Unmapped => self.unmapped.remove(ranges, slot, key),
            RangeState::Dormant(_) => self.dormant.remove(ranges, slot, key),
            RangeState::Live | RangeState::Claimed | RangeState::Vacant => {}
        }
    }

    fn enter_lane(&mut self, ranges: &mut [Range], slot: Slot) {
        let range = &ranges[slot.index()];
        let (lane, key) = (range.lane(), self.key_of(range));
        if self.lanes.len() <= lane.index() {
            self.lanes.resize_with(lane.index() + 1, SizeIndex::default);
        }
        let listing = self.lanes[lane.index()].insert(ranges, slot, key);
        self.owners.note(lane.index(), listing, &mut self.lanes);
    }

    fn leave_lane(&mut self, ranges: &mut [Range], slot: Slot) {
        let range = &ranges[slot.index()];
        let (lane, key) = (range.lane(), self.key_of(range));
        self.lanes[lane.index()].remove(ranges, slot, key);
    }

    /// A free range of the lane is about to grow or shrink.
    #[inline]
    pub(super) fn touch(&mut self, ranges: &mut [Range], slot: Slot, lane: StreamIx) {
        if self.unlisted[place(lane)] != Some(slot) {
            self.leave_lane(ranges, slot);
            self.hold(ranges, slot, lane);
        }
    }

    /// A free range of the lane, in no index, is the one that changed last.
    #[inline]
    pub(super) fn hold(&mut self, ranges: &mut [Range], slot: Slot, lane: StreamIx) {
        self.list_at(ranges, place(lane));
        self.unlisted[place(lane)] = Some(slot);
    }

    /// A free range of the lane is in no index from now on.
    #[inline]
    pub(super) fn unlist(&mut self, ranges: &mut [Range], slot: Slot, lane: StreamIx) {
        match self.unlisted[place(lane)] == Some(slot) {
            true => self.unlisted[place(lane)] = None,
            false => self.leave_lane(ranges, slot),
        }
    }

    /// Every free range is in its index from now on.
    #[inline]
    pub(super) fn list(&mut self, ranges: &mut [Range]) {
        (0..UNLISTED).for_each(|place| self.list_at(ranges, place));
    }

    #[inline]
    fn list_at(&mut self, ranges: &mut [Range], place: usize) {
        if let Some(slot) = self.unlisted[place].take() {
            self.enter_lane(ranges, slot);
        }
    }

    /// The smallest free range of a lane of at least so many grains, the lowest of equals, listed or not;
    /// after which it is cheap for this size.
    #[inline]
    pub(super) fn search(&mut self, ranges: &[Range], lane: StreamIx, grains: u32) -> Option<Slot> {
        let changed = self.unlisted[place(lane)].filter(|slot| {
            let range = &ranges[slot.index()];
            range.kind() == Kind::free(lane) && range.grains() >= grains
        });
        let upto = changed.map_or(Key::MOST, |slot| self.key_of(&ranges[slot.index()]));
        let better = self.lanes.get_mut(lane.index()).and_then(|index| index.search(grains, upto));
        better.or(changed)
    }

    fn is_listed(&self) -> bool {
        self.unlisted.iter().all(Option::is_none)
    }

    /// The free ranges of a lane, all of which are listed. `None` if it never had one.
    #[inline]
    pub(super) fn of(&self, lane: StreamIx) -> Option<&SizeIndex> {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.lanes.get(lane.index())
    }

    /// All free ranges of `lane`.
    pub(crate) fn free_of(&self, lane: StreamIx) -> impl Iterator<Item = Slot> {
        self.of(lane).into_iter().flat_map(SizeIndex::slots)
    }

    /// Whether `lane` has no free range.
    pub(crate) fn owns_nothing(&self, lane: StreamIx) -> bool {
        self.of(lane).is_none_or(SizeIndex::is_empty)
    }

    /// The size of the largest free range of `lane`.
    pub(crate) fn largest_of(&self, lane: StreamIx) -> u64 {
        let largest = self.of(lane).and_then(SizeIndex::largest);
        largest.map_or(0, |grains| u64::from(grains) * GRAIN)
    }

    /// How many lanes have free ranges: none, one, or two for all above.
    pub(crate) fn owners(&self) -> usize {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.owners.count(&self.lanes)
    }

    /// The free ranges of all lanes.
    pub(crate) fn all_free(&self) -> impl Iterator<Item = Slot> {
        debug_assert!(self.is_listed(), "for all free ranges");
        self.owners.slots(&self.lanes)
    }
}

/// Where the range of a lane is that is in no index: lanes of the same place make each other list theirs.
#[inline]
const fn place(lane: StreamIx) -> usize {
    lane.index() % UNLISTED
}
