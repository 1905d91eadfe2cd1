//! How much a pool holds: growth, ceilings, trimming.

use std::sync::Arc;

use vmem_core::{AllocErrorKind, DriverCode, MemoryResource, ResourceExt, Stream};
use vmem_pool::{BuildErrorKind, Chunks, Growth, Pool, PoolConfig, VirtualArena};
use vmem_sim::{CallKind, Parts, SimConfig, SimDevice};

use crate::support::{
    MIB, alloc, arena, bins, chunks, device, finish, free, free_all, layout, on_both, riddle,
};

#[test]
fn nothing_is_held_before_the_first_request() {
    on_both(&PoolConfig::default(), |device, _, handle| {
        assert_eq!((device.used(), handle.counters().unwrap().reserved), (0, 0));
    });
}

#[test]
fn the_initial_size_is_held_from_the_start_for_any_stream() {
    on_both(&PoolConfig::default().with_initial(10 * MIB), |device, pool, handle| {
        assert_eq!(device.used(), 10 * MIB);
        for _ in 0..2 {
            let stream = Stream::new(device.clone()).unwrap();
            let before = device.calls();
            let block = alloc(pool, 5 * MIB, &stream);
            assert_eq!((device.calls() - before).total(), 0);
            free(pool, block, &stream);
            stream.synchronize().unwrap();
            handle.trim_to(u64::MAX).unwrap();
        }
        assert_eq!(handle.counters().unwrap().growths, 1);
    });
}

#[test]
fn a_ceiling_is_exact() {
    // The sum of what is asked for reaches the ceiling to the last 256 bytes; one more is refused.
    let device = device();
    let ceiling = 3 * MIB + 256;
    let pool = chunks(device.clone(), PoolConfig::default().with_ceiling(ceiling + 255));
    assert_eq!(pool.handle().capacity().unwrap().ceiling, Some(ceiling));
    exhaust(&pool, &device, &[MIB, MIB, MIB, 256]);
    finish(&device, pool);
    let device = crate::support::device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(7 * MIB));
    assert_eq!(pool.handle().capacity().unwrap().ceiling, Some(6 * MIB));
    exhaust(&pool, &device, &[MIB, 2 * MIB + 256, 3 * MIB - 256]);
    finish(&device, pool);
}

fn exhaust(pool: &dyn MemoryResource, device: &Arc<SimDevice>, sizes: &[u64]) {
    let stream = Stream::new(device.clone()).unwrap();
    let blocks: Vec<_> = sizes.iter().map(|&size| alloc(pool, size, &stream)).collect();
    let error = pool.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    for block in blocks {
        free(pool, block, &stream);
    }
}

