//! Streams that end, and threads that end before their streams.

use std::sync::Arc;
use std::thread;

use vmem_core::{AllocErrorKind, Device, MemoryResource, ResourceExt, Stream};
use vmem_pool::PoolConfig;

use crate::support::{MIB, alloc, arena, device, finish, free, layout, on_both, touch};

#[test]
fn a_dropped_streams_memory_is_reused_behind_its_last_work() {
    on_both(&PoolConfig::default().with_ceiling(8 * MIB), |device, pool, _| {
        let first = Stream::new(device.clone()).unwrap();
        let block = alloc(pool, 8 * MIB, &first);
        touch(device, &block, &first);
        free(pool, block, &first);
        drop(first);
        let second = Stream::new(device.clone()).unwrap();
        let block = alloc(pool, 8 * MIB, &second);
        touch(device, &block, &second);
        free(pool, block, &second);
        second.synchronize().unwrap();
    });
}

#[test]
fn a_retired_stream_gets_no_memory_but_can_still_free() {
    on_both(&PoolConfig::default(), |device, pool, _| {
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(pool, MIB, &stream);
        touch(device, &block, &stream);
        stream.retire().unwrap();
        let error = pool.allocate_on(layout(MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::InvalidStream);
        free(pool, block, &stream);
        let other = Stream::new(device.clone()).unwrap();
        let block = alloc(pool, MIB, &other);
        touch(device, &block, &other);
        free(pool, block, &other);
        other.synchronize().unwrap();
    });
}

#[test]
fn a_stream_retired_between_two_frees_is_handled_each_time() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let (a, b, c) =
        (alloc(&pool, MIB, &stream), alloc(&pool, MIB, &stream), alloc(&pool, MIB, &stream));
    free(&pool, a, &stream);
    stream.retire().unwrap();
    free(&pool, b, &stream);
    free(&pool, c, &stream);
    pool.handle().check_invariants();
    assert_eq!(pool.handle().trim_to(0).unwrap(), 4 * MIB);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn thousands_of_short_streams_leave_no_state_behind() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    for i in 0..2000 {
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(&pool, 1 + i * 100, &stream);
        free(&pool, block, &stream);
    }
    assert!(device.used() <= 4 * MIB, "each stream reuses what the ones before it freed");
    assert!(device.leaks().events < 100, "{:?}", device.leaks());
    finish(&device, pool);
}

#[test]
fn blocks_freed_for_a_thread_by_another_wait_for_what_that_one_asked() {
    // The other thread cannot queue on this thread's default stream; its wait is queued by the
    // next call of this thread, before the block is handed out again.
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let pool = Arc::new(arena(device.clone(), PoolConfig::default()));
    let home = Stream::per_thread_default(erased.clone());
    let block = alloc(&*pool, 4 * MIB, &home);
    let address = block.ptr();
    home.synchronize().unwrap();
    {
        let (device, pool, home) = (device.clone(), pool.clone(), home.clone());
        thread::spawn(move || {
            let user = Stream::new(device.clone()).unwrap();
            touch(&device, &block, &user);
            home.wait(&user.marker().unwrap()).unwrap();
            free(&*pool, block, &home);
        })
        .join()
        .unwrap();
    }
    let again = alloc(&*pool, 4 * MIB, &home);
    assert_eq!(again.ptr(), address);
    touch(&device, &again, &home);
    free(&*pool, again, &home);
    home.synchronize().unwrap();
    drop(home);
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn another_devices_stream_is_refused() {
    let (here, there) = (device(), device());
    let pool = arena(here.clone(), PoolConfig::default());
    let stranger = Stream::new(there).unwrap();
    let error = pool.allocate_on(layout(1), &stranger).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::InvalidStream);
    let stream = Stream::new(here.clone()).unwrap();
    let block = alloc(&pool, 1, &stream);
    // SAFETY: contract, freeing: no work was queued on the block; the stream is wrong on purpose.
    let error = unsafe { pool.deallocate(block, &stranger) }.unwrap_err();
    free(&pool, error.into_block(), &stream);
    drop(stream);
    finish(&here, pool);
}
