//! What handles can do with a pool.

use vmem_core::{BoxedError, DevicePtr, HandleError, Moved, RawBlock, Residence, ResidencyError};

use super::{Core, Which};
use crate::space::{self, Range, Slot, pointer};
use crate::streams::State;
use crate::supply::{Backing, Place, VirtualArena};
use crate::{Capacity, Counters, Pending, RangeInfo, RangeState, Segment, Snapshot};

/// A pool without its type.
pub(crate) trait Control: Send + Sync {
    fn counters(&self) -> Counters;
    fn capacity(&self) -> Capacity;
    fn snapshot(&self) -> Snapshot;
    fn find(&self, ptr: DevicePtr) -> Option<RawBlock>;
    fn trim_to(&self, keep: u64) -> Result<u64, HandleError>;
    fn try_trim(&self, keep: u64) -> Result<u64, HandleError>;
    fn synchronize(&self) -> Result<(), HandleError>;
    fn check_invariants(&self);
    /// Without a word on what is pending, nothing is.
    fn move_memory(
        &self,
        which: Which<'_>,
        to: Place,
        pending: Option<Pending>,
    ) -> Result<Moved, ResidencyError>;
    fn residence(&self, block: &RawBlock) -> Option<Residence>;
    fn keep_on_host(&self, bytes: u64) -> Result<(), ResidencyError>;
    fn host_room(&self) -> u64;
}

impl<B: Backing> Control for Core<B> {
    fn counters(&self) -> Counters {
        self.streams.note_orphans();
        self.streams.lock().counters()
    }

