//! From a size to a block and back (`DeviceCachingAllocator`).

use std::collections::BTreeMap;
use std::sync::Arc;

use vmem_core::{Device, DevicePtr, DriverCode, DriverError, Stream, StreamId, VirtualMemory};

use super::super::model::Rules;
use super::Segments;
use super::events::StreamUses;
use super::heap::{Block, BlockId, BlockState, Heap};
use super::rules::{PoolKind, allocation_size, round_size, should_split};
use super::segment::ExpandableSegment;

/// All that PyTorch keeps for a device under its one lock.
#[derive(Debug)]
pub(super) struct CachingAllocator {
    device: Arc<dyn Device>,
    mode: Segments,
    heap: Heap,
    uses: StreamUses,
    /// By their first address (`expandable_segments_`).
    expandable: BTreeMap<u64, ExpandableSegment>,
}

impl CachingAllocator {
    pub(super) fn new(device: Arc<dyn Device>, mode: Segments) -> Self {
        Self {
            uses: StreamUses::new(device.clone()),
            device,
            mode,
            heap: Heap::default(),
            expandable: BTreeMap::new(),
        }
    }

    /// `malloc`: a cached block, else a new one, else a new one after everything cached was given
    /// back.
    fn malloc(&mut self, bytes: u64, stream: StreamId) -> Result<BlockId, DriverError> {
        while let Some(id) = self.uses.next_complete()? {
            self.free_block(id);
        }
        let size = round_size(bytes);
        let kind = PoolKind::of(size);
        let found = match self.heap.best_fit(kind, stream, size) {
            Some(id) => id,
            None => match self.alloc_block(kind, stream, size) {
                Err(error) if error.is_out_of_memory() => {
                    self.release_cached_blocks()?;
                    self.alloc_block(kind, stream, size)?
                }
                result => result?,
            },
        };
        self.alloc_found_block(found, size);
        Ok(found)
    }

    /// `free_block`: the block returns to its own stream's pool.
    fn free_block(&mut self, id: BlockId) {
        self.heap.set_state(id, BlockState::Free);
        self.heap.merge_with_neighbours(id);
    }

    /// `alloc_found_block`: hands out the front of a free block.
    fn alloc_found_block(&mut self, id: BlockId, size: u64) {
        let block = self.heap.block(id);
        let expandable = self.mode == Segments::Expandable;
        if should_split(block.kind, expandable, block.size - size) {
            self.heap.split(id, size);
        }
        self.heap.set_state(id, BlockState::InUse);
    }

    /// `alloc_block`: a free block of new memory.
    fn alloc_block(
        &mut self,
        kind: PoolKind,
        stream: StreamId,
        size: u64,
    ) -> Result<BlockId, DriverError> {
        match self.mode {
            Segments::Native => {
                let bytes = allocation_size(size);
                let ptr = self.device.allocate(bytes)?.get();
                let block = Block::segment(ptr, bytes, stream, kind, BlockState::Free);
                Ok(self.heap.insert(block))
            }
            Segments::Expandable => self.allocate_expandable_block(kind, stream, size),
        }
    }

    /// `try_allocate_expandable_block`: a free block at the lowest address where memory can be
    /// added. What was mapped before memory ran out stays cached.
    fn allocate_expandable_block(
        &mut self,
        kind: PoolKind,
        stream: StreamId,
        size: u64,
    ) -> Result<BlockId, DriverError> {
        let mut id = self.find_expandable_block(kind, stream, size)?;
        if self.heap.block(id).state == BlockState::Unmapped {
            self.map_block(id, size)?;
        }
        loop {
            let block = self.heap.block(id);
            let missing = size.saturating_sub(block.size);
            if missing == 0 {
                return Ok(id);
            }
            // A segment has more addresses than the device has memory, so that memory ends first.
            let out_of_memory = DriverError::new("map_block", DriverCode::OUT_OF_MEMORY);
            id = block.next.ok_or(out_of_memory)?;
            self.map_block(id, missing)?;
        }
    }

    /// `find_expandable_block`: in a segment of this pool and stream if there is room, else in a
    /// new one. As in PyTorch, a new segment that then gets no memory keeps its addresses.
    fn find_expandable_block(
        &mut self,
        kind: PoolKind,
        stream: StreamId,
        size: u64,
    ) -> Result<BlockId, DriverError> {
        if let Some(id) = self.heap.first_growing_fit(kind, stream, size) {
            return Ok(id);
        }
        let total = self.device.facts().total_memory;
        let segment = ExpandableSegment::new(virtual_memory(&*self.device)?, total, kind)?;
        let (base, size) = (segment.base(), segment.size());
        self.expandable.insert(base, segment);
        Ok(self.heap.insert(Block::segment(base, size, stream, kind, BlockState::Unmapped)))
    }

