//! What most requests and frees come to: one shard's lock, and no driver call.

use vmem_core::author::StreamExt;
use vmem_core::{Block, RawBlock, Request, ResourceId, Stream};

use super::{Core, known};
use crate::backing::Backing;
#[cfg(test)]
use crate::lanes::Found;
use crate::lanes::{CLEAN, Front, Reuse};
use crate::space::{Need, Shard, Slot, Tag, pointer};

impl<B: Backing> Core<B> {
    /// A block of what is free at hand. `None` says only that it takes more than that.
    #[inline]
    pub(super) fn take_at_hand(&self, request: &Request<'_>, need: Need) -> Option<Block> {
        let stream = request.stream;
        if self.config.auto_trim.is_some() {
            // What is needed at most is counted under the whole lock.
            return None;
        }
        let take = |front: &Front| {
            let number = front.shard();
            let (mut shard, found) = self.shards.enter(number);
            // Blocks freed on this stream by other threads rely on its pending waits, which were
            // asked for before the frees: seen under the lock, none is missed.
            let calm = front.shard() == number && !front.has_ended() && !front.is_wanted();
            let slot = match calm && !stream.has_pending_waits() {
                true => shard.hit(front.lane(), need, self.reuse),
                false => None,
            };
            let block = slot.map(|slot| shard.issue(slot, request, self.id));
            drop(shard);
            if front.note_lock(found) {
                self.part(stream);
            }
            block
        };
        self.with_front(stream, take)
    }

    /// Calls `use_it` with the front of the stream's lane. `None` if the pool does not know the stream,
    /// or `use_it` says so.
    #[inline]
    fn with_front<R>(&self, stream: &Stream, use_it: impl Fn(&Front) -> Option<R>) -> Option<R> {
        known::with(self.id, stream.id(), &use_it).unwrap_or_else(|| {
            self.recall(stream);
            known::with(self.id, stream.id(), &use_it).flatten()
        })
    }

    /// Frees a block that needs nothing but its shard. Returns whether the lane's batch is to be
    /// closed; `None` says only that it takes more than that.
    #[inline]
    pub(super) fn free_at_hand(&self, raw: &RawBlock, stream: &Stream) -> Option<bool> {
        if self.config.auto_trim.is_some() || self.backing.lends(raw.ptr().get()) {
            return None;
        }
        let number = Slot::from_raw(raw.slot())?.shard();
        let free = |front: &Front| {
            let (mut shard, found) = self.shards.enter(number);
            if front.has_ended() {
                return None;
            }
            let slot = shard.end_block(raw)?;
            let (tag, close) = front.note_free(shard[slot].size);
            shard.free(slot, tag);
            drop(shard);
            if front.note_lock(found) {
                self.part(stream);
            }
            Some(close)
        };
        self.with_front(stream, free)
    }

    /// A thread that used the stream found a lock taken.
    #[cfg(test)]
    pub(super) fn met(&self, stream: &Stream) {
        known::with(self.id, stream.id(), |front| {
            front.note_lock(Found::Taken).then(|| self.part(stream))
        });
    }

    /// Gives a stream whose threads wait for those of others a shard of its own, unless it has one.
    #[cold]
    fn part(&self, stream: &Stream) {
        if self.sharding() == crate::config::Sharding::OnContention {
            self.lock().part(&self.shards, stream.id());
        }
    }
}

impl Shard {
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
