//! What a pool says of itself.

use vmem_core::{
    Block, Contents, DriverCode, Features, HandleError, MemoryResource, ResourceExt, Stream,
};
use vmem_pool::{Growth, Pool, PoolConfig, RangeState, VirtualArena};
use vmem_sim::CallKind;

use crate::resting::Bench;
use crate::support::{
    MIB, SMALL, alloc, arena, bins, chunks, device, finish, free, layout, on_both, touch,
};

#[test]
fn counters_follow_every_block() {
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let (a, b) = (alloc(pool, 1000, &stream), alloc(pool, 3 * MIB, &stream));
        let counters = handle.counters().unwrap();
        assert_eq!((counters.live, counters.allocations), (3 * MIB + 1000, 2));
        assert_eq!(counters.bytes_allocated, counters.live);
        assert_eq!(counters.reserved, device.used());
        free(pool, b, &stream);
        free(pool, a, &stream);
        assert!(pool.allocate_on(layout(1 << 40), &stream).is_err());
        let counters = handle.counters().unwrap();
        assert_eq!((counters.live, counters.peak_live), (0, 3 * MIB + 1000));
        assert_eq!((counters.frees, counters.failures), (2, 1));
        assert!(counters.peak_reserved >= counters.peak_live);
    });
}

#[test]
fn capacity_is_what_a_request_then_gets() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(32 * MIB);
    let pool = arena(device.clone(), config);
    let handle = pool.handle();
    let stream = Stream::new(device.clone()).unwrap();
    let blocks: Vec<Block> = (0..8).map(|_| alloc(&pool, 2 * MIB, &stream)).collect();
    let mut live = Vec::new();
    for (i, block) in blocks.into_iter().enumerate() {
        if i % 4 == 3 { live.push(block) } else { free(&pool, block, &stream) }
    }
    let capacity = handle.capacity().unwrap();
    assert_eq!((capacity.live, capacity.reserved), (4 * MIB, 16 * MIB));
    assert_eq!((capacity.growth_left, capacity.largest_now), (Some(16 * MIB), 12 * MIB));
    assert_eq!(capacity.largest_after_trim, Some(28 * MIB));
    handle.trim_to(0).unwrap();
    let largest = alloc(&pool, 28 * MIB, &stream);
    free(&pool, largest, &stream);
    for block in live {
        free(&pool, block, &stream);
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_snapshot_lists_every_range_without_gaps() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let (a, b) = (alloc(&pool, MIB, &stream), alloc(&pool, MIB, &stream));
    touch(&device, &a, &stream);
    free(&pool, a, &stream);
    let snapshot = pool.handle().snapshot().unwrap();
    let segment = &snapshot.segments[0];
    let mut at = segment.start;
    for range in &segment.ranges {
        assert_eq!(range.start, at);
        at = at.checked_add(range.size).unwrap();
    }
    let states: Vec<RangeState> = segment.ranges.iter().map(|range| range.state).collect();
    assert!(matches!(
        states[..],
        [RangeState::Pending, RangeState::Live { .. }, RangeState::Unmapped]
    ));
    free(&pool, b, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn an_address_finds_its_block() {
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(pool, 1000, &stream);
        let raw = handle.find(block.ptr()).unwrap();
        assert_eq!(raw, block.raw());
        assert_eq!(handle.find(block.ptr().checked_add(256).unwrap()), None);
        let ptr = block.into_raw().ptr();
        // SAFETY: the block was taken apart just now, so this is the only one of these parts.
        let block = unsafe { Block::from_raw(raw) };
        free(pool, block, &stream);
        assert_eq!(handle.find(ptr), None);
    });
}

#[test]
fn a_handle_says_when_its_pool_is_gone() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let handle = pool.handle();
    finish(&device, pool);
    assert!(handle.counters().is_none() && handle.capacity().is_none());
    assert!(handle.snapshot().is_none());
    assert!(matches!(handle.trim_to(0), Err(HandleError::Gone)));
    assert!(matches!(handle.try_trim(0), Err(HandleError::Gone)));
    assert!(matches!(handle.synchronize(), Err(HandleError::Gone)));
}

#[test]
fn a_pool_that_is_dropped_while_others_ask_is_gone_for_all_of_them_from_then_on() {
    for _ in 0..50 {
        let device = device();
        let stream = Stream::new(device.clone()).unwrap();
        let pool = arena(device.clone(), PoolConfig::default());
        let handle = pool.handle();
        free(&pool, alloc(&pool, 8 * MIB, &stream), &stream);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let handle = handle.clone();
                // Each asks until it is told, and is told the same ever after.
                scope.spawn(move || {
                    while handle.counters().is_some() {
                        let _ = handle.try_trim(0);
                    }
                    assert!(handle.snapshot().is_none() && handle.capacity().is_none());
                    assert!(matches!(handle.trim_to(0), Err(HandleError::Gone)));
                });
            }
            drop(pool);
            assert!(handle.counters().is_none(), "whatever calls are in progress");
        });
        drop(stream);
        device.assert_clean();
        assert!(device.leaks().is_empty());
    }
}