    /// `map_block`: puts memory under the first `size` bytes of an unmapped block, or all of it,
    /// rounded up to pages, and joins it with what is free beside it.
    fn map_block(&mut self, id: BlockId, size: u64) -> Result<(), DriverError> {
        let Block { ptr, size: room, .. } = *self.heap.block(id);
        let segment = segment_of(&mut self.expandable, ptr);
        let mapped = segment.map(virtual_memory(&*self.device)?, ptr, size.min(room))?;
        if mapped < room {
            self.heap.split(id, mapped);
        }
        self.free_block(id);
        Ok(())
    }

    /// `release_cached_blocks`: waits for the device, and gives back what no block is in.
    fn release_cached_blocks(&mut self) -> Result<(), DriverError> {
        self.device.synchronize()?;
        while let Some(id) = self.uses.wait_for_next()? {
            self.free_block(id);
        }
        for kind in [PoolKind::Large, PoolKind::Small] {
            for id in self.heap.free_blocks(kind) {
                match self.mode {
                    Segments::Native => self.release_block(id)?,
                    Segments::Expandable => self.unmap_block(id)?,
                }
            }
        }
        Ok(())
    }

    /// `release_block`, of a free block that is a whole segment.
    fn release_block(&mut self, id: BlockId) -> Result<(), DriverError> {
        if self.heap.block(id).is_whole_segment() {
            let start = address(self.heap.block(id));
            // SAFETY: contract, devices/handles and devices/pending-work: a segment starts where
            // the driver put it; none of it is in use, and the device has been waited for.
            unsafe { self.device.free(start) }?;
            self.heap.remove_segment(id);
        }
        Ok(())
    }

    /// `unmap_block`: takes the whole pages from a free block, and gives its segment up if nothing
    /// else is in it (`release_expandable_segment`).
    fn unmap_block(&mut self, id: BlockId) -> Result<(), DriverError> {
        let Block { ptr, size, .. } = *self.heap.block(id);
        let memory = virtual_memory(&*self.device)?;
        let segment = segment_of(&mut self.expandable, ptr);
        // SAFETY: a free block is mapped, and the device has been waited for.
        let (pages, result) = unsafe { segment.unmap(memory, ptr, size) };
        if pages.is_empty() {
            return result;
        }
        let id = if ptr < pages.start { self.heap.split(id, pages.start - ptr) } else { id };
        if pages.end < ptr + size {
            self.heap.split(id, pages.end - pages.start);
        }
        self.heap.set_state(id, BlockState::Unmapped);
        self.heap.merge_with_neighbours(id);
        let block = self.heap.block(id);
        if block.is_whole_segment() {
            let segment = self.expandable.remove(&block.ptr);
            self.heap.remove_segment(id);
            segment.expect("its block named it").free(memory)?;
        }
        result
    }
}

impl Rules for CachingAllocator {
    type Held = BlockId;

    fn allocate(
        &mut self,
        bytes: u64,
        stream: &Stream,
    ) -> Result<(DevicePtr, BlockId), DriverError> {
        let id = self.malloc(bytes, stream.id())?;
        Ok((address(self.heap.block(id)), id))
    }

    /// `free`, after `recordStream` if the stream is another than the block's own.
    fn free(&mut self, &id: &BlockId, stream: &Stream) -> Result<(), DriverError> {
        if self.heap.block(id).stream == stream.id() {
            self.free_block(id);
            Ok(())
        } else {
            self.uses.insert(id, stream)
        }
    }
}

impl Drop for CachingAllocator {
    /// No block is in use any more, so that everything can be given back.
    fn drop(&mut self) {
        let mut released = self.release_cached_blocks();
        for (_, segment) in std::mem::take(&mut self.expandable) {
            let freed = virtual_memory(&*self.device).and_then(|memory| segment.free(memory));
            released = released.and(freed);
        }
        if let Err(error) = released {
            self.device.base().drop_failures().record("PyTorch's cached blocks", &error);
        }
    }
}

fn address(block: &Block) -> DevicePtr {
    DevicePtr::new(block.ptr).expect("no segment starts at zero")
}

/// The segment in which `ptr` lies.
fn segment_of(segments: &mut BTreeMap<u64, ExpandableSegment>, ptr: u64) -> &mut ExpandableSegment {
    let segment = segments.range_mut(..=ptr).next_back();
    segment.map(|(_, segment)| segment).expect("every block of this mode lies in a segment")
}

/// The device's virtual memory, which expandable segments need.
pub(super) fn virtual_memory(device: &dyn Device) -> Result<&dyn VirtualMemory, DriverError> {
    device.virtual_memory().ok_or_else(|| {
        let error = DriverError::new("torch_caching_allocator", DriverCode::NOT_SUPPORTED);
        error.with_detail("expandable segments need virtual memory, and the device has none")
    })
}