    fn capacity(&self) -> Capacity {
        self.streams.note_orphans();
        let mut state = self.streams.lock();
        let free = state.free_in_reach();
        let movable = self.movable(&mut state);
        let returnable = self.supply.returnable(&state.memory(), &free);
        let ceiling = (self.ceiling < u64::MAX).then_some(self.ceiling);
        let growth_left = ceiling.map(|ceiling| ceiling.saturating_sub(state.counters.reserved));
        let contiguous = free.iter().map(|stretch| stretch.size).max().unwrap_or(0);
        let largest_now = contiguous.max(movable);
        Capacity {
            live: state.counters.live,
            reserved: state.counters.reserved,
            quarantined: state.quarantined(),
            ceiling,
            growth_left,
            largest_now,
            largest_after_trim: growth_left.map(|left| largest_now.max(left + returnable)),
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.streams.note_orphans();
        let state = self.streams.lock();
        let firsts = state.space.ranges.iter().filter(|(_, range)| range.prev.is_none());
        let segment = |(first, range): (Slot, &Range)| {
            let slots = std::iter::successors(Some(first), |&slot| state.space[slot].next);
            let ranges: Vec<RangeInfo> = slots.map(|slot| state.range_info(slot)).collect();
            let size = ranges.iter().map(|range| range.size).sum();
            Segment { start: pointer(range.start), size, ranges }
        };
        let mut segments: Vec<Segment> = firsts.map(segment).collect();
        segments.sort_by_key(|segment| segment.start);
        Snapshot { counters: state.counters(), segments, windows: state.aliases.info() }
    }

    fn find(&self, ptr: DevicePtr) -> Option<RawBlock> {
        let state = self.streams.lock();
        let slot = state.space.ranges.find(ptr.get())?;
        let (layout, label, generation) = state.space[slot].block()?;
        Some(RawBlock::new(ptr, layout, self.streams.id, slot.raw(), generation, label))
    }

    fn trim_to(&self, keep: u64) -> Result<u64, HandleError> {
        self.streams.wait_for_markers()?;
        Ok(self.give_back(keep)?)
    }

    fn try_trim(&self, keep: u64) -> Result<u64, HandleError> {
        self.streams.ask()?;
        Ok(self.give_back(keep)?)
    }

    fn synchronize(&self) -> Result<(), HandleError> {
        self.streams.note_orphans();
        Ok(self.streams.synchronize_device()?)
    }

    fn move_memory(
        &self,
        which: Which<'_>,
        to: Place,
        pending: Option<Pending>,
    ) -> Result<Moved, ResidencyError> {
        self.move_blocks(which, to, pending)
    }

    fn residence(&self, block: &RawBlock) -> Option<Residence> {
        if block.owner() != self.streams.id {
            return None;
        }
        let mut state = self.streams.lock();
        let slot = state.space.ranges.slot_of(block)?;
        let (memory, lanes) = state.parts();
        Some(memory.residence(slot, &|tag| lanes.is_complete(tag)))
    }

    fn keep_on_host(&self, bytes: u64) -> Result<(), ResidencyError> {
        self.fill_host_reserve(bytes)
    }

    fn host_room(&self) -> u64 {
        let arena = self.supply.arena().filter(|arena| arena.can_rest());
        let counters = self.streams.lock().counters;
        arena.map_or(0, |arena| {
            // Counted when a move ends, and held while it goes on.
            let held = arena.held_on_host().saturating_sub(counters.host_reserve);
            arena.host_limit().saturating_sub(held.max(counters.on_host))
        })
    }

    fn check_invariants(&self) {
        let state = self.streams.lock();
        state.space.check();
        let live = state.space.ranges.iter().filter(|(_, range)| range.is_live());
        let described = live.filter_map(|(_, range)| {
            let (layout, ..) = range.block()?;
            assert!(layout.size() <= range.size(), "a block has the size asked for");
            assert!(range.start.is_multiple_of(layout.alignment()), "and the alignment");
            Some(layout.size())
        });
        let (count, bytes) = described.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
        let counters = state.counters();
        assert_eq!(counters.live, bytes, "live is the sum of the requested sizes");
        assert_eq!(counters.allocations - counters.frees, count, "live blocks are counted");
        assert!(counters.reserved <= self.ceiling, "the ceiling holds");
    }
}

impl<B: Backing> Core<B> {
    /// The pool is being dropped.
    pub(crate) fn shut_down(&self) {
        let live = self.streams.lock().counters.live;
        let failures = self.streams.device.base().drop_failures();
        if live > 0 {
            failures
                .record(self.name(), &format_args!("blocks of {live} B in all are live and leak"));
        }
        // What cannot be waited for stays where it is: waiting for the whole device would break whatever
        // captures. After a device fault nothing can be returned: it leaks.
        // A pool that has nothing in use has nothing to wait for: what is ready on the host is not in use.
        let holds = self.supply.held() + self.streams.lock().counters.on_host > 0;
        let waited = if holds { self.streams.wait_for_markers() } else { Ok(()) };
        let waited = waited.map_err(BoxedError::from);
        let (error, rest) = match self.lock_growth() {
            Ok(mut growing) => {
                let error = growing.give_back(0).1;
                let emptied = growing.keep_on_host(0).map_err(BoxedError::from);
                let error = error.or(emptied.err());
                (error, Some(std::mem::take(&mut *growing)))
            }
            Err(error) => (Some(error), None),
        };
        let on_host = self.supply.arena().map_or(0, VirtualArena::held_on_host);
        let held = self.streams.lock().counters.reserved;
        match waited.err().or(error) {
            Some(error) => failures.record(self.name(), &error),
            None if live == 0 && held > 0 => {
                let reason = "no event covers the work on it, and nobody synchronised the device";
                failures.record(self.name(), &format_args!("{held} B leak: {reason}"));
            }
            None if live == 0 && on_host > 0 => {
                let reason = "the driver did not take it back, or no event covers the work on it";
                let what = format_args!("{on_host} B of the host's memory leak: {reason}");
                failures.record(self.name(), &what);
            }
            None => {}
        }
        drop(rest);
        let idle = std::mem::take(&mut self.streams.lock().lanes.idle);
        drop(idle);
    }
}

impl State {
    fn range_info(&self, slot: Slot) -> RangeInfo {
        let range = self.space[slot];
        let state = match range.state() {
            space::RangeState::Live => match range.block() {
                Some((layout, label, _)) => RangeState::Live { layout, label },
                None => RangeState::Busy,
            },
            space::RangeState::Free(tag) if self.lanes.is_complete(tag) => RangeState::Free,
            space::RangeState::Free(tag) if self.lanes.is_out_of_reach(tag) => {
                RangeState::Quarantined
            }
            space::RangeState::Free(_) => RangeState::Pending,
            space::RangeState::Unmapped => RangeState::Unmapped,
            space::RangeState::Dormant(_) => RangeState::Dormant,
            space::RangeState::Claimed | space::RangeState::Vacant => RangeState::Busy,
        };
        RangeInfo { start: pointer(range.start), size: range.size(), state }
    }
}
