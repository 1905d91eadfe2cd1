//! What the pool's lock protects.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use vmem_core::author::StreamExt;
use vmem_core::{Block, RawBlock, Request, ResourceId, Stream};

use super::{Lanes, Reuse};
use crate::space::{CLEAN, Fit, Need, Slot, Space, StreamIx, Tag, pointer};
use crate::supply::{Aliases, Memory};
use crate::sync::MutexGuard;
use crate::{Batch, Counters};

/// All of a pool that its one lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) space: Space,
    pub(crate) aliases: Aliases,
    pub(crate) lanes: Lanes,
    /// All of them but what is in quarantine, which is counted when somebody asks.
    pub(crate) counters: Counters,
    /// Cloned by threads while they know numbers of lanes without the lock: lanes are not forgotten meanwhile, nor
    /// their numbers given to other streams.
    pub(crate) pins: Arc<()>,
    /// The most that was live since the pool last looked what it could return, in bytes.
    pub(crate) most_needed: u64,
    /// When that was.
    pub(crate) needed_since: Duration,
    /// As much was held when the supply refused more that streams were to have apart.
    pub(crate) refused_above: u64,
    /// What had been freed, finished and found complete when everything was last settled.
    pub(super) settled: Option<u64>,
}

/// A pool's state, locked. Handles that the lanes let go are dropped after it is unlocked, because
/// their end may call the driver.
#[derive(Debug)]
pub(crate) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl<'a> Locked<'a> {
    pub(crate) fn new(mut state: MutexGuard<'a, State>) -> Self {
        state.space.list();
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
        let garbage = std::mem::take(&mut state.lanes.garbage);
        drop(state);
        drop(garbage);
    }
}

impl State {
    pub(crate) fn new(fit: Fit, reuse: Reuse, batch: Batch, aliases: Aliases) -> Self {
        Self {
            space: Space::new(fit),
            aliases,
            lanes: Lanes::new(reuse, batch),
            counters: Counters::default(),
            pins: Arc::default(),
            most_needed: 0,
            needed_since: Duration::ZERO,
            refused_above: u64::MAX,
            settled: None,
        }
    }

    /// The memory, as supplies know it.
    pub(crate) fn memory(&mut self) -> Memory<'_> {
        self.parts().0
    }

    /// The memory, and the lanes that may use it.
    pub(crate) fn parts(&mut self) -> (Memory<'_>, &mut Lanes) {
        let Self { space, aliases, lanes, .. } = self;
        (Memory { space, aliases }, lanes)
    }

    /// The counters, what is in quarantine and what is away included. Takes as many steps as
    /// [`quarantined`](Self::quarantined), and one for each handle that is away.
    pub(crate) fn counters(&self) -> Counters {
        let away = self.aliases.live_away(&self.space);
        Counters { away, quarantined: self.quarantined(), ..self.counters }
    }

    /// Free bytes that nobody can have who does not synchronise the device. Takes as many steps as
    /// there are free ranges of lanes that have some.
    pub(crate) fn quarantined(&self) -> u64 {
        let lanes = self.lanes.uncovered.iter().copied();
        let lanes = lanes.flat_map(|l| std::iter::once(l).chain(self.lanes.away.freed_by(l)));
        let free = lanes.flat_map(|lane| self.space.indexes.free_of(lane));
        let kept = free
            .filter(|&slot| self.space[slot].tag().is_some_and(|t| self.lanes.is_out_of_reach(t)));
        kept.map(|slot| self.space[slot].size()).sum()
    }

    /// A block of what is at hand for a stream, and neither a driver call nor a look at others. `None`
    /// says only that it takes more than that.
    #[inline(always)]
    pub(crate) fn alloc_fast(
        &mut self,
        request: &Request<'_>,
        need: Need,
        owner: ResourceId,
    ) -> Option<Block> {
        // Blocks freed on this stream by other threads rely on its pending waits, which were asked
        // for before the frees: seen under the lock, none is missed.
        if request.stream.has_pending_waits() {
            return None;
        }
        let (lane, front) = self.lanes.open(owner, request.stream)?;
        if front.is_wanted() {
            return None;
        }
        front.note_taken(need.size);
        let Some(slot) = self.hit(lane, need) else {
            self.lanes.table.note_freed(lane, need.size);
            return None;
        };
        Some(self.issue(slot, request, lane, owner))
    }

    /// Frees a block of a stream's own memory. Returns whether the lane's batch is to be closed; `None`
    /// says only that it takes more than that.
    #[inline(always)]
    pub(crate) fn free_fast(&mut self, raw: &RawBlock, stream: &Stream) -> Option<bool> {
        if self.aliases.lend(raw.ptr().get()) {
            return None;
        }
        let accompanied = self.lanes.table.accompanied;
        let (lane, front) = self.lanes.open(raw.owner(), stream)?;
        let slot = self.space.ranges.end_block(raw, lane)?;
        let (tag, close) = front.note_free(self.space[slot].size(), accompanied);
        self.counters.count_free(raw.layout().size());
        self.space.free(slot, tag);
        Some(close)
    }

    /// Takes the best fit from the lane's own memory, or else from memory that no pending work
    /// touches. The result is claimed.
    #[inline(always)]
    pub(crate) fn hit(&mut self, lane: StreamIx, need: Need) -> Option<Slot> {
        match self.lanes.reuse {
            Reuse::StreamOrdered => {
                if let Some(own) = self.space.take_best(lane, need) {
                    return Some(own);
                }
                self.space.take_clean(need, Tag { lane, epoch: 0 })
            }
            Reuse::Observed => self.space.take_best(CLEAN.lane, need),
        }
    }

    /// Turns a claimed range into a block that is at home on a lane.
    #[inline(always)]
    pub(crate) fn issue(
        &mut self,
        slot: Slot,
        request: &Request<'_>,
        home: StreamIx,
        owner: ResourceId,
    ) -> Block {
        let Request { layout, label, .. } = *request;
        let counters = &mut self.counters;
        counters.allocations += 1;
        counters.bytes_allocated += layout.size();
        counters.live += layout.size();
        counters.peak_live = counters.peak_live.max(counters.live);
        let generation = self.space.ranges.begin_block(slot, layout, label, home);
        let ptr = pointer(self.space[slot].start);
        let raw = RawBlock::new(ptr, layout, owner, slot.raw(), generation, label);
        // SAFETY: contract, implementing/disjoint: the range was claimed until now, so no other
        // block has it, and its generation has not been issued before.
        unsafe { Block::from_raw(raw) }
    }
}
