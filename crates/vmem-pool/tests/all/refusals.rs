//! Requests that cannot be served now: what they wait for, and that a refusal says nothing of the
//! next request.

use std::sync::{Arc, Mutex};

use vmem_adaptors::{AdaptorExt, Answer, Budget, Failure, Reclaimers};
use vmem_core::{
    AllocErrorKind, Device, DeviceMemory, MemoryResource, PinnedMemory, ResourceExt, Stream,
};
use vmem_pool::{Batch, Chunks, Pool, PoolConfig};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    MIB, alloc, arena, bins, chunks, device, finish, free, keep_busy, layout, touch,
};

#[test]
fn on_host_accessible_memory_the_rest_of_complete_memory_is_at_hand() {
    let device = device();
    let upstream = PinnedMemory::new(device.clone()).unwrap();
    let config = PoolConfig::default().with_initial(8 * MIB).with_batch(Batch::STRICT);
    let pool = Pool::new(Chunks::new(upstream), config).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 8 * MIB, &stream);
    touch(&device, &block, &stream);
    free(&pool, block, &stream);
    stream.synchronize().unwrap();
    let left = alloc(&pool, 2 * MIB, &stream);
    let before = device.calls();
    let right = alloc(&pool, 6 * MIB, &stream);
    assert_eq!((device.calls() - before).total(), 0);
    assert_eq!(pool.handle().counters().unwrap().growths, 1);
    free(&pool, left, &stream);
    free(&pool, right, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn the_errors_of_a_pool_of_powers_of_two_carry_its_own_name() {
    let (device, elsewhere) = (device(), device());
    let pool = bins(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let stream = Stream::new(device.clone()).unwrap();
    let foreign = Stream::new(elsewhere).unwrap();
    let too_large = pool.allocate_on(layout(9 * MIB), &stream).unwrap_err();
    assert_eq!(
        (too_large.kind(), too_large.resource()),
        (AllocErrorKind::NeverFits, "BinningPool")
    );
    let refused = pool.allocate_on(layout(1), &foreign).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.resource()),
        (AllocErrorKind::InvalidStream, "BinningPool")
    );
    let block = alloc(&pool, 256, &stream);
    // SAFETY: contract, freeing: no work was queued on the block.
    let refused = unsafe { pool.deallocate(block, &foreign) }.unwrap_err();
    assert_eq!(refused.resource(), "BinningPool");
    let leaked = refused.into_block();
    drop((pool, stream));
    assert_eq!(device.base().drop_failures().first().unwrap().what, "BinningPool");
    let _ = leaked.into_raw();
}

#[test]
fn an_arena_does_not_wait_on_the_host_for_what_the_stream_could_wait_for_on_the_device() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let [here, there] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let (kept, block) = (alloc(&pool, 4 * MIB, &here), alloc(&pool, 4 * MIB, &here));
    keep_busy(&device, &block, &here);
    free(&pool, block, &here);
    let before = device.calls();
    for stream in [&here, &there] {
        let error = pool.allocate_on(layout(6 * MIB), stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::Limit);
    }
    assert_eq!((device.calls() - before).of(CallKind::SynchronizeEvent), 0);
    free(&pool, kept, &here);
    drop((here, there));
    finish(&device, pool);
}

/// Whoever gives memory back to the device, the pool asks it again.
#[test]
fn a_sibling_pool_is_a_cache_that_can_be_reclaimed() {
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let tiles = arena(device.clone(), PoolConfig::default());
    free(&tiles, alloc(&tiles, 40 * MIB, &stream), &stream);
    let handle = tiles.handle();
    let reclaimers = Reclaimers::new();
    let _tiles = reclaimers.register("tiles", move || handle.trim_to(0).unwrap());
    let memory = arena(device.clone(), PoolConfig::default()).on_failure(reclaimers.hook());
    free(&memory, alloc(&memory, 32 * MIB, &stream), &stream);
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 1);
    drop((memory, stream));
    finish(&device, tiles);
}

