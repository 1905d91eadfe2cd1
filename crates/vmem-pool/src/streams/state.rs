//! What the pool's lock protects.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use vmem_core::author::StreamExt;
use vmem_core::{Block, DevicePtr, RawBlock, Request, ResourceId, Stream};

use super::{Access, Lanes, Reuse};
use crate::space::{CLEAN, Claim, Fit, Need, Slot, Space, StreamIx, Tag, pointer};
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
    /// Threads that know numbers of lanes, which must not be forgotten.
    pub(crate) pins: usize,
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
            pins: 0,
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
        let lanes = lanes.flat_map(|l| std::iter::once(l).chain(self.lanes.freed_away_on(l)));
        let free = lanes.flat_map(|lane| self.space.indexes.free_of(lane));
        let kept =
            free.filter(|&slot| self.space[slot].tag().is_some_and(|t| self.is_out_of_reach(t)));
        kept.map(|slot| self.space[slot].size()).sum()
    }

    /// Whether a lane that left nothing to cover this tag is why others cannot have memory with it.
    pub(crate) fn is_out_of_reach(&self, tag: Tag) -> bool {
        let never = matches!(self.lanes.access(tag, CLEAN.lane), Access::Never);
        never && self.lanes.uncovered.contains(&self.lanes.freed_on(tag.lane))
    }

    /// Bytes held from the supply, as they are now.
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
            self.lanes.note_freed(lane, need.size);
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
        let accompanied = self.lanes.accompanied;
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
        match self.lanes.reuse() {
            Reuse::StreamOrdered => {
                if let Some(own) = self.space.take_best(lane, need) {
                    return Some(own);
                }
                self.space.take_clean(need, Tag { lane, epoch: 0 })
            }
            Reuse::Observed => self.space.take_best(CLEAN.lane, need),
        }
    }

    /// The tag of what a request leaves of the memory it claimed.
    pub(crate) fn rest_of(&mut self, claim: &Claim, lane: StreamIx) -> Tag {
        // What the stream waited for is covered by the lane's next marker, not by earlier ones.
        let own = claim.free_tags().filter(|tag| self.lanes.freed_on(tag.lane) == lane);
        let own = own.map(|tag| Tag { lane, ..tag }).max_by_key(|tag| tag.epoch);
        match (self.lanes.reuse(), own) {
            (Reuse::Observed, _) => CLEAN,
            _ if claim.waited => self.lanes.open_tag(lane),
            (_, Some(tag)) => tag,
            (_, None) => Tag { lane, epoch: 0 },
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

    /// Ends the block that `raw` describes and that is at home on a lane. Its range stays live until it is freed.
    /// `None` if there is no such block.
    #[inline]
    pub(crate) fn end_block(&mut self, raw: &RawBlock, home: StreamIx) -> Option<Slot> {
        let slot = self.space.ranges.end_block(raw, home)?;
        self.counters.count_free(raw.layout().size());
        Some(slot)
    }

    /// The same of a block of which some memory is not the device's, or on its way.
    pub(crate) fn end_resting(&mut self, raw: &RawBlock) -> Option<Slot> {
        let slot = self.space.ranges.end_resting(raw)?;
        self.counters.count_free(raw.layout().size());
        Some(slot)
    }

    /// The raw parts of the live block that starts at `ptr`.
    pub(crate) fn find(&self, ptr: DevicePtr, owner: ResourceId) -> Option<RawBlock> {
        let slot = self.space.ranges.find(ptr.get())?;
        let (layout, label, generation) = self.space[slot].block()?;
        Some(RawBlock::new(ptr, layout, owner, slot.raw(), generation, label))
    }
}
