//! What RMM's own tests ask of a pool, by the numbers of the checklist that vmem is held to. Where
//! the contract is stricter, the contract's answer is expected.

use std::sync::Arc;
use std::thread;

use vmem_adaptors::{Budget, Limit};
use vmem_core::{
    AllocErrorKind, Device, DeviceBuffer, DeviceMemory, PinnedMemory, ResourceExt, Stream,
};
use vmem_pool::{BuildErrorKind, Chunks, Pool, PoolConfig, VirtualArena};

use crate::support::{MIB, alloc, arena, bins, chunks, device, finish, free, layout};

#[test]
fn rmm_19_25_a_maximum_below_the_initial_size_is_refused_and_an_equal_one_accepted() {
    let device = device();
    let build = |initial, ceiling| {
        let upstream = DeviceMemory::new(device.clone());
        let config = PoolConfig::default().with_initial(initial).with_ceiling(ceiling);
        Pool::new(Chunks::new(upstream), config).map(drop)
    };
    let error = build(1024, 512).unwrap_err();
    let expected = BuildErrorKind::InitialAboveCeiling { initial: 1024, ceiling: 512 };
    assert_eq!(error.kind(), expected);
    build(1024, 1024).unwrap();
}

#[test]
fn rmm_20_21_most_of_the_memory_can_be_held_from_the_start_and_handed_out_in_quarters() {
    let device = device();
    let free_bytes = device.memory_info().unwrap().free;
    let config = PoolConfig::default().with_initial(free_bytes / 10 * 9);
    finish(&device, arena(device.clone(), config));

    let config = PoolConfig::default().with_initial(free_bytes / 2);
    let pool = arena(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let quarters = [(); 2].map(|()| alloc(&pool, free_bytes / 4, &stream));
    for quarter in quarters {
        free(&pool, quarter, &stream);
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn rmm_22_growth_stops_at_an_upstream_limit_and_not_before() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let limited = Limit::new(DeviceMemory::new(device.clone()), Budget::new(6000));
    let config = PoolConfig::default().with_initial(0);
    let pool = Pool::new(Chunks::new(limited), config).unwrap();
    let blocks = [1000, 4000, 500].map(|size| alloc(&pool, size, &stream));
    let error = pool.allocate_on(layout(2000), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    for block in blocks {
        free(&pool, block, &stream);
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn rmm_26_sizes_off_the_grain_are_rounded_down_and_said() {
    let device = device();
    let pool = chunks(device, PoolConfig::default().with_ceiling(1031));
    assert_eq!(pool.handle().capacity().unwrap().ceiling, Some(1024));
}

#[test]
fn rmm_28_pools_on_two_devices_serve_threads_with_their_own_default_streams() {
    let pools: Vec<_> = [device(), device()]
        .map(|device| (device.clone(), Arc::new(arena(device, PoolConfig::default()))))
        .into();
    let threads: Vec<_> = (0..4)
        .map(|i| {
            let (device, pool) = pools[i % 2].clone();
            thread::spawn(move || {
                let device: Arc<dyn Device> = device;
                let stream = Stream::per_thread_default(device.clone());
                for size in 1..50 {
                    free(&*pool, alloc(&*pool, size * 1000, &stream), &stream);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (device, pool) in pools {
        finish(&device, Arc::into_inner(pool).unwrap());
    }
}

#[test]
fn rmm_29_76_what_one_handle_allocated_another_frees() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), PoolConfig::default()).into_dyn();
    let other = pool.clone();
    let block = alloc(&*pool, 1000, &stream);
    free(&*other, block, &stream);
}

#[test]
fn rmm_31_a_pool_holds_at_least_its_initial_size_and_names_its_upstream() {
    let device = device();
    let pool = chunks(device, PoolConfig::default().with_initial(3 * MIB));
    assert!(pool.handle().counters().unwrap().reserved >= 3 * MIB);
    assert_eq!(pool.backing().upstream().to_string(), "DeviceMemory");
}

#[test]
fn rmm_32_a_pinned_pool_of_1024_bytes_is_exhausted_exactly() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let upstream = PinnedMemory::new(device.clone()).unwrap();
    let config = PoolConfig::default().with_ceiling(1024);
    let pool = Pool::new(Chunks::new(upstream), config).unwrap();
    let block = alloc(&pool, 1024, &stream);
    let error = pool.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    free(&pool, block, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn rmm_46_a_bin_serves_its_size_and_an_empty_buffer_asks_for_nothing() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let pool = bins(device.clone(), PoolConfig::default());
    let block = alloc(&pool, 1 << 20, &stream);
    assert_eq!(pool.handle().counters().unwrap().reserved, 1 << 20);
    free(&pool, block, &stream);
    drop(DeviceBuffer::new(&pool, 0, &stream).unwrap());
    assert_eq!(pool.handle().counters().unwrap().allocations, 1);
}

#[test]
fn rmm_54_a_pool_leaves_the_headroom_that_its_ceiling_asks_for() {
    let device = device();
    let total = device.facts().total_memory;
    let config = PoolConfig::default().with_ceiling(total - 64 * MIB);
    let pool = Pool::new(VirtualArena::new(device.clone()).unwrap(), config).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let most = alloc(&pool, total - 64 * MIB, &stream);
    assert_eq!(device.memory_info().unwrap().free, 64 * MIB);
    free(&pool, most, &stream);
    drop(stream);
    finish(&device, pool);
}