#[test]
fn a_pool_of_8192_bytes_serves_what_fits() {
    // RMM 23.
    let device = device();
    let pool = chunks(device.clone(), PoolConfig::default().with_ceiling(8192));
    let stream = Stream::new(device.clone()).unwrap();
    let first = alloc(&pool, 1000, &stream);
    let second = alloc(&pool, 4000, &stream);
    let third = alloc(&pool, 500, &stream);
    let fourth = alloc(&pool, 2000, &stream);
    assert!(pool.allocate_on(layout(1000), &stream).is_err());
    for block in [first, second, third, fourth] {
        free(&pool, block, &stream);
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn contradicting_configurations_are_refused() {
    let device = device();
    let build = |ceiling, initial| {
        let config = PoolConfig::default().with_ceiling(ceiling).with_initial(initial);
        let arena = VirtualArena::new(device.clone()).unwrap();
        Pool::new(arena, config).map(drop).map_err(|error| error.kind())
    };
    let granule = 2 * MIB;
    assert_eq!(build(0, 0), Err(BuildErrorKind::CeilingTooLow { ceiling: 0, granule }));
    assert_eq!(build(MIB, 0), Err(BuildErrorKind::CeilingTooLow { ceiling: MIB, granule }));
    assert_eq!(
        build(4 * MIB, 5 * MIB),
        Err(BuildErrorKind::InitialAboveCeiling { initial: 5 * MIB, ceiling: 4 * MIB })
    );
    assert_eq!(build(4 * MIB, 4 * MIB), Ok(()));
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}

#[test]
fn an_initial_size_beyond_the_device_is_refused_and_leaves_nothing() {
    let device = device();
    let config = PoolConfig::default().with_initial(1 << 40);
    let refused = Pool::new(VirtualArena::new(device.clone()).unwrap(), config.clone());
    assert_eq!(refused.unwrap_err().kind(), BuildErrorKind::Refused);
    let upstream = vmem_core::DeviceMemory::new(device.clone());
    let refused = Pool::new(Chunks::new(upstream), config);
    assert_eq!(refused.unwrap_err().kind(), BuildErrorKind::Refused);
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}

#[test]
fn a_device_without_virtual_memory_has_no_arena() {
    let parts = Parts::all() - Parts::VIRTUAL_MEMORY;
    let config = SimConfig { capacity: MIB, parts, ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let error = VirtualArena::new(device).unwrap_err();
    assert_eq!(error.kind(), BuildErrorKind::Unsupported);
}

#[test]
fn a_large_address_range_is_halved_until_the_driver_agrees() {
    let config =
        SimConfig { capacity: 64 * MIB, max_reservation: Some(200 * MIB), ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let arena = VirtualArena::new(device.clone()).unwrap();
    assert_eq!(arena.address_space(), 128 * MIB);
    drop(Pool::new(arena, PoolConfig::default()).unwrap());
    assert!(device.leaks().is_empty());
}

#[test]
fn growth_follows_its_policy() {
    let grown = |growth, sizes: &[u64]| {
        let device = device();
        let pool = chunks(device.clone(), PoolConfig::default().with_growth(growth));
        let stream = Stream::new(device.clone()).unwrap();
        let blocks: Vec<_> = sizes.iter().map(|&size| alloc(&pool, size, &stream)).collect();
        let held = device.used();
        for block in blocks {
            free(&pool, block, &stream);
        }
        held
    };
    let sizes = [3 * MIB, 3 * MIB, MIB];
    assert_eq!(grown(Some(Growth::Exact), &sizes), 7 * MIB);
    assert_eq!(grown(Some(Growth::AtLeast(16 * MIB)), &sizes), 16 * MIB);
    assert_eq!(grown(Some(Growth::Double), &sizes), 12 * MIB);
    assert_eq!(grown(None, &sizes), 12 * MIB);
}

#[test]
fn streams_grow_in_parts_of_the_addresses_that_have_room_for_all_memory_each() {
    let device = device();
    let memory = 256 * MIB;
    let pool = arena(device.clone(), PoolConfig::default());
    assert_eq!(pool.backing().address_space(), 8 * memory);
    // Half of the addresses are for windows.
    let streams = [(); 5].map(|()| Stream::new(device.clone()).unwrap());
    let blocks = streams.each_ref().map(|stream| alloc(&pool, 2 * MIB, stream));
    let places = blocks.each_ref().map(|block| block.ptr().get() - blocks[0].ptr().get());
    assert_eq!(places, [0, memory, 2 * memory, 3 * memory, 2 * MIB]);
    streams.iter().zip(blocks).for_each(|(stream, block)| free(&pool, block, stream));
    drop(streams);
    finish(&device, pool);
}

#[test]
fn the_arena_extends_its_tail_by_what_is_missing() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks = Vec::new();
    for i in 1..=40 {
        blocks.push(alloc(&pool, 1_300_000, &stream));
        let needed = i * 1_300_224_u64;
        assert_eq!(device.used(), needed.next_multiple_of(2 * MIB));
    }
    for block in blocks {
        free(&pool, block, &stream);
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn trimming_returns_everything_that_is_unused() {
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let blocks: Vec<_> = (0..10).map(|_| alloc(pool, 4 * MIB, &stream)).collect();
        for block in blocks {
            free(pool, block, &stream);
        }
        let held = handle.counters().unwrap().reserved;
        assert_eq!(handle.trim_to(0).unwrap(), held);
        assert_eq!((device.used(), handle.counters().unwrap().reserved), (0, 0));
        assert_eq!(handle.counters().unwrap().bytes_trimmed, held);
        free(pool, alloc(pool, MIB, &stream), &stream);
    });
}

#[test]
fn trimming_keeps_what_it_is_asked_to_keep() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, 64 * MIB, &stream), &stream);
    assert_eq!(pool.handle().trim_to(10 * MIB).unwrap(), 54 * MIB);
    assert_eq!(device.used(), 10 * MIB);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn trimming_in_several_places_keeps_what_it_is_asked_to_keep() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, 2 * MIB, 8, &stream);
    assert_eq!(pool.handle().trim_to(12 * MIB).unwrap(), 4 * MIB);
    assert_eq!(device.used(), 12 * MIB);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_a_trim_that_failed_did_not_come_to_is_free_as_before() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks = riddle(&pool, 2 * MIB, 8, &stream);
    device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    let _ = pool.handle().trim_to(0);
    assert_eq!(device.used(), 14 * MIB);
    device.clear_failures();
    let before = device.calls();
    blocks.extend([(); 3].map(|()| alloc(&pool, 2 * MIB, &stream)));
    assert_eq!((device.calls() - before).total(), 0);
    free_all(&pool, blocks, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn trimming_beside_live_blocks_keeps_only_their_granules() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks: Vec<_> = (0..16).map(|_| alloc(&pool, 3 * MIB, &stream)).collect();
    let live = blocks.swap_remove(7);
    for block in blocks {
        free(&pool, block, &stream);
    }
    pool.handle().trim_to(0).unwrap();
    // Bytes 21 to 24 MiB lie in two granules of 2 MiB.
    assert_eq!(device.used(), 4 * MIB);
    // What is unmapped between is mapped again before the range grows.
    let large = alloc(&pool, 20 * MIB, &stream);
    assert!(large.ptr() < live.ptr());
    free(&pool, large, &stream);
    free(&pool, live, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn trying_to_trim_waits_for_nothing() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 8 * MIB, &stream);
    crate::support::touch(&device, &block, &stream);
    free(&pool, block, &stream);
    let early = pool.handle().try_trim(0).unwrap();
    stream.synchronize().unwrap();
    let late = pool.handle().try_trim(0).unwrap();
    assert_eq!(early + late, 8 * MIB);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn bins_waste_up_to_half_and_reuse_only_their_own_size() {
    let device = device();
    let pool = bins(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 3 * MIB, &stream);
    assert_eq!(device.used(), 4 * MIB);
    free(&pool, block, &stream);
    let smaller = alloc(&pool, MIB, &stream);
    assert_eq!(device.used(), 5 * MIB);
    let same = alloc(&pool, 2 * MIB + 1, &stream);
    assert_eq!(device.used(), 5 * MIB);
    free(&pool, smaller, &stream);
    free(&pool, same, &stream);
    assert_eq!(pool.handle().trim_to(0).unwrap(), 5 * MIB);
    drop((pool, stream));
    device.assert_clean();
    assert!(device.leaks().is_empty());
}

#[test]
fn three_rounds_of_mixed_sizes_stay_within_the_first_rounds_high_water_mark() {
    // What the first user's own tests ask of its allocator.
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let mut high_water = None;
        for _ in 0..3 {
            let mut blocks: Vec<_> =
                [1, 7, 2, 5, 3].map(|mib| Some(alloc(pool, mib * MIB, &stream))).into();
            for i in [0, 2, 4] {
                free(pool, blocks[i].take().unwrap(), &stream);
            }
            blocks.extend([4, 6].map(|mib| Some(alloc(pool, mib * MIB, &stream))));
            for block in blocks.into_iter().flatten() {
                free(pool, block, &stream);
            }
            let counters = handle.counters().unwrap();
            assert_eq!(counters.live, 0);
            let mark = *high_water.get_or_insert(counters.reserved);
            assert!(counters.reserved <= mark);
        }
    });
}

#[test]
fn an_arena_grows_by_policy_and_takes_what_is_needed_where_that_is_refused() {
    // The device has 256 MiB.
    let cases = [
        (Growth::Exact, None, [2, 4]),
        (Growth::AtLeast(16 * MIB), None, [16, 16]),
        (Growth::AtLeast(16 * MIB), Some(10 * MIB), [10, 10]),
        (Growth::AtLeast(300 * MIB), None, [2, 4]),
        (Growth::Double, None, [2, 4]),
    ];
    for (growth, ceiling, held) in cases {
        let device = device();
        let config = PoolConfig::default().with_growth(growth).with_ceiling(ceiling);
        let pool = arena(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let mut blocks = Vec::new();
        for held in held {
            blocks.push(alloc(&pool, 2 * MIB, &stream));
            assert_eq!(device.used(), held * MIB, "{growth:?} under {ceiling:?}");
        }
        for block in blocks {
            free(&pool, block, &stream);
        }
        drop(stream);
        finish(&device, pool);
    }
}
