//! Which block serves a request.

#![forbid(unsafe_code)]

use vmem_core::StreamId;

use super::heap::{BlockId, BlockState, Heap};
use super::rules::PoolKind;

impl Heap {
    /// `get_free_block`: the smallest free block of the stream with at least `size` bytes, the
    /// lowest of them.
    ///
    /// A block at the growing end of an expandable segment counts with the addresses it can grow
    /// into: the search goes on as long as the next larger block can grow to less.
    pub(super) fn best_fit(&self, kind: PoolKind, stream: StreamId, size: u64) -> Option<BlockId> {
        let from = (stream, size, 0, BlockId::FIRST);
        let free = self.pool(kind).free.range(from..);
        let mut candidates = free.take_while(|key| key.0 == stream).map(|key| key.3);
        let mut best = candidates.next()?;
        for next in candidates {
            if self.expandable_size(next) >= self.expandable_size(best) {
                break;
            }
            best = next;
        }
        Some(best)
    }

    fn expandable_size(&self, id: BlockId) -> u64 {
        let block = self.block(id);
        let next = block.next.map(|next| self.block(next));
        let room = next.filter(|next| next.state == BlockState::Unmapped);
        block.size + room.map_or(0, |room| room.size)
    }

    /// The first part of `find_expandable_block`: the block at the lowest address of the stream's
    /// segments from which `size` bytes of addresses are free or unmapped, where some are unmapped.
    pub(super) fn first_growing_fit(
        &self,
        kind: PoolKind,
        stream: StreamId,
        size: u64,
    ) -> Option<BlockId> {
        let unmapped = self.pool(kind).unmapped.range((stream, 0, BlockId::FIRST)..);
        let of_stream = unmapped.take_while(|key| key.0 == stream).map(|key| key.2);
        let mut starts = of_stream.map(|id| self.available(self.block(id).prev).unwrap_or(id));
        starts.find(|&start| self.has_room(start, size))
    }

    fn available(&self, id: Option<BlockId>) -> Option<BlockId> {
        id.filter(|&id| self.block(id).state != BlockState::InUse)
    }

    fn has_room(&self, start: BlockId, size: u64) -> bool {
        let mut room = 0;
        let mut at = Some(start);
        while room < size {
            let Some(id) = self.available(at) else { return false };
            room += self.block(id).size;
            at = self.block(id).next;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::heap::Block;
    use super::*;

    const KIND: PoolKind = PoolKind::Large;

    /// A segment of 100 bytes at 1000, free.
    fn heap() -> (Heap, StreamId, BlockId) {
        let (mut heap, stream) = (Heap::default(), StreamId::new());
        let id = heap.insert(Block::segment(1000, 100, stream, KIND, BlockState::Free));
        (heap, stream, id)
    }

    #[test]
    fn the_best_fit_is_the_smallest_then_the_lowest_of_the_stream() {
        let (mut heap, stream, first) = heap();
        let same = heap.insert(Block::segment(500, 100, stream, KIND, BlockState::Free));
        let other = StreamId::new();
        heap.insert(Block::segment(0, 60, other, KIND, BlockState::Free));
        assert_eq!(heap.best_fit(KIND, stream, 50), Some(same));
        heap.set_state(same, BlockState::InUse);
        assert_eq!(heap.best_fit(KIND, stream, 50), Some(first));
        assert_eq!(heap.best_fit(KIND, other, 61), None);
        assert_eq!(heap.best_fit(PoolKind::Small, stream, 50), None);
    }

    #[test]
    fn the_end_of_a_growing_segment_is_used_last() {
        let (mut heap, stream, end) = heap();
        let rest = heap.split(end, 50);
        heap.set_state(rest, BlockState::Unmapped);
        let hole = heap.insert(Block::segment(500, 60, stream, KIND, BlockState::Free));
        assert_eq!(heap.best_fit(KIND, stream, 50), Some(hole));
        assert_eq!(heap.first_growing_fit(KIND, stream, 100), Some(end));
        assert_eq!(heap.first_growing_fit(KIND, stream, 101), None);
        heap.set_state(end, BlockState::InUse);
        assert_eq!(heap.first_growing_fit(KIND, stream, 50), Some(rest));
    }
}
