//! Physical memory in handles larger than a granule, which are mapped, moved and returned whole.

use std::sync::Arc;

use vmem_core::{Block, DevicePtr, DriverCode, ResourceExt, Stream};
use vmem_pool::PoolConfig;
use vmem_sim::{CallKind, Kernel, SimConfig, SimDevice};

use crate::support::{ArenaPool, MIB, alloc, arena, finish, free, free_all, layout};

/// A device on which a handle has up to 40 MiB.
fn large() -> Arc<SimDevice> {
    SimDevice::with_config(SimConfig { capacity: 80 << 30, ..Default::default() }).unwrap()
}

/// Queues work that writes a pattern of its own into the first and the last MiB of a block, or looks
/// whether it is still there.
fn ends(
    device: &SimDevice,
    block: &Block,
    stream: &Stream,
    kernel: fn(DevicePtr, u64, u64) -> Kernel,
) {
    let start = block.ptr().get();
    for at in [start, start + block.size() - MIB] {
        let ptr = DevicePtr::new(at).unwrap();
        // SAFETY: contract, devices/handles and devices/ranges: part of a live block, and a live stream.
        unsafe { device.launch(stream, kernel(ptr, MIB, start)) }.unwrap();
    }
}

#[test]
fn a_request_takes_a_few_handles_and_all_of_them_go_back() {
    let device = large();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 100 * MIB, &stream);
    assert_eq!(device.calls().of(CallKind::Create), 5);
    assert_eq!((device.calls().of(CallKind::Map), device.used()), (5, 100 * MIB));
    free(&pool, block, &stream);
    // A handle of 20 MiB is returned whole or not at all.
    pool.handle().trim_to(70 * MIB).unwrap();
    assert_eq!(device.used(), 80 * MIB, "less than a handle more than asked for");
    pool.handle().trim_to(0).unwrap();
    assert_eq!(device.used(), 0);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn of_the_last_handle_a_free_lower_end_is_enough_and_what_is_in_use_of_it_stays() {
    let device = large();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    // Of 40 MiB in five handles of 8 the second half of the third is in use, and the last.
    let blocks = [20, 12, 8].map(|size| alloc(&pool, size * MIB, &stream));
    assert_eq!(device.used(), 40 * MIB);
    let [first, middle, last] = blocks;
    let wall = alloc(&pool, 8 * MIB, &stream);
    for block in [&first, &middle, &last, &wall] {
        ends(&device, block, &stream, Kernel::write_pattern);
    }
    free(&pool, last, &stream);
    free(&pool, first, &stream);
    let used = device.used();
    // A whole handle at the end, two at the start, and 3 MiB of what follows.
    let moved = alloc(&pool, 27 * MIB, &stream);
    assert_eq!(device.used(), used, "nothing is taken");
    ends(&device, &moved, &stream, Kernel::write_pattern);
    let rest = alloc(&pool, MIB, &stream);
    ends(&device, &rest, &stream, Kernel::write_pattern);
    for block in [&middle, &wall, &moved, &rest] {
        ends(&device, block, &stream, Kernel::check_pattern);
    }
    assert_eq!(device.used(), used, "what is left of the handle is free at home");
    pool.handle().check_invariants();
    free_all(&pool, vec![middle, wall, moved, rest], &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().aliased), (0, 0));
    drop(stream);
    finish(&device, pool);
}

/// Fills three granules and leaves the upper half of the first and the lower half of the last free, with a
/// pattern in what is in use.
fn leave_two_ends(device: &SimDevice, pool: &ArenaPool, stream: &Stream) -> Vec<Block> {
    let [low, upper, middle, lower, high] =
        [1, 1, 2, 1, 1].map(|size| alloc(pool, size * MIB, stream));
    let kept = vec![low, middle, high];
    kept.iter().for_each(|block| ends(device, block, stream, Kernel::write_pattern));
    free(pool, upper, stream);
    free(pool, lower, stream);
    kept
}

