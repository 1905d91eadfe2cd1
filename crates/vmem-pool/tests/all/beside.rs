//! Blocks that rest beside each other: each comes back, and goes, without the others.

use std::sync::Arc;

use vmem_adaptors::Spill;
use vmem_core::{Block, Contents, DeviceBuffer, MemoryResource, Request, ResourceExt};
use vmem_pool::PoolConfig;

use crate::resting::Bench;
use crate::sleeping::hooked;
use crate::support::{SMALL, layout};

const HALF: u64 = SMALL / 2;

/// Two blocks of one and a half granules with a free granule between them, of parts of two.
fn apart(bench: &Bench) -> [Block; 2] {
    let [a, between, b] = [SMALL + HALF, SMALL, SMALL + HALF].map(|size| bench.alloc(size));
    assert_eq!(b.ptr().get() - a.ptr().get(), 2 * SMALL + HALF, "beside each other");
    bench.free(between);
    bench.handle.trim_to(u64::MAX).unwrap();
    [a, b]
}

#[test]
fn blocks_beside_one_free_stretch_that_rested_together_come_back_each_alone() {
    let bench = Bench::new(64, PoolConfig::default());
    let [a, b] = apart(&bench);
    bench.write(&a, 1);
    bench.write(&b, 2);
    let moved = bench.demote(&[&a, &b], Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (4 * SMALL, 0));
    for block in [&a, &b] {
        let moved = bench.promote(&[block]);
        assert_eq!((moved.device, moved.stayed), (2 * SMALL, 0));
    }
    assert_eq!((bench.residence(&a).shared, bench.residence(&b).shared), (0, 0));
    bench.check(&a, 1);
    bench.check(&b, 2);
    [a, b].into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn blocks_that_were_woken_together_sleep_each_alone() {
    for contents in [Contents::Kept, Contents::Discarded] {
        let bench = Bench::new(64, PoolConfig::default());
        let [a, b] = apart(&bench);
        bench.demote(&[&a, &b], contents);
        bench.promote(&[&a, &b]);
        let moved = bench.demote(&[&a], Contents::Kept);
        assert_eq!((moved.device, moved.stayed), (2 * SMALL, 0));
        [a, b].into_iter().for_each(|block| bench.free(block));
        bench.finish();
    }
}

#[test]
fn buffers_that_spilled_together_are_used_on_the_device_again() {
    let bench = Bench::new(64, PoolConfig::default());
    let Bench { stream, pool, handle, .. } = bench;
    let spill = Spill::new(Arc::new(handle.clone()));
    let memory: Arc<dyn MemoryResource> = pool.into_dyn();
    let make = |size| DeviceBuffer::new(memory.clone(), size, &stream).unwrap();
    let [a, between, b] = [SMALL + HALF, SMALL, SMALL + HALF].map(make);
    let [a, b] = [spill.adopt(a), spill.adopt(b)];
    drop(between);
    stream.synchronize().unwrap();
    handle.trim_to(u64::MAX).unwrap();
    assert_eq!(spill.demote(u64::MAX), 4 * SMALL);
    for buffer in [&a, &b] {
        drop(buffer.lease(&stream).unwrap());
    }
    assert!(a.is_on_device() && b.is_on_device());
    assert_eq!((spill.counts().host_bytes, spill.counts().left_on_host), (0, 0));
}

#[test]
fn a_block_that_may_rest_shares_no_more_than_a_granule_at_either_end_after_it_was_woken() {
    for contents in [Contents::Kept, Contents::Discarded] {
        let bench = Bench::new(64, PoolConfig::default());
        let request = Request::new(layout(15 * SMALL + HALF), &bench.stream).that_may_rest();
        let block = bench.pool.allocate(&request).unwrap();
        bench.demote(&[&block], contents);
        bench.promote(&[&block]);
        bench.write(&block, 1);
        // In what is free of its last granule.
        let small = bench.alloc(SMALL / 4);
        bench.write(&small, 2);
        bench.stream.synchronize().unwrap();
        assert!(bench.residence(&block).shared <= SMALL, "{:?}", bench.residence(&block));
        let moved = bench.demote(&[&block], Contents::Kept);
        assert_eq!((moved.device, moved.stayed), (15 * SMALL, HALF));
        bench.check(&block, 1);
        [block, small].into_iter().for_each(|block| bench.free(block));
        bench.finish();
    }
}

/// Two discarded blocks that share a granule, one of which comes back while the other is freed.
fn freed_while_one_beside_it_comes_back() -> (Bench, Block) {
    let (countdown, bench) = hooked();
    let [a, b] = [(); 2].map(|()| bench.alloc(HALF));
    bench.demote(&[&a, &b], Contents::Discarded);
    let bench = Arc::new(bench);
    let other = bench.clone();
    countdown.before("VirtualMemory::create", move || other.free(b));
    assert_eq!(bench.promote(&[&a]).device, SMALL);
    (Arc::into_inner(bench).unwrap(), a)
}

#[test]
fn a_discarded_block_that_is_freed_while_one_beside_it_comes_back_is_free_memory() {
    let (bench, a) = freed_while_one_beside_it_comes_back();
    let again = bench.alloc(HALF);
    assert_eq!(bench.counters().reserved, SMALL, "the other half of the granule is there");
    bench.free(again);
    bench.free(a);
    bench.finish();
}

#[test]
fn what_a_discarded_block_left_that_was_freed_while_one_beside_it_came_back_goes_back() {
    let (bench, a) = freed_while_one_beside_it_comes_back();
    bench.free(a);
    bench.stream.synchronize().unwrap();
    bench.handle.trim_to(0).unwrap();
    assert_eq!(bench.counters().reserved, 0);
    bench.finish();
}
