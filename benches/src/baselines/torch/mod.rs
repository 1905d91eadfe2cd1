//! PyTorch's caching allocator.

mod allocator;
mod events;
mod fit;
mod heap;
mod rules;
mod segment;

use std::sync::Arc;

use vmem_core::{Device, DriverError, MemoryResource};

use super::model::Model;
use allocator::{CachingAllocator, virtual_memory};

/// How [PyTorch's allocator](torch_caching_allocator) takes memory from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segments {
    /// One driver allocation for each segment: PyTorch's default.
    Native,
    /// Segments of virtual memory that grow by pages: `expandable_segments:True`.
    Expandable,
}

/// A model of PyTorch's CUDA caching allocator.
///
/// The rules are those of `c10/cuda/CUDACachingAllocator.cpp` under the default configuration, and
/// so are the names in this list.
///
/// * Sizes round up to 512 bytes (`round_size`). Up to 1 MiB they are served by the small pool,
///   above by the large one (`get_pool`); a block belongs to the stream it was first allocated for.
/// * A request takes the smallest free block of its pool and stream that is large enough, the
///   lowest of equals (`get_free_block`), and leaves the rest as a free block if that is at least
///   512 bytes; in the large native pool only if it is above 1 MiB (`should_split`).
/// * If there is none, a new segment is allocated (`alloc_block`): 2 MiB for the small pool, 20 MiB
///   for sizes below 10 MiB, else the size rounded up to 2 MiB (`get_allocation_size`).
/// * If that fails, all that is cached is given back, for all streams, the large pool's first
///   (`release_cached_blocks`), and the segment is tried once more. Given back are the segments
///   that are one free block. (`release_available_cached_blocks`, in between, does nothing unless
///   `max_split_size` is set; `trigger_free_memory_callbacks` has no callbacks.)
/// * Freed blocks join with their free neighbours at once (`free_block`, `try_merge_blocks`).
/// * A block freed on another stream than its own returns to its own stream's pool once an event
///   recorded there has completed, which is asked at every allocation: what PyTorch makes of
///   `recordStream` before a free (`insert_events`, `process_events`).
///
/// With expandable segments (`Note [Expandable Segments]`) each pool of each stream has one range
/// of addresses, 1 1/8 times the device's memory, mapped in pages of 2 MiB for the small and 20 MiB
/// for the large pool:
///
/// * New memory is mapped at the lowest address from which free and unmapped blocks make enough
///   room; a free block before it is extended, and only what is missing is mapped
///   (`find_expandable_block`, `try_allocate_expandable_block`, `map_block`).
/// * A block at the growing end counts in `get_free_block` with all the addresses after it.
/// * Giving back takes the whole pages out of all free blocks (`unmap_block`), and a range without
///   memory is freed (`release_expandable_segment`).
///
/// What differs: before anything is given back the whole device is waited for, where PyTorch relies
/// on `cudaFree` or waits for one stream a segment, so that driver calls count one more then; and
/// alignments above 256, which PyTorch does not know, over-allocate. Captured graphs and their
/// private pools are not modelled.
///
/// Everything happens under one lock, as there. O(log blocks) per call, but where free blocks lie at
/// the growing ends of segments or addresses have been unmapped, which are walked.
///
/// # Errors
/// [`NOT_SUPPORTED`](vmem_core::DriverCode::NOT_SUPPORTED) for expandable segments on a device
/// without virtual memory.
///
/// # Examples
/// ```
/// use vmem_benches::{Segments, device, torch_caching_allocator};
/// use vmem_core::{BlockLayout, MemoryResource, ResourceExt, Stream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for (segments, reserved) in [(Segments::Native, 12 << 20), (Segments::Expandable, 20 << 20)] {
///     let device = device(1 << 30);
///     let stream = Stream::new(device.clone())?;
///     let memory = torch_caching_allocator(device.clone(), segments)?;
///     let block = memory.allocate_on(BlockLayout::new(11 << 20)?, &stream)?;
///     assert_eq!(device.used(), reserved);
///     // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
///     unsafe { memory.deallocate(block, &stream) }?;
/// }
/// # Ok(())
/// # }
/// ```
pub fn torch_caching_allocator(
    device: Arc<dyn Device>,
    segments: Segments,
) -> Result<impl MemoryResource + 'static, DriverError> {
    if segments == Segments::Expandable {
        virtual_memory(&*device)?;
    }
    let rules = CachingAllocator::new(device.clone(), segments);
    Ok(Model::new("torch_caching_allocator", device, rules))
}
