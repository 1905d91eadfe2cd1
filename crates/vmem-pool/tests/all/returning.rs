//! Memory that goes back, and what is kept when the driver does not take it.

use std::time::Duration;

use vmem_core::{Block, DriverCode, ResourceExt, Stream};
use vmem_pool::{AutoTrim, BySize, Growth, PoolConfig, PoolHandle, RangeState};
use vmem_sim::CallKind;

use crate::support::{
    ArenaPool, MIB, SMALL, alloc, arena, chunks, device, finish, free, free_all, layout, on_both,
    riddle, sim, tight, touch,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[test]
fn a_trim_that_fails_half_way_keeps_the_rest_usable() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, 8 * G, &stream), &stream);
    device.fail_call(Some(CallKind::Unmap), 4, DriverCode::UNKNOWN);
    assert!(pool.handle().trim_to(0).is_err());
    device.clear_failures();
    assert_eq!(device.used(), 5 * G);
    pool.handle().check_invariants();
    let states: Vec<(u64, bool)> = pool.handle().snapshot().unwrap().segments[0]
        .ranges
        .iter()
        .map(|range| (range.size, range.state == RangeState::Free))
        .collect();
    assert_eq!(states[..2], [(3 * G, false), (5 * G, true)]);
    let before = device.calls();
    let block = alloc(&pool, 5 * G, &stream);
    assert_eq!((device.calls() - before).of(CallKind::Create), 0);
    free(&pool, block, &stream);
    assert_eq!(pool.handle().trim_to(0).unwrap(), 5 * G);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn memory_the_driver_does_not_take_back_is_used_again_before_more_is_taken() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(4 * G));
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, 4 * G, &stream), &stream);
    device.fail_call(Some(CallKind::Release), 1, DriverCode::UNKNOWN);
    pool.handle().trim_to(0).unwrap();
    device.clear_failures();
    let capacity = pool.handle().capacity().unwrap();
    assert_eq!((capacity.reserved, capacity.growth_left), (G, Some(3 * G)));
    assert_eq!(capacity.largest_after_trim, Some(4 * G));
    let before = device.calls();
    let block = alloc(&pool, 4 * G, &stream);
    let calls = device.calls() - before;
    assert_eq!((calls.of(CallKind::Create), calls.of(CallKind::Release)), (3, 0));
    assert_eq!((device.used(), pool.handle().counters().unwrap().reserved), (4 * G, 4 * G));
    free(&pool, block, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_free_within_the_bounds_of_what_is_kept_makes_no_driver_call() {
    let device = device();
    let release = Some(AutoTrim::new(0, Duration::ZERO));
    let pool = arena(device.clone(), PoolConfig::default().with_auto_trim(release));
    let stream = Stream::new(device.clone()).unwrap();
    let live = alloc(&pool, 16 * MIB, &stream);
    let block = alloc(&pool, 2 * MIB, &stream);
    let before = device.calls();
    free(&pool, block, &stream);
    free(&pool, alloc(&pool, 256, &stream), &stream);
    assert_eq!((device.calls() - before).total(), 0, "an eighth more than is live may be held");
    free(&pool, live, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_chunk_that_went_back_is_not_listed_and_its_addresses_serve_again() {
    let device = device();
    let pool = chunks(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    for size in [4 * MIB, 3 * MIB, 6 * MIB, 5 * MIB] {
        let (block, other) = (alloc(&pool, size, &stream), alloc(&pool, 2 * size, &stream));
        assert_eq!(pool.handle().find(block.ptr()), Some(block.raw()));
        assert_eq!(pool.handle().find(other.ptr()), Some(other.raw()));
        free(&pool, block, &stream);
        let capacity = pool.handle().capacity().unwrap();
        assert_eq!((capacity.ceiling, capacity.growth_left), (None, None));
        assert_eq!(capacity.largest_now, size);
        pool.handle().trim_to(0).unwrap();
        assert_eq!(pool.handle().find(other.ptr()), Some(other.raw()));
        let snapshot = pool.handle().snapshot().unwrap();
        assert_eq!((snapshot.segments.len(), snapshot.counters.reserved), (1, 2 * size));
        free(&pool, other, &stream);
        pool.handle().trim_to(0).unwrap();
        assert!(pool.handle().snapshot().unwrap().segments.is_empty());
        pool.handle().check_invariants();
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn capacity_on_chunks_counts_those_that_would_go_back() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(16 * MIB).with_growth(Growth::Exact);
    let pool = chunks(device.clone(), config);
    assert_eq!(pool.handle().capacity().unwrap().largest_now, 0);
    let stream = Stream::new(device.clone()).unwrap();
    let blocks = [4 * MIB, 2 * MIB, 3 * MIB].map(|size| alloc(&pool, size, &stream));
    let [a, b, c] = blocks;
    free(&pool, a, &stream);
    free(&pool, b, &stream);
    let capacity = pool.handle().capacity().unwrap();
    assert_eq!((capacity.largest_now, capacity.growth_left), (4 * MIB, Some(7 * MIB)));
    assert_eq!(capacity.largest_after_trim, Some(13 * MIB));
    pool.handle().trim_to(0).unwrap();
    let largest = alloc(&pool, 13 * MIB, &stream);
    free(&pool, largest, &stream);
    free(&pool, c, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_trimming_left_in_place_is_free_and_no_longer_pending() {
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        free(pool, alloc(pool, 4 * MIB, &stream), &stream);
        handle.trim_to(4 * MIB).unwrap();
        let states: Vec<RangeState> =
            handle.snapshot().unwrap().segments[0].ranges.iter().map(|range| range.state).collect();
        assert_eq!(states[0], RangeState::Free);
        let live = alloc(pool, 2 * MIB, &stream);
        let error = pool.allocate_on(layout(1 << 40), &stream).unwrap_err();
        let report = error.report().unwrap();
        assert_eq!((report.largest_free, report.ceiling), (2 * MIB, None));
        assert_eq!((error.resource(), report.rounded), ("Pool", 1 << 40));
        free(pool, live, &stream);
    });
}

#[test]
fn of_a_window_that_could_not_be_undone_the_part_that_was_serves_again() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    device.fail_call(Some(CallKind::SetAccess), 1, DriverCode::UNKNOWN);
    device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    assert!(pool.allocate_on(layout(4 * G), &stream).is_err());
    device.clear_failures();
    pool.handle().check_invariants();
    let [left] = &pool.handle().snapshot().unwrap().windows[..] else { panic!("one window") };
    assert_eq!(left.size, 3 * G, "the first of four granules was undone");
    let large = alloc(&pool, 4 * G, &stream);
    let (start, end) = (left.start.get(), left.start.get() + left.size);
    assert!(large.ptr().get() >= end || large.ptr().get() + 4 * G <= start);
    touch(&device, &large, &stream);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().aliased), (0, 0));
    drop(stream);
    finish(&device, pool);
}

/// In one pool, small blocks would keep most of the granules that large ones lay in.
#[test]
fn small_blocks_in_a_pool_of_their_own_keep_few_granules() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let pools = [(); 2].map(|()| arena(device.clone(), PoolConfig::default()));
    let handles = pools.each_ref().map(ArenaPool::handle);
    let reserved = || handles.iter().map(|h| h.counters().unwrap().reserved).sum::<u64>();
    let live = || handles.iter().map(|h| h.counters().unwrap().live).sum::<u64>();
    let trim = || handles.iter().for_each(|handle| _ = handle.trim_to(0).unwrap());
    let [small, large] = pools;
    let pool = BySize::new(small, large, 4096).unwrap();
    let mut blocks: Vec<(Block, bool)> = Vec::new();
    for i in 0..4_000_usize {
        if blocks.len() >= 400 {
            let (block, _) = blocks.swap_remove(i * 7919 % 400);
            free(&pool, block, &stream);
        }
        let small = i % 2 == 0;
        let size = if small { 1 + i * 31 % 4096 } else { (64 << 10) + i * 7321 % (512 << 10) };
        blocks.push((alloc(&pool, size as u64, &stream), small));
    }
    let before = reserved();
    let (small, large): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|(_, small)| *small);
    large.into_iter().for_each(|(block, _)| free(&pool, block, &stream));
    trim();
    assert!(live() > 256 << 10);
    let after = reserved();
    assert!(after < before / 30, "{after} B of {before} B are kept by {} B", live());
    small.into_iter().for_each(|(block, _)| free(&pool, block, &stream));
    trim();
    assert_eq!(reserved(), 0);
    handles.iter().for_each(PoolHandle::check_invariants);
    drop((pool, stream));
    device.assert_clean();
}