#[test]
fn a_pool_dropped_with_live_blocks_leaks_them_and_says_so() {
    use vmem_core::Device;

    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 3 * MIB, &stream);
    let freed = alloc(&pool, 20 * MIB, &stream);
    free(&pool, freed, &stream);
    drop(pool);
    assert_eq!(device.used(), 4 * MIB, "what is unused went back, what is live stays");
    touch(&device, &block, &stream);
    stream.synchronize().unwrap();
    device.assert_clean();
    let failure = device.base().drop_failures().first().unwrap();
    assert!(failure.to_string().contains("live"), "{failure}");
}

#[test]
fn stacks_print_their_nest() {
    let device = device();
    let pool = arena(device, PoolConfig::default().with_ceiling(8 * MIB));
    assert_eq!(pool.to_string(), "Pool<VirtualArena>(ceiling 8388608 B)");
}

#[test]
fn pools_their_parts_and_their_errors_say_what_they_are() {
    use std::error::Error;

    let device = device();
    let small = PoolConfig::default().with_ceiling(8 * MIB);
    let (on_arena, on_chunks) =
        (arena(device.clone(), small.clone()), chunks(device.clone(), small.clone()));
    let bins = bins(device.clone(), PoolConfig::default());
    let can = |pool: &dyn MemoryResource, feature| pool.capabilities().has(feature);
    for pool in [&on_arena as &dyn MemoryResource, &on_chunks, &bins] {
        assert!(can(pool, Features::STREAM_ORDERED) && can(pool, Features::TRIMS));
    }
    assert_eq!(on_chunks.to_string(), "Pool<Chunks<DeviceMemory>>(ceiling 8388608 B)");
    assert_eq!(bins.to_string(), "BinningPool<DeviceMemory>");
    assert!(format!("{on_chunks:?}").contains("DeviceMemory> { held: 0, .. }"));
    assert!(format!("{on_arena:?}").contains("VirtualArena { base: "));
    assert!(format!("{:?}", on_arena.handle()).starts_with("PoolHandle { live: 0,"));
    let policies = [Growth::Exact, Growth::AtLeast(64), Growth::Double].map(|g| g.to_string());
    assert_eq!(policies, ["exact", "at least 64 B", "doubling"]);

    let handle = on_arena.handle();
    let stream = Stream::new(device.clone()).unwrap();
    free(&on_arena, alloc(&on_arena, 2 * MIB, &stream), &stream);
    device.fail_call(Some(CallKind::Unmap), 1, DriverCode::UNKNOWN);
    let error = handle.trim_to(0).unwrap_err();
    assert_eq!(error.to_string(), "the resource could not do what was asked");
    assert!(error.source().unwrap().to_string().contains("cuMemUnmap"));
    device.clear_failures();
    drop((on_arena, on_chunks, bins, stream));
    let error = handle.trim_to(0).unwrap_err();
    assert_eq!(error.to_string(), "the resource has been dropped");
    assert!(error.source().is_none());

    device.fail_call(Some(CallKind::Create), 1, DriverCode::OUT_OF_MEMORY);
    let initial = PoolConfig::default().with_initial(2 * MIB);
    let error = Pool::new(VirtualArena::new(device.clone()).unwrap(), initial).unwrap_err();
    assert_eq!(error.to_string(), "the memory for the pool was refused");
    assert!(error.source().is_some());
    device.clear_failures();
    let low = PoolConfig::default().with_ceiling(1);
    let error = Pool::new(VirtualArena::new(device.clone()).unwrap(), low).unwrap_err();
    assert!(error.to_string().contains("must be at least 2097152 B") && error.source().is_none());
    device.assert_clean();
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}

#[test]
fn a_chunk_that_several_streams_freed_counts_as_returnable() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(8 * MIB).with_initial(8 * MIB);
    let pool = chunks(device.clone(), config);
    let streams = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let blocks =
        [0, 1].map(|place: usize| (alloc(&pool, 4 * MIB, &streams[place]), &streams[place]));
    for (block, stream) in blocks {
        free(&pool, block, stream);
    }
    assert_eq!(pool.handle().capacity().unwrap().largest_after_trim, Some(8 * MIB));
    drop(streams);
    finish(&device, pool);
}

#[test]
#[should_panic(expected = "the pool exists")]
fn a_check_of_a_pool_that_is_gone_fails() {
    let pool = arena(device(), PoolConfig::default());
    let handle = pool.handle();
    handle.check_invariants();
    drop(pool);
    handle.check_invariants();
}

#[test]
fn what_goes_to_the_host_and_what_comes_back_are_counted_apart() {
    let bench = Bench::new(32, PoolConfig::default());
    let [a, b] = [3, 5].map(|granules| bench.alloc(granules * SMALL));
    let counted = || {
        let counters = bench.counters();
        (counters.bytes_demoted, counters.bytes_promoted)
    };
    bench.demote(&[&a], Contents::Kept);
    bench.demote(&[&b], Contents::Kept);
    assert_eq!(counted(), (8 * SMALL, 0));
    bench.promote(&[&a]);
    bench.promote(&[&b]);
    bench.demote(&[&a], Contents::Discarded);
    assert_eq!(counted(), (11 * SMALL, 8 * SMALL));
    bench.free(a);
    bench.free(b);
    bench.finish();
}
