//! What the pool's locks protect, seen as one.

use vmem_core::{Block, DevicePtr, RawBlock, Request, ResourceId, StreamId};

use super::Waited;
use super::auto_trim::Needed;
use super::shards::Shards;
use crate::lanes::{Access, CLEAN, Lanes, Reuse};
use crate::space::{Need, RangeState, SHARDS, Shard, Slot, Space, Tag, Tally};
use crate::sync::MutexGuard;
use crate::{Batch, Counters};

/// All of a pool, locked.
#[derive(Debug)]
pub(crate) struct State<'a> {
    pub(crate) space: Space<MutexGuard<'a, Shard>>,
    pub(crate) shared: MutexGuard<'a, Shared>,
}

/// What is not in a shard.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) lanes: Lanes,
    /// Without those of blocks, which the shards count.
    pub(crate) counters: Counters,
    /// Threads that hold claims, and with them tags of lanes that must not be forgotten.
    pub(crate) claims: usize,
    /// Claims given up or finished so far.
    pub(crate) claims_ended: u64,
    pub(super) needed: Needed,
    /// What had been freed, finished and found complete when everything was last settled.
    pub(super) settled: Option<u64>,
}

impl Shared {
    pub(super) fn new(reuse: Reuse, batch: Batch) -> Self {
        Self {
            lanes: Lanes::new(reuse, batch),
            counters: Counters::default(),
            claims: 0,
            claims_ended: 0,
            needed: Needed::default(),
            settled: None,
        }
    }
}

impl<'a> State<'a> {
    /// The shard in which a lane looks for free memory first.
    pub(crate) fn shard_of(&self, lane: u32) -> usize {
        self.shared.lanes.get(lane).map_or(0, |lane| lane.front().shard())
    }

    /// Ends the block that `raw` describes, whose range stays live until it is freed. `None` if it
    /// is not a block of this pool.
    pub(super) fn end_block(&mut self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        self.space.get(slot)?;
        self.space.shard_mut(slot.shard()).end_block(raw)
    }

    /// Requested sizes of live blocks.
    pub(crate) fn live(&self) -> u64 {
        self.tallies().map(|tally| tally.live).sum()
    }

