//! Memory that no event covers: who gets it, when, and what says how much there is.

use std::sync::Arc;
use std::thread;

use vmem_core::author::StreamExt;
use vmem_core::{AllocErrorKind, Device, DriverCode, HandleError, ResourceExt, Stream};
use vmem_pool::{Batch, Growth, PoolConfig, RangeState};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    ArenaPool, MIB, alloc, arena, chunks, device, finish, free, keep_busy, layout, orphan,
    synchronize, touch,
};

fn of(megabytes: u64) -> (Arc<SimDevice>, Arc<ArenaPool>, Stream) {
    let device = device();
    let config = PoolConfig::default().with_ceiling(megabytes * MIB);
    let pool = Arc::new(arena(device.clone(), config));
    let stream = Stream::new(device.clone()).unwrap();
    (device, pool, stream)
}

fn end(device: &SimDevice, pool: Arc<ArenaPool>) {
    finish(device, Arc::into_inner(pool).unwrap());
}

#[test]
fn memory_freed_on_the_default_stream_of_an_ended_thread_is_nobodys_until_asked() {
    let (device, pool, stream) = of(8);
    let handle = pool.handle();
    let orphan = orphan(&device, &pool, 6 * MIB);
    assert!(orphan.is_orphaned());
    let before = device.calls().of(CallKind::Synchronize);
    let error = pool.allocate_on(layout(4 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    assert_eq!(error.report().unwrap().quarantined, 6 * MIB);
    assert!(error.to_string().contains("6291456 B in quarantine"), "{error}");
    assert_eq!(handle.trim_to(0).unwrap(), 0);
    assert_eq!(handle.try_trim(0).unwrap(), 0);
    assert_eq!(device.calls().of(CallKind::Synchronize), before, "nobody asked");
    assert_eq!(synchronize(&handle), 6 * MIB);
    assert_eq!(device.calls().of(CallKind::Synchronize) - before, 1);
    let block = alloc(&*pool, 8 * MIB, &stream);
    touch(&device, &block, &stream);
    free(&*pool, block, &stream);
    drop((orphan, stream));
    end(&device, pool);
}

#[test]
fn every_figure_says_how_much_is_in_quarantine() {
    let (device, pool, stream) = of(8);
    let handle = pool.handle();
    let figures = || {
        let quarantined = |range: &&vmem_pool::RangeInfo| range.state == RangeState::Quarantined;
        let ranges = handle.snapshot().unwrap().segments.into_iter().flat_map(|s| s.ranges);
        let ranges: Vec<_> = ranges.collect();
        [
            handle.counters().unwrap().quarantined,
            handle.capacity().unwrap().quarantined,
            ranges.iter().filter(quarantined).map(|range| range.size).sum(),
        ]
    };
    assert_eq!(figures(), [0; 3]);
    let with_handle = orphan(&device, &pool, 2 * MIB);
    assert_eq!(figures(), [2 * MIB; 3], "although a handle of the stream lives");
    drop(orphan(&device, &pool, 4 * MIB));
    assert_eq!(figures(), [6 * MIB; 3], "although no handle of the stream lives");
    let capacity = handle.capacity().unwrap();
    assert_eq!((capacity.largest_now, capacity.largest_after_trim), (0, Some(2 * MIB)));
    drop(with_handle);
    assert_eq!(figures(), [6 * MIB; 3]);
    assert_eq!(synchronize(&handle), 6 * MIB);
    assert_eq!(figures(), [0; 3]);
    drop(stream);
    end(&device, pool);
}

#[test]
fn what_a_living_thread_freed_on_its_default_stream_is_not_in_quarantine() {
    let (device, pool, stream) = of(8);
    let erased: Arc<dyn Device> = device.clone();
    let home = Stream::per_thread_default(erased.clone());
    free(&*pool, alloc(&*pool, 6 * MIB, &home), &home);
    let (pool_there, stream_there) = (pool.clone(), stream.clone());
    let refused =
        thread::spawn(move || pool_there.allocate_on(layout(8 * MIB), &stream_there).is_err());
    assert!(refused.join().unwrap(), "only this thread can mark its stream");
    assert_eq!(pool.handle().counters().unwrap().quarantined, 0);
    // The next call of the thread marks it, for whoever wanted it.
    let kept = alloc(&*pool, MIB, &home);
    let (pool_there, stream_there) = (pool.clone(), stream.clone());
    let served = thread::spawn(move || {
        let block = pool_there.allocate_on(layout(5 * MIB), &stream_there)?;
        free(&*pool_there, block, &stream_there);
        Ok::<_, vmem_core::AllocError>(())
    });
    served.join().unwrap().unwrap();
    free(&*pool, kept, &home);
    drop((home, stream));
    end(&device, pool);
}

/// As where one thread makes buffers for another: the last handle of the first one's stream goes where
/// nothing can be recorded on it, again and again.
#[test]
fn a_threads_next_default_stream_covers_what_was_freed_on_the_one_before() {
    let (device, pool, stream) = of(8);
    let erased: Arc<dyn Device> = device.clone();
    for _ in 0..8 {
        let home = Stream::per_thread_default(erased.clone());
        let block = alloc(&*pool, 6 * MIB, &home);
        touch(&device, &block, &home);
        let pool_there = pool.clone();
        thread::spawn(move || {
            free(&*pool_there, block, &home);
            drop(home);
        })
        .join()
        .unwrap();
    }
    let home = Stream::per_thread_default(erased.clone());
    free(&*pool, alloc(&*pool, MIB, &home), &home);
    assert_eq!(pool.handle().counters().unwrap().quarantined, 0);
    let block = alloc(&*pool, 8 * MIB, &stream);
    touch(&device, &block, &stream);
    free(&*pool, block, &stream);
    assert_eq!(device.calls().of(CallKind::Synchronize), 0);
    drop((home, stream));
    end(&device, pool);
}

/// The same, where the buffers were used on a stream of the second thread: that use is among what the
/// first one's stream had yet to wait for when its last handle went.
#[test]
fn a_threads_next_default_stream_waits_for_what_was_asked_of_the_one_before() {
    for seed in 0..8 {
        let device = crate::support::device_with_seed(seed);
        let config = PoolConfig::default().with_ceiling(8 * MIB);
        let pool = Arc::new(arena(device.clone(), config));
        let erased: Arc<dyn Device> = device.clone();
        let thief = Stream::new(device.clone()).unwrap();
        let home = Stream::per_thread_default(erased.clone());
        let block = alloc(&*pool, 6 * MIB, &home);
        let ready = home.marker().unwrap();
        let (pool_there, device_there) = (pool.clone(), device.clone());
        thread::spawn(move || {
            let user = Stream::new(device_there.clone()).unwrap();
            user.wait(&ready).unwrap();
            keep_busy(&device_there, &block, &user);
            home.wait(&user.marker().unwrap()).unwrap();
            free(&*pool_there, block, &home);
            drop(home);
        })
        .join()
        .unwrap();
        let home = Stream::per_thread_default(erased.clone());
        free(&*pool, alloc(&*pool, MIB, &home), &home);
        let block = alloc(&*pool, 8 * MIB, &thief);
        touch(&device, &block, &thief);
        free(&*pool, block, &thief);
        drop((home, thief));
        end(&device, pool);
    }
}

#[test]
fn memory_whose_marker_could_not_be_queried_is_shared_only_after_the_host_waited_for_it() {
    let device = device();
    let config = PoolConfig::default().with_batch(Batch::STRICT).with_ceiling(10 * MIB);
    let pool = arena(device.clone(), config);
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    free(&pool, alloc(&pool, 2 * MIB, &b), &b);
    let block = alloc(&pool, 4 * MIB, &a);
    let address = block.ptr();
    keep_busy(&device, &block, &a);
    free(&pool, block, &a);
    device.fail_call(Some(CallKind::QueryEvent), 1, DriverCode::UNKNOWN);
    let error = pool.allocate_on(layout(4 * MIB), &b).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    assert!(error.report().is_none(), "a fault is no exhaustion");
    device.clear_failures();
    // The stream's memory is passed by while there is other memory.
    assert_eq!(pool.handle().counters().unwrap().quarantined, 4 * MIB);
    let waits = [CallKind::WaitEvent, CallKind::SynchronizeEvent, CallKind::Synchronize];
    let before = device.calls();
    let fresh = alloc(&pool, 4 * MIB, &b);
    assert_ne!(fresh.ptr(), address);
    assert_eq!(waits.map(|kind| (device.calls() - before).of(kind)), [0; 3]);
    // The last resort.
    let before = device.calls();
    let freed = alloc(&pool, 4 * MIB, &b);
    assert_eq!(waits.map(|kind| (device.calls() - before).of(kind)), [0, 1, 0]);
    assert_eq!(pool.handle().counters().unwrap().quarantined, 0);
    assert_eq!(freed.ptr(), address);
    touch(&device, &freed, &b);
    free(&pool, freed, &b);
    free(&pool, fresh, &b);
    // From then on the stream is one like any other.
    let block = alloc(&pool, 8 * MIB, &a);
    keep_busy(&device, &block, &a);
    free(&pool, block, &a);
    let before = device.calls();
    let block = alloc(&pool, 8 * MIB, &b);
    touch(&device, &block, &b);
    let calls = device.calls() - before;
    assert_eq!((calls.of(CallKind::SynchronizeEvent), calls.of(CallKind::Synchronize)), (0, 0));
    free(&pool, block, &b);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn what_was_freed_on_a_stream_that_could_not_be_marked_at_its_end_is_in_quarantine() {
    let (device, pool, b) = of(8);
    let a = Stream::new(device.clone()).unwrap();
    let block = alloc(&*pool, 8 * MIB, &a);
    keep_busy(&device, &block, &a);
    free(&*pool, block, &a);
    device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    drop(a);
    device.clear_failures();
    let error = pool.allocate_on(layout(8 * MIB), &b).unwrap_err();
    assert_eq!(error.report().unwrap().quarantined, 8 * MIB);
    assert_eq!(synchronize(&pool.handle()), 8 * MIB);
    let block = alloc(&*pool, 8 * MIB, &b);
    touch(&device, &block, &b);
    free(&*pool, block, &b);
    drop(b);
    end(&device, pool);
}

#[test]
fn a_pool_that_ends_with_memory_in_quarantine_leaks_and_reports_it() {
    let (device, pool, stream) = of(8);
    let kept = alloc(&*pool, 2 * MIB, &stream);
    let orphan = orphan(&device, &pool, 6 * MIB);
    free(&*pool, kept, &stream);
    drop((orphan, stream));
    drop(pool);
    device.assert_clean();
    assert_eq!(device.calls().of(CallKind::Synchronize), 0);
    assert_eq!(device.used(), 6 * MIB, "the rest is returned");
    let failure = device.base().drop_failures().first().unwrap();
    assert!(failure.reason.contains("6291456 B leak"), "{failure}");
}

#[test]
fn a_device_that_cannot_be_waited_for_leaves_quarantine_as_it_is() {
    let (device, pool, stream) = of(8);
    let handle = pool.handle();
    let orphan = orphan(&device, &pool, 8 * MIB);
    device.fail_call(Some(CallKind::Synchronize), 1, DriverCode::UNKNOWN);
    assert!(matches!(handle.synchronize(), Err(HandleError::Failed(_))));
    device.clear_failures();
    assert_eq!(handle.counters().unwrap().quarantined, 8 * MIB);
    assert_eq!(synchronize(&handle), 8 * MIB);
    free(&*pool, alloc(&*pool, 8 * MIB, &stream), &stream);
    drop((orphan, stream));
    end(&device, pool);
    assert!(matches!(handle.synchronize(), Err(HandleError::Gone)));
}

#[test]
fn a_chunk_in_quarantine_is_not_counted_as_what_a_trim_returns() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(8 * MIB).with_growth(Growth::Exact);
    let pool = Arc::new(chunks(device.clone(), config));
    let handle = pool.handle();
    let orphan = orphan(&device, &pool, 6 * MIB);
    assert_eq!(handle.capacity().unwrap().largest_after_trim, Some(2 * MIB));
    handle.synchronize().unwrap();
    assert_eq!(handle.capacity().unwrap().largest_after_trim, Some(8 * MIB));
    drop(orphan);
    finish(&device, Arc::into_inner(pool).unwrap());
}
