//! What is measured.

use std::sync::{Arc, Mutex, PoisonError};

use offset_allocator::{Allocation, Allocator};
use vmem_benches::{RmmSize, device, rmm_pool};
use vmem_core::{
    AllocError, Block, BlockLayout, Device, Label, MemoryResource, Request, ResourceExt,
    ResourceId, Stream,
};
use vmem_pool::{Pool, PoolConfig, VirtualArena};
use vmem_runtime::{Recovery, RuntimeConfig, Size, Stack, Tier};

use super::nothing::Nothing;

/// The device's memory, in bytes.
pub(crate) const CAPACITY: u64 = 64 << 30;

/// The unit offset-allocator counts in, in bytes.
const UNIT: u64 = 256;

/// Something to allocate from.
pub(crate) enum Memory {
    Resource { resource: Arc<dyn MemoryResource>, streams: Vec<Stream> },
    Bare(Box<Allocator>),
    Locked(Arc<Mutex<Allocator>>),
}

/// What an allocation gives.
pub(crate) enum Held {
    /// The block and its stream.
    Block(Block, usize),
    Offset(Allocation),
}

impl Memory {
    /// Everything that is measured, fresh, on devices of its own, for use on `streams` streams.
    pub(crate) fn all(streams: usize) -> [(&'static str, Self); 6] {
        [
            ("vmem pool", Self::pool(streams)),
            ("vmem tier A", Self::tier(Tier::A, streams)),
            ("vmem tier B", Self::tier(Tier::B, streams)),
            ("offset-allocator", Self::offset_allocator()),
            ("offset-allocator behind a mutex", Self::locked_offset_allocator()),
            ("RMM pool (model)", Self::rmm(streams)),
        ]
    }

    /// A pool over virtual memory.
    pub(crate) fn pool(streams: usize) -> Self {
        Self::on(device(CAPACITY), streams, |device| arena_pool(device).into_dyn())
    }

    /// A tier as the runtime builds it.
    pub(crate) fn tier(tier: Tier, streams: usize) -> Self {
        Self::on(device(CAPACITY), streams, |device| stack(tier, device).resource)
    }

    /// offset-allocator, which knows no streams and no threads.
    pub(crate) fn offset_allocator() -> Self {
        Self::Bare(Box::new(one_range()))
    }

    /// offset-allocator as threads can share it.
    pub(crate) fn locked_offset_allocator() -> Self {
        Self::Locked(Arc::new(Mutex::new(one_range())))
    }

    /// The model of RMM's pool.
    pub(crate) fn rmm(streams: usize) -> Self {
        Self::on(device(CAPACITY), streams, |device| {
            rmm_pool(device, RmmSize::GROWING).expect("nothing is held at first").into_dyn()
        })
    }

    /// What costs nothing, so that the cost of all that surrounds it can be told.
    pub(crate) fn nothing(streams: usize) -> Self {
        Self::on(device(CAPACITY), streams, |device| {
            Nothing { device, id: ResourceId::new() }.into_dyn()
        })
    }

    /// What `build` makes on a device, for use on `streams` streams.
    pub(crate) fn on(
        device: Arc<dyn Device>,
        streams: usize,
        build: impl FnOnce(Arc<dyn Device>) -> Arc<dyn MemoryResource>,
    ) -> Self {
        let streams = (0..streams)
            .map(|_| Stream::new(device.clone()).expect("a fresh device gives streams"))
            .collect();
        Self::Resource { streams, resource: build(device) }
    }

    /// Allocates `bytes` bytes on a stream. What is measured here never lacks memory.
    pub(crate) fn allocate(&mut self, bytes: u64, stream: usize) -> Held {
        self.allocate_labelled(bytes, stream, Label::NONE)
    }

    /// The same under a label.
    pub(crate) fn allocate_labelled(&mut self, bytes: u64, stream: usize, label: Label) -> Held {
        let held = self.try_allocate(bytes, stream, label);
        held.expect("the device has room").expect("the range has room")
    }

    /// The same where it may be refused: by a resource with an error, by offset-allocator with
    /// nothing.
    pub(crate) fn try_allocate(
        &mut self,
        bytes: u64,
        stream: usize,
        label: Label,
    ) -> Result<Option<Held>, AllocError> {
        let units = || u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Ok(match self {
            Self::Resource { resource, streams } => {
                let request = Request::new(BlockLayout::new(bytes)?, &streams[stream]);
                let block = resource.allocate(&request.with_label(label))?;
                Some(Held::Block(block, stream))
            }
            Self::Bare(allocator) => allocator.allocate(units()).map(Held::Offset),
            Self::Locked(allocator) => {
                let mut allocator = allocator.lock().unwrap_or_else(PoisonError::into_inner);
                allocator.allocate(units()).map(Held::Offset)
            }
        })
    }

    /// Frees on a stream, which first waits for the block's own if that is another, as a program
    /// must.
    pub(crate) fn free(&mut self, held: Held, stream: usize) {
        match (self, held) {
            (Self::Resource { resource, streams }, Held::Block(block, allocated_on)) => {
                let own = &streams[stream];
                if allocated_on != stream {
                    let marker = streams[allocated_on].marker().expect("the stream is in order");
                    own.wait(&marker).expect("the stream is in order");
                }
                // SAFETY: contract, freeing: no work is ever queued on the blocks, the stream is a
                // valid one of their device, and it follows that of the allocation.
                unsafe { resource.deallocate(block, own) }.expect("the block is live");
            }
            (Self::Bare(allocator), Held::Offset(allocation)) => allocator.free(allocation),
            (Self::Locked(allocator), Held::Offset(allocation)) => {
                allocator.lock().unwrap_or_else(PoisonError::into_inner).free(allocation);
            }
            _ => unreachable!("memory frees what it allocated"),
        }
    }

    /// The same memory for another thread, on its own stream; `None` if threads cannot share it.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Resource { resource, streams } => {
                let stream = Stream::new(streams[0].device().clone());
                let streams = vec![stream.expect("the device gives streams")];
                Some(Self::Resource { resource: resource.clone(), streams })
            }
            Self::Bare(_) => None,
            Self::Locked(allocator) => Some(Self::Locked(allocator.clone())),
        }
    }
}

fn one_range() -> Allocator {
    let units = u32::try_from(CAPACITY / UNIT).expect("64 GiB are fewer than 2^32 units");
    Allocator::new(units)
}

/// A pool over virtual memory.
pub(crate) fn arena_pool(device: Arc<dyn Device>) -> Pool<VirtualArena> {
    let arena = VirtualArena::new(device).expect("the device has virtual memory");
    Pool::new(arena, PoolConfig::default()).expect("nothing is held at first")
}

/// A tier as the runtime builds it, without a reserve.
pub(crate) fn stack(tier: Tier, device: Arc<dyn Device>) -> Stack {
    let config = RuntimeConfig::default().with_memory_reserve(Size::Bytes(0));
    Stack::build(tier, device, &config, &Recovery::default())
        .expect("the device has what the tier needs")
}
