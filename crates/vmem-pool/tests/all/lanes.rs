//! What a pool knows of each stream's work, and what it does where it cannot know.

use std::sync::Arc;
use std::thread;

use vmem_core::author::StreamExt;
use vmem_core::{AllocErrorKind, Device, ResourceExt, Stream};
use vmem_pool::{Batch, Chunks, Growth, Pool, PoolConfig};
use vmem_sim::{CallKind, SimConfig, SimDevice};

use crate::support::{
    MIB, SMALL, alloc, arena, device, finish, free, free_all, keep_busy, layout, orphan, riddle,
    sim, synchronize, tight, touch,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[test]
fn what_is_freed_while_the_device_is_waited_for_is_pending_afterwards() {
    // Ended threads leave memory that only a synchronisation of the device makes usable. What a
    // living stream freed later than that is not covered by it.
    let device = device();
    let config = PoolConfig::default().with_ceiling(12 * MIB);
    let pool = Arc::new(arena(device.clone(), config));
    let a = Stream::new(device.clone()).unwrap();
    let later = alloc(&*pool, 4 * MIB, &a);
    let orphan = orphan(&device, &pool, 8 * MIB);
    let b = Stream::new(device.clone()).unwrap();
    assert_eq!(synchronize(&pool.handle()), 8 * MIB);
    let block = alloc(&*pool, 8 * MIB, &b);
    keep_busy(&device, &later, &a);
    free(&*pool, later, &a);
    let marks = device.calls().of(CallKind::RecordEvent);
    let stolen = alloc(&*pool, 4 * MIB, &b);
    assert_eq!(device.calls().of(CallKind::RecordEvent) - marks, 1);
    touch(&device, &stolen, &b);
    free(&*pool, stolen, &b);
    free(&*pool, block, &b);
    b.synchronize().unwrap();
    drop((orphan, a, b));
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn memory_freed_before_the_device_was_waited_for_needs_no_further_wait() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(12 * MIB);
    let pool = Arc::new(arena(device.clone(), config));
    let a = Stream::new(device.clone()).unwrap();
    let early = alloc(&*pool, 4 * MIB, &a);
    touch(&device, &early, &a);
    free(&*pool, early, &a);
    let orphan = orphan(&device, &pool, 8 * MIB);
    let b = Stream::new(device.clone()).unwrap();
    assert_eq!(synchronize(&pool.handle()), 8 * MIB);
    let large = alloc(&*pool, 8 * MIB, &b);
    let before = device.calls();
    let small = alloc(&*pool, 4 * MIB, &b);
    let calls = device.calls() - before;
    let waits = [CallKind::RecordEvent, CallKind::WaitEvent, CallKind::Synchronize];
    assert_eq!(waits.map(|kind| calls.of(kind)), [0; 3]);
    touch(&device, &small, &b);
    free(&*pool, small, &b);
    free(&*pool, large, &b);
    b.synchronize().unwrap();
    drop((orphan, a, b));
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn the_rest_of_joined_memory_is_pending_if_its_owners_work_is() {
    // `b` is done with the lower half, `a` is not with the upper; what is left is of the upper.
    let device = device();
    let config = PoolConfig::default().with_batch(Batch::STRICT).with_ceiling(8 * MIB);
    let pool = arena(device.clone(), config);
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let whole = alloc(&pool, 8 * MIB, &b);
    free(&pool, whole, &b);
    let low = alloc(&pool, 4 * MIB, &b);
    let high = alloc(&pool, 4 * MIB, &a);
    free(&pool, low, &b);
    b.synchronize().unwrap();
    keep_busy(&device, &high, &a);
    free(&pool, high, &a);
    let joined = alloc(&pool, 6 * MIB, &a);
    assert_eq!(pool.handle().counters().unwrap().merges, 1);
    let rest = alloc(&pool, 2 * MIB, &c);
    touch(&device, &rest, &c);
    c.synchronize().unwrap();
    device.assert_clean();
    free(&pool, rest, &c);
    free(&pool, joined, &a);
    drop((a, b, c));
    finish(&device, pool);
}

#[test]
fn a_capturing_streams_memory_is_not_joined_with_others_while_more_can_be_taken() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let whole = alloc(&pool, 8 * MIB, &b);
    free(&pool, whole, &b);
    let low = alloc(&pool, 4 * MIB, &b);
    let high = alloc(&pool, 4 * MIB, &a);
    free(&pool, low, &b);
    keep_busy(&device, &high, &a);
    free(&pool, high, &a);
    device.begin_capture(&a).unwrap();
    let block = alloc(&pool, 8 * MIB, &c);
    device.end_capture(&a).unwrap();
    assert_eq!(pool.handle().counters().unwrap().merges, 0);
    touch(&device, &block, &c);
    free(&pool, block, &c);
    drop((a, b, c));
    finish(&device, pool);
}

#[test]
fn a_request_for_another_threads_default_stream_waits_on_the_host_rather_than_fail() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let config = PoolConfig::default().with_ceiling(8 * MIB);
    let pool = Arc::new(arena(device.clone(), config));
    let other = Stream::new(device.clone()).unwrap();
    let block = alloc(&*pool, 8 * MIB, &other);
    keep_busy(&device, &block, &other);
    free(&*pool, block, &other);
    let home = Stream::per_thread_default(erased.clone());
    let before = device.calls();
    let block = {
        let (pool, home) = (pool.clone(), home.clone());
        thread::spawn(move || pool.allocate_on(layout(8 * MIB), &home)).join().unwrap().unwrap()
    };
    let calls = device.calls() - before;
    let waits = [CallKind::WaitEvent, CallKind::SynchronizeEvent, CallKind::Synchronize];
    assert_eq!(waits.map(|kind| calls.of(kind)), [0, 1, 0]);
    assert!(!home.has_pending_waits());
    free(&*pool, block, &home);
    drop((home, other));
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn a_full_batch_of_a_threads_default_stream_is_others_before_they_ever_asked() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let config = PoolConfig::default().with_ceiling(8 * MIB).with_batch(Batch::new(2, u64::MAX));
    let pool = Arc::new(arena(device.clone(), config));
    let other = Stream::new(device.clone()).unwrap();
    free(&*pool, alloc(&*pool, MIB, &other), &other);
    let home = Stream::per_thread_default(erased);
    let blocks = [(); 2].map(|()| alloc(&*pool, 4 * MIB, &home));
    for block in blocks {
        touch(&device, &block, &home);
        free(&*pool, block, &home);
    }
    let allocated = {
        let (pool, other) = (pool.clone(), other.clone());
        thread::spawn(move || pool.allocate_on(layout(8 * MIB), &other)).join().unwrap()
    };
    free(&*pool, allocated.unwrap(), &other);
    drop((home, other));
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn after_a_move_streams_are_forgotten_as_before() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 16, &stream);
    let moved = alloc(&pool, 8 * G, &stream);
    assert_eq!(pool.handle().counters().unwrap().moves, 1);
    assert!(pool.allocate_on(layout(4 * G), &stream).is_err());
    free(&pool, moved, &stream);
    for _ in 0..200 {
        let short = Stream::new(device.clone()).unwrap();
        free(&pool, alloc(&pool, 8 * G, &short), &short);
    }
    assert!(device.leaks().events < 100, "{:?}", device.leaks());
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_a_stream_left_is_complete_once_its_end_was_waited_for() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 4 * MIB, &stream);
    keep_busy(&device, &block, &stream);
    free(&pool, block, &stream);
    stream.retire().unwrap();
    stream.synchronize().unwrap();
    assert_eq!(pool.handle().try_trim(0).unwrap(), 4 * MIB);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn every_marker_wait_and_completion_is_counted() {
    let device = device();
    let config = PoolConfig::default().with_batch(Batch::STRICT).with_ceiling(8 * MIB);
    let pool = arena(device.clone(), config);
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    free(&pool, alloc(&pool, 8 * MIB, &b), &b);
    for round in 0..4 {
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let block = alloc(&pool, 8 * MIB, from);
        keep_busy(&device, &block, from);
        free(&pool, block, from);
        if round < 2 {
            from.synchronize().unwrap();
        }
        free(&pool, alloc(&pool, 8 * MIB, to), to);
    }
    let counters = pool.handle().counters().unwrap();
    assert_eq!(counters.markers, device.calls().of(CallKind::RecordEvent));
    // Once both have taken from each other, a wait is not asked for first.
    assert!(counters.completed >= 1 && counters.waits >= 2, "{counters:?}");
    assert_eq!(counters.completed + counters.waits, 5);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn the_rest_of_stream_ordered_memory_is_its_streams_and_others_wait_for_that() {
    let device = device();
    let upstream = vmem_core::AsyncMemory::new(device.clone()).unwrap();
    let config = PoolConfig::default().with_growth(Growth::AtLeast(8 * MIB));
    let pool = Pool::new(Chunks::new(upstream), config).unwrap();
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let first = alloc(&pool, 2 * MIB, &a);
    keep_busy(&device, &first, &a);
    let before = device.calls();
    let second = alloc(&pool, 2 * MIB, &b);
    let calls = device.calls() - before;
    assert_eq!((calls.of(CallKind::RecordEvent), calls.of(CallKind::AsyncAllocate)), (1, 0));
    touch(&device, &second, &b);
    free(&pool, first, &a);
    free(&pool, second, &b);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn addresses_that_an_ended_stream_used_last_stay_mapped_until_its_work_is_done() {
    (0..40).for_each(end_a_stream_and_want_its_addresses);
}

/// Nothing of the ended stream's is left but addresses that its work is pending on; the stream that
/// comes next, which is idle, must not be taken for it.
fn end_a_stream_and_want_its_addresses(seed: u64) {
    let config = SimConfig {
        capacity: 32 * G,
        granularity: G,
        max_reservation: Some(64 * G),
        seed,
        ..Default::default()
    };
    let device = SimDevice::with_config(config).unwrap();
    let pool = arena(device.clone(), tight().with_ceiling(17 * G));
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let kept = riddle(&pool, G, 16, &b);
    b.synchronize().unwrap();
    for granules in [8, 7, 6, 5, 4] {
        let block = alloc(&pool, granules * G, &a);
        keep_busy(&device, &block, &a);
        free(&pool, block, &a);
    }
    let all = alloc(&pool, 8 * G, &b);
    assert_eq!(device.used(), 16 * G, "the memory changed hands");
    drop(a);
    let next = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, G, &next), &next);
    pool.handle().try_trim(u64::MAX).unwrap();
    next.synchronize().unwrap();
    free(&pool, all, &b);
    let block = alloc(&pool, 3 * G, &b);
    touch(&device, &block, &b);
    device.assert_clean();
    free(&pool, block, &b);
    free_all(&pool, kept, &b);
    drop((b, next));
    finish(&device, pool);
}

/// Found by mutation testing: waiting for the whole device broke the capture of a stream that the
/// request had nothing to do with, and the refusal was then remembered beyond the capture's end.
#[test]
fn a_capturing_streams_memory_is_joined_with_nothing_and_holds_nobody_up() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let (x, y) = (alloc(&pool, 3 * MIB, &a), alloc(&pool, 5 * MIB, &b));
    keep_busy(&device, &x, &a);
    keep_busy(&device, &y, &b);
    free(&pool, x, &a);
    free(&pool, y, &b);
    device.begin_capture(&a).unwrap();
    let error = pool.allocate_on(layout(8 * MIB), &c).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    device.end_capture(&a).unwrap();
    let both = alloc(&pool, 8 * MIB, &c);
    touch(&device, &both, &c);
    free(&pool, both, &c);
    drop((a, b, c));
    finish(&device, pool);
}
