//! How much memory is taken at a time, and where it is mapped.

use vmem_core::{AllocErrorKind, BlockLayout, DriverCode, ResourceExt, Stream};
use vmem_pool::{Growth, PoolConfig};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    MIB, SMALL, alloc, arena, chunks, finish, free, free_all, layout, lazy, on_both, riddle, sim,
    tight,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[test]
fn an_arena_takes_what_its_policy_says() {
    let reserved_after = |growth, sizes: &[u64]| {
        let device = sim(64, 512);
        let config = PoolConfig::default().with_growth(growth);
        let pool = arena(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let blocks: Vec<_> = sizes.iter().map(|&size| alloc(&pool, size, &stream)).collect();
        let reserved = device.used() / G;
        free_all(&pool, blocks, &stream);
        drop(stream);
        finish(&device, pool);
        reserved
    };
    assert_eq!(reserved_after(Growth::Exact, &[3 * G, G]), 4);
    assert_eq!(reserved_after(Growth::AtLeast(8 * G), &[3 * G]), 8);
    assert_eq!(reserved_after(Growth::AtLeast(8 * G), &[3 * G, 5 * G]), 8);
    // The free rest counts towards what is asked for at least.
    assert!(reserved_after(Growth::AtLeast(8 * G), &[9 * G]) == 9);
    assert!(reserved_after(Growth::Double, &[3 * G, 3 * G, G]) >= 9);
}

#[test]
fn where_the_policys_amount_is_refused_an_arena_takes_what_is_needed() {
    for (ceiling, growth) in [(None, Growth::Double), (None, Growth::AtLeast(24 * G))] {
        let device = sim(16, 128);
        let config = PoolConfig::default().with_ceiling(ceiling).with_growth(growth);
        let pool = arena(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let first = alloc(&pool, 10 * G, &stream);
        let second = alloc(&pool, 4 * G, &stream);
        assert_eq!((device.used(), pool.handle().counters().unwrap().moves), (14 * G, 0));
        free(&pool, first, &stream);
        free(&pool, second, &stream);
        drop(stream);
        finish(&device, pool);
    }
}

#[test]
fn a_growth_of_exactly_what_is_needed_is_tried_once() {
    let config = PoolConfig::default().with_growth(Growth::Exact);
    let device = SimDevice::new(20 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = chunks(device.clone(), config.clone());
    let kept = alloc(&pool, 12 * MIB, &stream);
    let before = device.calls().of(CallKind::Allocate);
    let error = pool.allocate_on(layout(9 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    assert_eq!(device.calls().of(CallKind::Allocate) - before, 1);
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);

    let device = sim(16, 64);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), config);
    let kept = alloc(&pool, 12 * G, &stream);
    let before = device.calls().of(CallKind::Create);
    assert!(pool.allocate_on(layout(5 * G), &stream).is_err());
    let created = device.calls().of(CallKind::Create) - before;
    assert_eq!(created, 2 * 5, "four granules are left; tried once at home and once in a window");
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_driver_that_fails_to_make_memory_is_a_fault_and_not_exhaustion() {
    on_both(&PoolConfig::default(), |device, pool, _| {
        let stream = Stream::new(device.clone()).unwrap();
        for kind in [CallKind::Create, CallKind::Allocate] {
            device.fail_call(Some(kind), 1, DriverCode::UNKNOWN);
        }
        let error = pool.allocate_on(layout(MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
        assert!(error.report().is_none());
        device.clear_failures();
        free(pool, alloc(pool, MIB, &stream), &stream);
    });
}

#[test]
fn new_memory_is_mapped_below_free_memory_where_that_takes_the_least() {
    let device = sim(32, 256);
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, c] = [4 * G, 2 * G, G].map(|size| alloc(&pool, size, &stream));
    let base = a.ptr().get();
    free(&pool, a, &stream);
    assert_eq!(pool.handle().trim_to(0).unwrap(), 4 * G);
    free(&pool, b, &stream);
    let block = alloc(&pool, 3 * G, &stream);
    assert_eq!((block.ptr().get(), device.used()), (base + 3 * G, 4 * G));
    let less = alloc(&pool, 2 * G + 256, &stream);
    assert_eq!((less.ptr().get(), device.used()), (base, 7 * G));
    free_all(&pool, vec![block, less, c], &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn moves_take_the_shortest_stretches_and_no_more_new_memory_than_is_missing() {
    let device = sim(16, 32);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    // Stretches of three granules, one and one between blocks that stay, to the end of what is home.
    let sizes = [3, 1, 1, 1, 1, 9].map(|granules| alloc(&pool, granules * G, &stream));
    let [long, w1, s1, w2, s2, end] = sizes;
    free_all(&pool, vec![long, s1, s2], &stream);
    let moved = alloc(&pool, 4 * G, &stream);
    let homes: Vec<u64> = pool.handle().snapshot().unwrap().windows[0]
        .homes
        .iter()
        .map(|(_, size)| size / G)
        .collect();
    // A handle each; what is taken of the long stretch is its upper end.
    assert_eq!(homes, [1, 1, 1, 1]);
    free(&pool, moved, &stream);
    free_all(&pool, vec![w1, w2, end], &stream);
    pool.handle().trim_to(0).unwrap();

    let kept = riddle(&pool, G, 16, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!(device.used(), 8 * G);
    let moved = alloc(&pool, 6 * G, &stream);
    assert_eq!(device.used(), 14 * G);
    free(&pool, moved, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn where_addresses_are_as_short_as_memory_there_are_none_for_windows() {
    let device = sim(16, 16);
    let pool = arena(device.clone(), tight());
    assert_eq!(pool.handle().snapshot().unwrap().segments.len(), 1);
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 16, &stream);
    assert!(pool.allocate_on(layout(2 * G), &stream).is_err(), "nothing can move");
    free_all(&pool, kept, &stream);
    free(&pool, alloc(&pool, 16 * G, &stream), &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn growth_goes_over_free_and_unmapped_memory_in_turn_where_that_takes_the_least() {
    let fresh = |sizes: [u64; 5], unmapped: [usize; 2], free_ones: [usize; 2], need: u64| {
        let device = sim(32, 256);
        let pool = arena(device.clone(), PoolConfig::default());
        let stream = Stream::new(device.clone()).unwrap();
        let mut blocks = sizes.map(|granules| Some(alloc(&pool, granules * G, &stream)));
        for i in unmapped {
            free(&pool, blocks[i].take().unwrap(), &stream);
        }
        pool.handle().trim_to(0).unwrap();
        for i in free_ones {
            free(&pool, blocks[i].take().unwrap(), &stream);
        }
        let before = device.used();
        let block = alloc(&pool, need, &stream);
        let fresh = (device.used() - before) / G;
        free(&pool, block, &stream);
        blocks.into_iter().flatten().for_each(|block| free(&pool, block, &stream));
        drop(stream);
        finish(&device, pool);
        fresh
    };
    // Two unmapped, free, unmapped, free, block: downwards from the end.
    assert_eq!(fresh([2, 1, 1, 1, 1], [0, 2], [1, 3], 3 * G + 256), 2);
    // Block, free, unmapped, free, two unmapped and all that follows: upwards from the start.
    assert_eq!(fresh([1, 1, 1, 1, 1], [2, 4], [1, 3], 3 * G + 256), 2);
}

#[test]
fn growth_below_free_memory_keeps_to_the_alignment() {
    let device = sim(32, 256);
    let pool = arena(device.clone(), lazy());
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, c] = [4 * G, 2 * G, G].map(|size| alloc(&pool, size, &stream));
    let base = a.ptr().get();
    free(&pool, a, &stream);
    pool.handle().trim_to(0).unwrap();
    free(&pool, b, &stream);
    let wanted = BlockLayout::with_alignment(3 * G, 2 * G).unwrap();
    let block = pool.allocate_on(wanted, &stream).unwrap();
    assert_eq!((block.ptr().get(), device.used()), (base + 2 * G, 5 * G));
    free(&pool, block, &stream);
    free(&pool, c, &stream);
    drop(stream);
    finish(&device, pool);
}