    /// Blocks begun so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.tallies().map(|tally| tally.begun).sum()
    }

    /// Blocks ended so far.
    pub(crate) fn frees(&self) -> u64 {
        self.tallies().map(|tally| tally.ended).sum()
    }

    /// The counters, those of blocks and of what is in quarantine included. Takes as many steps as
    /// [`quarantined`](Self::quarantined).
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            allocations: self.allocations(),
            frees: self.frees(),
            live: self.live(),
            peak_live: self.peak_live(),
            quarantined: self.quarantined(),
            ..self.shared.counters
        }
    }

    fn tallies(&self) -> impl Iterator<Item = Tally> {
        self.space.shards().map(Shard::tally)
    }

    /// With one shard the peak is exact. With several it is the most that was ever seen from here,
    /// which is whenever a request is not served at hand, and never less than in one shard.
    fn peak_live(&self) -> u64 {
        let peaks = self.tallies().map(|tally| tally.peak);
        let seen = self.shared.counters.peak_live;
        peaks.chain([seen, self.live()]).max().unwrap_or(0)
    }

    /// Free bytes that nobody can have who does not synchronise the device. Takes as many steps as
    /// there are free ranges of lanes that have some.
    pub(crate) fn quarantined(&self) -> u64 {
        let free = self.shared.lanes.uncovered().flat_map(|lane| self.space.free_of(lane));
        let kept =
            free.filter(|&slot| self.space[slot].tag().is_some_and(|t| self.is_out_of_reach(t)));
        kept.map(|slot| self.space[slot].size).sum()
    }

    /// Whether a lane that left nothing to cover this tag is why others cannot have memory with it.
    pub(crate) fn is_out_of_reach(&self, tag: Tag) -> bool {
        let never = matches!(self.shared.lanes.access(tag, CLEAN.lane), Access::Never);
        never && self.shared.lanes.is_uncovered(tag.lane)
    }

    /// Notes what is live where the shards cannot see it.
    pub(super) fn note_live(&mut self) {
        let live = self.live();
        self.shared.counters.peak_live = self.shared.counters.peak_live.max(live);
        self.note_need(live);
    }

    /// Bytes held from the backing, as they are now.
    pub(crate) fn set_reserved(&mut self, bytes: u64) {
        let counters = &mut self.shared.counters;
        let before = counters.reserved;
        if bytes > before {
            counters.growths += 1;
            counters.bytes_grown += bytes - before;
        }
        counters.bytes_trimmed += before.saturating_sub(bytes);
        counters.reserved = bytes;
        counters.peak_reserved = counters.peak_reserved.max(bytes);
    }

    /// Gives a stream a shard that fewer others use, and moves what it freed there; nothing if it has
    /// the one that it is in for itself.
    pub(super) fn part(&mut self, shards: &'a Shards, stream: StreamId) {
        let lane = self.shared.lanes.find(stream);
        let open = |lane: &u32| self.shared.lanes.get(*lane).is_some_and(|lane| !lane.has_ended());
        // At a stream that has ended nobody meets any more.
        let Some(lane) = lane.filter(open) else { return };
        let shard = self.shard_of(lane);
        let users: [usize; SHARDS] = *self.shared.lanes.in_shard();
        let others = users[shard] - 1;
        let least = (1..shards.count()).min_by_key(|&number| users[number]);
        let unused = least.filter(|&number| users[number] == 0 && others > 0);
        let new = || if others > 0 { shards.add(&mut self.space) } else { None };
        let chosen = unused.or_else(new).or(least.filter(|&number| users[number] < others));
        match chosen {
            Some(shard) => {
                self.shared.lanes.set_shard(lane, shard);
                self.gather(lane, shard);
            }
            None => self.shared.lanes.get(lane).into_iter().for_each(|lane| lane.front().endure()),
        }
    }

    /// Moves what a lane freed to one shard.
    fn gather(&mut self, lane: u32, shard: usize) {
        let slots: Vec<Slot> = self.space.free_of(lane).collect();
        for slot in slots.into_iter().filter(|slot| slot.shard() != shard) {
            let state = self.space[slot].state();
            self.space.claim(slot);
            let slot = self.space.move_to(slot, shard);
            self.space.set_state(slot, state);
        }
    }
}

impl State<'_> {
    /// The raw parts of the live block that starts at `ptr`.
    pub(crate) fn find(&self, ptr: DevicePtr, owner: ResourceId) -> Option<RawBlock> {
        let slot = self.space.find(ptr.get())?;
        let (layout, label, generation) = self.space[slot].block()?;
        Some(RawBlock::new(ptr, layout, owner, slot.raw(), generation, label))
    }

    /// Takes the best fit from the lane's own memory, or else from memory that no pending work
    /// touches; from the lane's shard if that has one. The result is claimed.
    pub(crate) fn hit(&mut self, lane: u32, need: Need) -> Option<Slot> {
        let (shard, reuse) = (self.shard_of(lane), self.shared.lanes.reuse());
        let there = self.space.shard_mut(shard).hit(lane, need, reuse);
        if there.is_some() || self.space.shards().nth(1).is_none() {
            return there;
        }
        let own = Some(lane).filter(|_| reuse == Reuse::StreamOrdered);
        let mut lanes = own.into_iter().chain([CLEAN.lane]);
        let slot = lanes.find_map(|lane| self.space.best_fit(lane, need))?;
        let claim = self.claim_one(slot);
        Some(self.finish(claim, lane, need, Waited::No))
    }

    /// Cuts a claimed range to what a request needs; the rest is free with the tag `rest`.
    pub(crate) fn fit(&mut self, slot: Slot, need: Need, rest: Tag) {
        let (start, size) = self.space[slot].extent();
        let at = need.start_in(start, size).expect("a claimed range fits its request");
        self.space.cut(slot, at, need.size, RangeState::Free(rest));
    }

    /// Turns a claimed range into a block.
    pub(crate) fn issue(&mut self, slot: Slot, request: &Request<'_>, owner: ResourceId) -> Block {
        let block = self.space.shard_mut(slot.shard()).issue(slot, request, owner);
        self.note_live();
        block
    }
}
