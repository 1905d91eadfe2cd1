//! Typed memory from pools: of the device's memory, and of pinned memory.

use std::num::NonZeroUsize;
use std::sync::Arc;

use vmem_core::{
    DeviceVec, MemoryResource, PinnedBuffer, PinnedMemory, ResourceExt, Stream, StreamPool,
    Transfer,
};
use vmem_pool::{Chunks, Pool, PoolConfig};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{arena, device_with_seed};

fn pinned_pool(device: &Arc<SimDevice>) -> Arc<dyn MemoryResource> {
    let pinned = PinnedMemory::new(device.clone()).unwrap();
    let pool = Pool::new(Chunks::new(pinned), PoolConfig::default()).unwrap();
    pool.into_dyn()
}

fn numbers(seed: u32, count: u32) -> Vec<u32> {
    (0..count).map(|n| (n ^ seed).wrapping_mul(2_654_435_761)).collect()
}

#[test]
fn the_host_sees_pinned_memory_that_comes_from_a_pool() {
    let device = device_with_seed(0);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = pinned_pool(&device);
    let mut first = PinnedBuffer::from_slice(pool.clone(), &numbers(1, 1000), &stream).unwrap();
    let second = PinnedBuffer::<u64>::zeroed(pool.clone(), 1000, &stream).unwrap();
    first[3] = 7;
    assert_eq!((first[2], first[3], first[4]), (numbers(1, 3)[2], 7, numbers(1, 5)[4]));
    assert_eq!(*second, [0; 1000]);
    let before = device.calls();
    drop((first, second));
    assert_eq!(*PinnedBuffer::<u8>::zeroed(pool, 100, &stream).unwrap(), [0; 100]);
    assert_eq!((device.calls() - before).of(CallKind::PinnedAllocate), 0);
    device.assert_clean();
}

#[test]
fn pinned_memory_freed_behind_a_copy_is_seen_again_only_after_the_copy() {
    for seed in 0..32 {
        let device = device_with_seed(seed);
        let (copies, staging) =
            (Stream::new(device.clone()).unwrap(), Stream::new(device.clone()).unwrap());
        let pool = pinned_pool(&device);
        let memory = arena(device.clone(), PoolConfig::default()).into_dyn();
        let mut there = Vec::new();
        for round in 0..8 {
            let expected = numbers(round, 5000);
            let host = PinnedBuffer::from_slice(pool.clone(), &expected, &staging).unwrap();
            let mut to = DeviceVec::uninit(memory.clone(), 5000, &copies).unwrap();
            drop(to.copy_from_pinned(host, ..).unwrap());
            there.push((to, expected));
        }
        assert!(device.calls().of(CallKind::PinnedAllocate) < 8, "some of it was used again");
        for (there, expected) in there {
            assert_eq!(there.to_vec().unwrap(), expected);
        }
        device.assert_clean();
    }
}

#[test]
fn pieces_of_work_overlap_on_a_pool_of_streams_with_memory_from_pools() {
    for seed in 0..16 {
        let device = device_with_seed(seed);
        let streams = StreamPool::new(device.clone(), NonZeroUsize::new(3).unwrap());
        let pinned = pinned_pool(&device);
        let memory = arena(device.clone(), PoolConfig::default()).into_dyn();
        let whole_on = streams.get().unwrap();
        let mut whole = DeviceVec::new(memory.clone(), &whole_on).unwrap();
        let mut uploads: Vec<Transfer<u32>> = Vec::new();
        for piece in 0..20 {
            let stream = streams.get().unwrap();
            let expected = numbers(piece, 300 + piece);
            let host = PinnedBuffer::from_slice(pinned.clone(), &expected, &stream).unwrap();
            let mut part = DeviceVec::uninit(memory.clone(), expected.len(), &stream).unwrap();
            uploads.push(part.copy_from_pinned(host, ..).unwrap());
            whole.extend_from(&part).unwrap();
            // Freed on its own stream, behind the copy to the whole.
            drop(part);
            if uploads.len() > 4 {
                assert_eq!(*uploads.remove(0).wait().unwrap(), numbers(piece - 4, 296 + piece));
            }
        }
        let expected: Vec<u32> = (0..20).flat_map(|piece| numbers(piece, 300 + piece)).collect();
        let host = PinnedBuffer::zeroed(pinned, expected.len(), &whole_on).unwrap();
        let host = whole.copy_to_pinned(host, ..).unwrap().wait().unwrap();
        assert_eq!(*host, *expected);
        device.assert_clean();
    }
}