#[test]
fn a_hook_that_gives_back_another_librarys_memory_is_believed() {
    let device = SimDevice::new(64 * MIB);
    let pools: [&dyn Fn() -> Arc<dyn MemoryResource>; 4] = [
        &|| arena(device.clone(), PoolConfig::default()).into_dyn(),
        &|| chunks(device.clone(), PoolConfig::default()).into_dyn(),
        &|| bins(device.clone(), PoolConfig::default()).into_dyn(),
        &|| {
            let below = arena(device.clone(), PoolConfig::default());
            let over = Chunks::new(below);
            Pool::new(over, PoolConfig::default()).unwrap().into_dyn()
        },
    ];
    for pool in pools {
        let stream = Stream::new(device.clone()).unwrap();
        let library = DeviceMemory::new(device.clone());
        let workspace = Mutex::new(Some(alloc(&library, 40 * MIB, &stream)));
        let on = stream.clone();
        let memory = pool().on_failure(move |_: &Failure<'_>| {
            let Some(block) = workspace.lock().unwrap().take() else { return Answer::GiveUp };
            free(&library, block, &on);
            Answer::Retry
        });
        free(&memory, alloc(&memory, 32 * MIB, &stream), &stream);
        drop((memory, stream));
        device.assert_clean();
        assert!(device.leaks().is_empty());
    }
}

#[test]
fn a_budget_below_a_pool_that_a_hook_raises_is_asked_again() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let budget = Budget::new(16 * MIB);
    let upstream = DeviceMemory::new(device.clone()).limited(budget.clone());
    let chunks = Chunks::new(upstream);
    let pool = Pool::new(chunks, PoolConfig::default()).unwrap();
    let memory = pool.on_failure(move |_: &Failure<'_>| {
        budget.set_limit(64 * MIB);
        Answer::Retry
    });
    free(&memory, alloc(&memory, 32 * MIB, &stream), &stream);
    drop((memory, stream));
    device.assert_clean();
    assert!(device.leaks().is_empty());
}

#[test]
fn a_request_asks_the_device_although_one_like_it_was_refused_just_now() {
    let device = SimDevice::new(64 * MIB);
    let pools: [&dyn Fn() -> Arc<dyn MemoryResource>; 2] =
        [&|| arena(device.clone(), PoolConfig::default()).into_dyn(), &|| {
            chunks(device.clone(), PoolConfig::default()).into_dyn()
        }];
    for pool in pools {
        let pool = pool();
        let stream = Stream::new(device.clone()).unwrap();
        let elsewhere = device.allocate(40 * MIB).unwrap();
        let error = pool.allocate_on(layout(32 * MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
        // SAFETY: contract, devices/handles and devices/pending-work: just allocated, never used.
        unsafe { device.free(elsewhere) }.unwrap();
        free(&pool, alloc(&pool, 32 * MIB, &stream), &stream);
    }
}

/// A request on one stream is refused for want of what only another thread can mark. That thread's
/// own request is not.
#[test]
fn what_one_thread_is_refused_another_may_get() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let home = Stream::per_thread_default(erased.clone());
    let [theirs, mine, capturing] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    // So that nobody synchronises the device instead.
    free(&pool, alloc(&pool, 256, &capturing), &capturing);
    let block = alloc(&pool, 8 * MIB, &home);
    keep_busy(&device, &block, &home);
    free(&pool, block, &home);
    device.begin_capture(&capturing).unwrap();
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| pool.allocate_on(layout(6 * MIB), &theirs).is_err()).join().unwrap()
    });
    assert!(refused, "only the thread of the default stream can mark it");
    let served = alloc(&pool, 6 * MIB, &mine);
    device.end_capture(&capturing).unwrap();
    free(&pool, served, &mine);
    drop((home, theirs, mine, capturing));
    finish(&device, pool);
}

/// Small bins took the room that is left; a free bin of the size asked for was refused after that,
/// as a request at least as large as one that had failed.
#[test]
fn a_bin_that_is_free_serves_its_size_after_a_smaller_one_was_refused() {
    let device = device();
    let (small, large) = (256, 128 << 10);
    let pool = bins(device.clone(), PoolConfig::default().with_ceiling(large + small));
    let [here, there] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let (freed, kept) = (alloc(&pool, large, &there), alloc(&pool, small, &here));
    device.begin_capture(&there).unwrap();
    free(&pool, freed, &there);
    assert!(
        pool.allocate_on(layout(small), &here).is_err(),
        "what is free is of a stream that captures"
    );
    device.end_capture(&there).unwrap();
    let served = alloc(&pool, large, &here);
    free(&pool, served, &here);
    free(&pool, kept, &here);
    drop((here, there));
    drop(pool);
    device.assert_clean();
    assert!(device.leaks().is_empty());
}
