//! What most requests and frees come to: the lock once, and no driver call.

use vmem_core::author::StreamExt;
use vmem_core::{Block, RawBlock, Request, ResourceId, Stream};

use super::Core;
use crate::lanes::{CLEAN, Reuse};
use crate::space::{Need, Slot, Space, Tag, pointer};
use crate::supply::Backing;

impl<B: Backing> Core<B> {
    /// A block of what is free at hand. `None` says only that it takes more than that.
    #[inline]
    pub(super) fn take_at_hand(&self, request: &Request<'_>, need: Need) -> Option<Block> {
        let mut state = self.lock_at_hand();
        let lane = state.lanes.known(self.id, request.stream)?;
        // Blocks freed on this stream by other threads rely on its pending waits, which were asked
        // for before the frees: seen under the lock, none is missed.
        if state.lanes.is_busy(lane) || request.stream.has_pending_waits() {
            return None;
        }
        let slot = state.space.hit(lane, need, self.reuse)?;
        Some(state.space.issue(slot, request, self.id))
    }

    /// Frees a block that needs nothing but the lock. Returns whether the lane's batch is to be
    /// closed; `None` says only that it takes more than that.
    #[inline]
    pub(super) fn free_at_hand(&self, raw: &RawBlock, stream: &Stream) -> Option<bool> {
        let mut state = self.lock_at_hand();
        if state.aliases.lend(raw.ptr().get()) {
            return None;
        }
        let lane = state.lanes.known(self.id, stream).filter(|&lane| state.lanes.is_open(lane))?;
        let slot = state.space.end_block(raw)?;
        let size = state.space[slot].size();
        let (tag, close) = state.lanes.tag_free(lane, size);
        state.space.free(slot, tag);
        Some(close)
    }
}

impl Space {
    /// Takes the best fit from the lane's own memory, or else from memory that no pending work
    /// touches. The result is claimed.
    #[inline]
    pub(super) fn hit(&mut self, lane: u32, need: Need, reuse: Reuse) -> Option<Slot> {
        match reuse {
            Reuse::StreamOrdered => {
                let own = self.take_best(lane, need, None);
                let rest = Tag { lane, epoch: 0 };
                own.or_else(|| self.take_best(CLEAN.lane, need, Some(rest)))
            }
            Reuse::Observed => self.take_best(CLEAN.lane, need, None),
        }
    }

    /// Turns a claimed range into a block.
    #[inline]
    pub(super) fn issue(&mut self, slot: Slot, request: &Request<'_>, owner: ResourceId) -> Block {
        let Request { layout, label, .. } = *request;
        let generation = self.begin_block(slot, layout, label);
        let ptr = pointer(self[slot].start);
        let raw = RawBlock::new(ptr, layout, owner, slot.raw(), generation, label);
        // SAFETY: contract, implementing/disjoint: the range was claimed until now, so no other
        // block has it, and its generation has not been issued before.
        unsafe { Block::from_raw(raw) }
    }
}