#[test]
fn where_memory_is_short_an_upper_end_and_a_lower_one_are_a_request() {
    let device = crate::support::device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(6 * MIB));
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks = leave_two_ends(&device, &pool, &stream);
    assert_eq!(pool.handle().capacity().unwrap().largest_now, 2 * MIB);
    let both = alloc(&pool, 2 * MIB, &stream);
    let at = both.ptr();
    assert_eq!((device.used(), pool.handle().counters().unwrap().moves), (6 * MIB, 1));
    ends(&device, &both, &stream, Kernel::write_pattern);
    blocks.push(both);
    blocks.iter().for_each(|block| ends(&device, block, &stream, Kernel::check_pattern));
    pool.handle().check_invariants();
    free(&pool, blocks.pop().unwrap(), &stream);
    let halves = [MIB, MIB].map(|size| alloc(&pool, size, &stream));
    halves.iter().for_each(|block| ends(&device, block, &stream, Kernel::write_pattern));
    halves.into_iter().for_each(|block| free(&pool, block, &stream));
    let calls = device.calls();
    blocks.push(alloc(&pool, 2 * MIB, &stream));
    assert_eq!(
        (blocks[3].ptr(), (device.calls() - calls).total()),
        (at, 0),
        "it is mapped there still"
    );
    ends(&device, &blocks[3], &stream, Kernel::write_pattern);
    blocks.iter().for_each(|block| ends(&device, block, &stream, Kernel::check_pattern));
    free_all(&pool, blocks, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().aliased), (0, 0));
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_request_between_two_ends_that_fails_half_way_loses_nothing() {
    let calls = [(CallKind::Map, 1), (CallKind::Map, 2), (CallKind::SetAccess, 1)];
    for (kind, nth) in calls {
        for undone in 1..4 {
            let device = crate::support::device();
            let pool = arena(device.clone(), PoolConfig::default().with_ceiling(6 * MIB));
            let stream = Stream::new(device.clone()).unwrap();
            let mut blocks = leave_two_ends(&device, &pool, &stream);
            device.fail_call(Some(kind), nth, DriverCode::UNKNOWN);
            device.fail_call(Some(CallKind::Unmap), undone, DriverCode::UNKNOWN);
            assert!(pool.allocate_on(layout(2 * MIB), &stream).is_err());
            device.clear_failures();
            pool.handle().check_invariants();
            for window in pool.handle().snapshot().unwrap().windows {
                let shown: u64 = window.homes.iter().map(|(_, size)| size).sum();
                assert_eq!(window.size, shown, "{kind:?} {nth} {undone}");
            }
            blocks.push(alloc(&pool, 2 * MIB, &stream));
            ends(&device, &blocks[3], &stream, Kernel::write_pattern);
            blocks.iter().for_each(|block| ends(&device, block, &stream, Kernel::check_pattern));
            free_all(&pool, blocks, &stream);
            pool.handle().trim_to(0).unwrap();
            let aliased = pool.handle().counters().unwrap().aliased;
            assert_eq!((device.used(), aliased), (0, 0), "{kind:?} {nth} {undone}");
            drop(stream);
            finish(&device, pool);
        }
    }
}

#[test]
fn upper_ends_serve_where_the_device_has_no_more_and_wait_where_it_has() {
    for (others, used) in [(0, 8 * MIB), (250 * MIB, 256 * MIB)] {
        let device = crate::support::device();
        let pool = arena(device.clone(), PoolConfig::default());
        let stream = Stream::new(device.clone()).unwrap();
        let other = (others > 0).then(|| arena(device.clone(), PoolConfig::default()));
        let theirs = other.as_ref().map(|other| alloc(other, others, &stream));
        let mut blocks = leave_two_ends(&device, &pool, &stream);
        blocks.push(alloc(&pool, 2 * MIB, &stream));
        let moves = pool.handle().counters().unwrap().moves;
        assert_eq!((device.used(), moves), (used, u64::from(others > 0)));
        free_all(&pool, blocks, &stream);
        if let Some((other, block)) = other.as_ref().zip(theirs) {
            free(other, block, &stream);
        }
        drop((other, stream));
        finish(&device, pool);
    }
}

#[test]
fn where_memory_is_short_ends_of_handles_are_used_before_whole_ones() {
    let device = crate::support::device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(14 * MIB));
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks = leave_two_ends(&device, &pool, &stream);
    let [first, wall, second, last] = [(); 4].map(|()| alloc(&pool, 2 * MIB, &stream));
    free(&pool, first, &stream);
    free(&pool, second, &stream);
    blocks.extend([wall, last]);
    blocks.push(alloc(&pool, 4 * MIB, &stream));
    blocks.push(alloc(&pool, 2 * MIB, &stream));
    let moves = pool.handle().counters().unwrap().moves;
    assert_eq!((device.used(), moves), (14 * MIB, 1), "the granule that is left serves as it is");
    blocks.iter().for_each(|block| ends(&device, block, &stream, Kernel::write_pattern));
    blocks.iter().for_each(|block| ends(&device, block, &stream, Kernel::check_pattern));
    free_all(&pool, blocks, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_device_with_less_than_a_handle_left_is_used_to_its_last_granule() {
    let device = large();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(80 << 30));
    let stream = Stream::new(device.clone()).unwrap();
    let others = alloc(&pool, (80 << 30) - 6 * MIB, &stream);
    let rest = [4, 2].map(|size| alloc(&pool, size * MIB, &stream));
    assert!(pool.allocate_on(layout(1), &stream).is_err());
    free(&pool, others, &stream);
    free_all(&pool, rest.into(), &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_never_settles_moves_within_its_budget_and_then_takes_more() {
    let device = SimDevice::new(1 << 30);
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let granule = 2 * MIB;
    let kept = crate::support::riddle(&pool, granule, 40, &stream);
    for round in 0..60 {
        // A size that was never asked for before finds no addresses that were mapped for it.
        let size = 12 * granule + round * 4096;
        free(&pool, alloc(&pool, size, &stream), &stream);
        let counters = pool.handle().counters().unwrap();
        let budget = 3 * counters.peak_reserved + counters.bytes_allocated / 128;
        assert!(counters.bytes_moved <= budget + 13 * granule, "{counters:?}");
    }
    let counters = pool.handle().counters().unwrap();
    assert!(counters.moves >= 5 && counters.peak_reserved > 40 * granule, "{counters:?}");
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}
