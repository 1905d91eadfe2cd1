//! Ranges become blocks.

use vmem_core::{Block, DevicePtr, RawBlock, Request, ResourceId};

use super::State;
use crate::lanes::{CLEAN, Reuse};
use crate::space::{Need, Slot, State as Range, Tag};

impl State {
    /// The raw parts of the live block that starts at `ptr`.
    pub(crate) fn find(&self, ptr: DevicePtr, owner: ResourceId) -> Option<RawBlock> {
        let slot = self.space.find(ptr.get())?;
        let (layout, label, generation) = self.space[slot].block()?;
        Some(RawBlock { ptr, layout, owner, slot: slot.raw(), generation, label })
    }

    /// Takes the best fit from the lane's own memory, or else from memory that no pending work
    /// touches. The result is claimed.
    #[inline]
    pub(crate) fn hit(&mut self, lane: u32, need: Need) -> Option<Slot> {
        match self.lanes.reuse() {
            Reuse::StreamOrdered => {
                let own = self.space.take_best(lane, need, None);
                let rest = Tag { lane, epoch: 0 };
                own.or_else(|| self.space.take_best(CLEAN.lane, need, Some(rest)))
            }
            Reuse::Observed => self.space.take_best(CLEAN.lane, need, None),
        }
    }

    /// Cuts a claimed range to what a request needs; the rest is free with the tag `rest`.
    pub(crate) fn fit(&mut self, slot: Slot, need: Need, rest: Tag) {
        let range = self.space[slot];
        let at = need.place(range.start, range.size).expect("a claimed range fits its request");
        self.space.cut(slot, at, need.size, Range::Free(rest));
    }

    /// Turns a claimed range into a block.
    #[inline]
    pub(crate) fn issue(&mut self, slot: Slot, request: &Request<'_>, owner: ResourceId) -> Block {
        let Request { layout, label, .. } = *request;
        let generation = self.space.begin_block(slot, layout, label);
        self.counters.allocations += 1;
        self.counters.live += layout.size();
        self.counters.peak_live = self.counters.peak_live.max(self.counters.live);
        self.note_need();
        let ptr = DevicePtr::new(self.space[slot].start).expect("a range does not start at zero");
        let raw = RawBlock { ptr, layout, owner, slot: slot.raw(), generation, label };
        // SAFETY: contract, implementing 1: the range was claimed until now, so no other block has it, and its
        // generation has not been issued before.
        unsafe { Block::from_raw(raw) }
    }
}
