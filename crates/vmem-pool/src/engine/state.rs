//! What the pool's lock protects.

use std::ops::{Deref, DerefMut};

use vmem_core::{Block, DevicePtr, RawBlock, Request, ResourceId};

use super::auto_trim::Needed;
use crate::lanes::{Access, CLEAN, Lanes, Reuse};
use crate::space::{Fit, Need, Slot, Space, Tag};
use crate::supply::Aliases;
use crate::sync::MutexGuard;
use crate::{Batch, Counters};

/// All of a pool.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) space: Space,
    pub(crate) lanes: Lanes,
    pub(crate) aliases: Aliases,
    /// Without those of blocks, which the space counts.
    pub(crate) counters: Counters,
    /// Threads that know numbers of lanes, which must not be forgotten.
    pub(super) pins: usize,
    pub(super) needed: Needed,
    /// What had been freed, finished and found complete when everything was last settled.
    pub(super) settled: Option<u64>,
}

/// A pool's state, locked. Handles that the lanes let go are dropped after it is unlocked, because
/// their end may call the driver.
#[derive(Debug)]
pub(crate) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl<'a> Locked<'a> {
    pub(super) fn new(state: MutexGuard<'a, State>) -> Self {
        Self(Some(state))
    }
}

const HELD: &str = "it is locked until it is dropped";

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.0.take() else { return };
        let garbage = state.lanes.take_garbage();
        drop(state);
        drop(garbage);
    }
}

impl State {
    pub(super) fn new(fit: Fit, reuse: Reuse, batch: Batch, aliases: Aliases) -> Self {
        Self {
            space: Space::new(fit),
            lanes: Lanes::new(reuse, batch),
            aliases,
            counters: Counters::default(),
            pins: 0,
            needed: Needed::default(),
            settled: None,
        }
    }

    /// Requested sizes of live blocks.
    pub(crate) fn live(&self) -> u64 {
        self.space.tally().live
    }

    /// Blocks begun so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.space.tally().begun
    }

    /// Blocks ended so far.
    pub(crate) fn frees(&self) -> u64 {
        self.space.tally().ended
    }

    /// The counters, those of blocks and of what is in quarantine included. Takes as many steps as
    /// [`quarantined`](Self::quarantined).
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            allocations: self.allocations(),
            frees: self.frees(),
            live: self.live(),
            peak_live: self.space.tally().peak,
            quarantined: self.quarantined(),
            ..self.counters
        }
    }

    /// Free bytes that nobody can have who does not synchronise the device. Takes as many steps as
    /// there are free ranges of lanes that have some.
    pub(crate) fn quarantined(&self) -> u64 {
        let free = self.lanes.uncovered().flat_map(|lane| self.space.free_of(lane));
        let kept =
            free.filter(|&slot| self.space[slot].tag().is_some_and(|t| self.is_out_of_reach(t)));
        kept.map(|slot| self.space[slot].size()).sum()
    }

    /// Whether a lane that left nothing to cover this tag is why others cannot have memory with it.
    pub(crate) fn is_out_of_reach(&self, tag: Tag) -> bool {
        let never = matches!(self.lanes.access(tag, CLEAN.lane), Access::Never);
        never && self.lanes.is_uncovered(tag.lane)
    }

    /// Bytes held from the backing, as they are now.
    pub(crate) fn set_reserved(&mut self, bytes: u64) {
        let counters = &mut self.counters;
        let before = counters.reserved;
        if bytes > before {
            counters.growths += 1;
            counters.bytes_grown += bytes - before;
        }
        counters.bytes_trimmed += before.saturating_sub(bytes);
        counters.reserved = bytes;
        counters.peak_reserved = counters.peak_reserved.max(bytes);
    }

    /// The raw parts of the live block that starts at `ptr`.
    pub(crate) fn find(&self, ptr: DevicePtr, owner: ResourceId) -> Option<RawBlock> {
        let slot = self.space.find(ptr.get())?;
        let (layout, label, generation) = self.space[slot].block()?;
        Some(RawBlock::new(ptr, layout, owner, slot.raw(), generation, label))
    }

    /// Takes the best fit from the lane's own memory, or else from memory that no pending work
    /// touches. The result is claimed.
    pub(crate) fn hit(&mut self, lane: u32, need: Need) -> Option<Slot> {
        let reuse = self.lanes.reuse();
        self.space.hit(lane, need, reuse)
    }

    /// Turns a claimed range into a block.
    pub(crate) fn issue(&mut self, slot: Slot, request: &Request<'_>, owner: ResourceId) -> Block {
        let block = self.space.issue(slot, request, owner);
        self.note_need(self.live());
        block
    }
}
