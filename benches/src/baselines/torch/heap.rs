//! Blocks, their neighbours, and the pools they are found in. No driver.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use vmem_core::StreamId;

use super::rules::PoolKind;

/// Which block of a [`Heap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockId(u32);

impl BlockId {
    /// The least of all, to begin a range of keys with.
    pub(super) const FIRST: Self = Self(0);
}

/// What a block is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockState {
    /// Handed out, or freed on another stream and waiting for its event.
    InUse,
    /// Cached: listed in its pool's free blocks.
    Free,
    /// Addresses of an expandable segment without memory: listed in its pool's unmapped blocks.
    Unmapped,
}

/// A range of a segment (`Block`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) ptr: u64,
    pub(super) size: u64,
    pub(super) stream: StreamId,
    pub(super) kind: PoolKind,
    pub(super) state: BlockState,
    /// The neighbours in the same segment.
    pub(super) prev: Option<BlockId>,
    pub(super) next: Option<BlockId>,
}

impl Block {
    /// A segment of one block.
    pub(super) const fn segment(
        ptr: u64,
        size: u64,
        stream: StreamId,
        kind: PoolKind,
        state: BlockState,
    ) -> Self {
        Self { ptr, size, stream, kind, state, prev: None, next: None }
    }

    /// `!is_split()`: whether it is all of its segment.
    pub(super) const fn is_whole_segment(&self) -> bool {
        self.prev.is_none() && self.next.is_none()
    }
}

/// One of the two pools (`BlockPool`).
#[derive(Debug, Default)]
pub(super) struct BlockPool {
    /// `blocks`, in the order of `BlockComparatorSize`: stream, size, address.
    pub(super) free: BTreeSet<(StreamId, u64, u64, BlockId)>,
    /// `unmapped`, in the order of `BlockComparatorAddress`: stream, address.
    pub(super) unmapped: BTreeSet<(StreamId, u64, BlockId)>,
}

/// All blocks of all segments.
#[derive(Debug, Default)]
pub(super) struct Heap {
    blocks: Vec<Block>,
    vacant: Vec<BlockId>,
    small: BlockPool,
    large: BlockPool,
}

impl Heap {
    pub(super) fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    fn block_mut(&mut self, id: BlockId) -> &mut Block {
        &mut self.blocks[id.0 as usize]
    }

    /// Adds a block, and lists it unless it is in use.
    pub(super) fn insert(&mut self, block: Block) -> BlockId {
        let id = match self.vacant.pop() {
            Some(id) => {
                *self.block_mut(id) = block;
                id
            }
            None => {
                let id = u32::try_from(self.blocks.len()).expect("fewer than 2^32 blocks");
                self.blocks.push(block);
                BlockId(id)
            }
        };
        self.list(id);
        id
    }

    /// Forgets a block that is all of its segment.
    pub(super) fn remove_segment(&mut self, id: BlockId) {
        debug_assert!(self.block(id).is_whole_segment());
        self.unlist(id);
        self.vacant.push(id);
    }

    /// Changes what a block is good for, and where it is listed.
    pub(super) fn set_state(&mut self, id: BlockId, state: BlockState) {
        self.unlist(id);
        self.block_mut(id).state = state;
        self.list(id);
    }

    /// Cuts a block after `size` bytes; what remains becomes a block of the same state.
    pub(super) fn split(&mut self, id: BlockId, size: u64) -> BlockId {
        self.unlist(id);
        let front = *self.block(id);
        debug_assert!(0 < size && size < front.size);
        self.block_mut(id).size = size;
        let (ptr, size) = (front.ptr + size, front.size - size);
        let rest = self.insert(Block { ptr, size, prev: Some(id), ..front });
        self.block_mut(id).next = Some(rest);
        if let Some(next) = front.next {
            self.block_mut(next).prev = Some(rest);
        }
        self.list(id);
        rest
    }

    /// `try_merge_blocks`, for both neighbours: joins the block with those that are free as it is,
    /// or unmapped as it is. The block keeps its identity.
    pub(super) fn merge_with_neighbours(&mut self, id: BlockId) {
        let block = *self.block(id);
        debug_assert!(block.state != BlockState::InUse);
        let alike = |&id: &BlockId| self.block(id).state == block.state;
        let (before, after) = (block.prev.filter(alike), block.next.filter(alike));
        if before.is_none() && after.is_none() {
            return;
        }
        self.unlist(id);
        if let Some(before) = before {
            let Block { ptr, size, prev, .. } = self.absorb(before);
            let block = self.block_mut(id);
            (block.ptr, block.size, block.prev) = (ptr, block.size + size, prev);
            if let Some(prev) = prev {
                self.block_mut(prev).next = Some(id);
            }
        }
        if let Some(after) = after {
            let Block { size, next, .. } = self.absorb(after);
            let block = self.block_mut(id);
            (block.size, block.next) = (block.size + size, next);
            if let Some(next) = next {
                self.block_mut(next).prev = Some(id);
            }
        }
        self.list(id);
    }

    fn absorb(&mut self, id: BlockId) -> Block {
        self.unlist(id);
        self.vacant.push(id);
        *self.block(id)
    }

    /// The free blocks of a pool, of all streams, in the pool's order.
    pub(super) fn free_blocks(&self, kind: PoolKind) -> Vec<BlockId> {
        self.pool(kind).free.iter().map(|key| key.3).collect()
    }

    pub(super) const fn pool(&self, kind: PoolKind) -> &BlockPool {
        match kind {
            PoolKind::Small => &self.small,
            PoolKind::Large => &self.large,
        }
    }

    fn pool_mut(&mut self, kind: PoolKind) -> &mut BlockPool {
        match kind {
            PoolKind::Small => &mut self.small,
            PoolKind::Large => &mut self.large,
        }
    }

    fn list(&mut self, id: BlockId) {
        let Block { ptr, size, stream, kind, state, .. } = *self.block(id);
        let pool = self.pool_mut(kind);
        let new = match state {
            BlockState::InUse => true,
            BlockState::Free => pool.free.insert((stream, size, ptr, id)),
            BlockState::Unmapped => pool.unmapped.insert((stream, ptr, id)),
        };
        debug_assert!(new, "a block is listed once");
    }

    fn unlist(&mut self, id: BlockId) {
        let Block { ptr, size, stream, kind, state, .. } = *self.block(id);
        let pool = self.pool_mut(kind);
        let listed = match state {
            BlockState::InUse => true,
            BlockState::Free => pool.free.remove(&(stream, size, ptr, id)),
            BlockState::Unmapped => pool.unmapped.remove(&(stream, ptr, id)),
        };
        debug_assert!(listed, "a block that is not in use is listed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: PoolKind = PoolKind::Large;

    #[test]
    fn neighbours_join_only_with_their_like() {
        let mut heap = Heap::default();
        let segment = Block::segment(1000, 100, StreamId::new(), KIND, BlockState::Free);
        let first = heap.insert(segment);
        let second = heap.split(first, 40);
        let third = heap.split(second, 40);
        heap.set_state(second, BlockState::InUse);
        heap.set_state(third, BlockState::Unmapped);
        heap.merge_with_neighbours(first);
        assert_eq!(heap.block(first).size, 40);
        heap.set_state(second, BlockState::Free);
        heap.merge_with_neighbours(second);
        let joined = *heap.block(second);
        assert_eq!((joined.ptr, joined.size, joined.prev), (1000, 80, None));
        assert_eq!(joined.next, Some(third));
    }
}
