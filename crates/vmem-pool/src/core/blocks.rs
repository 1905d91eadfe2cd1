//! Ranges become blocks.

use vmem_core::{Block, DevicePtr, RawBlock, Request, ResourceId};

use super::State;
use crate::lanes::{CLEAN, Reuse};
use crate::space::{Need, Slot, Tag};

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
        let (home, reuse) = (self.home(lane), self.shared.lanes.reuse());
        let at_home = self.space.shard_mut(home).hit(lane, need, reuse);
        if at_home.is_some() || self.space.shards().nth(1).is_none() {
            return at_home;
        }
        let own = Some(lane).filter(|_| reuse == Reuse::StreamOrdered);
        let mut lanes = own.into_iter().chain([CLEAN.lane]);
        let slot = lanes.find_map(|lane| self.space.best_fit(lane, need))?;
        let claim = self.claim_one(slot);
        Some(self.finish(claim, lane, need, false))
    }

    /// Cuts a claimed range to what a request needs; the rest is free with the tag `rest`.
    pub(crate) fn fit(&mut self, slot: Slot, need: Need, rest: Tag) {
        self.space.shard_mut(slot.shard()).fit_claimed(slot, need, rest);
    }

    /// Turns a claimed range into a block.
    pub(crate) fn issue(&mut self, slot: Slot, request: &Request<'_>, owner: ResourceId) -> Block {
        let block = self.space.shard_mut(slot.shard()).issue(slot, request, owner);
        self.note_live();
        block
    }
}
