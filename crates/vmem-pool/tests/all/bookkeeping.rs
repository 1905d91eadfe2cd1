//! What the pool remembers of its streams and of memory that failed to move: nothing too little,
//! which would race or lose memory, and nothing too much, which would cost driver calls.

use std::sync::Arc;

use vmem_core::{Block, Device, DriverCode, ResourceExt, Stream};
use vmem_pool::{Batch, PoolConfig};
use vmem_sim::CallKind;

use crate::support::{
    MIB, SMALL, alloc, arena, device, finish, free, free_all, keep_busy, layout, riddle, sim,
    tight, touch,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[test]
fn in_strict_mode_only_a_stream_among_others_marks_its_frees() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_batch(Batch::STRICT));
    let alone = Stream::new(device.clone()).unwrap();
    let marks = || {
        let before = device.calls().of(CallKind::RecordEvent);
        free(&pool, alloc(&pool, MIB, &alone), &alone);
        device.calls().of(CallKind::RecordEvent) - before
    };
    assert_eq!(marks(), 0, "no other stream has used the pool");
    let other = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, MIB, &other), &other);
    assert_eq!(marks(), 1);
    drop(other);
    pool.handle().trim_to(0).unwrap();
    free(&pool, alloc(&pool, MIB, &alone), &alone);
    assert_eq!(marks(), 0, "the other stream has gone and left nothing");
    drop(alone);
    finish(&device, pool);
}

#[test]
fn a_thread_marks_its_default_stream_for_a_thief_when_it_next_allocates() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let pool = Arc::new(arena(device.clone(), PoolConfig::default()));
    let home = Stream::per_thread_default(erased.clone());
    let (x, y) = (alloc(&*pool, 2 * MIB, &home), alloc(&*pool, 2 * MIB, &home));
    free(&*pool, x, &home);
    free(&*pool, y, &home);
    let (d, p) = (device.clone(), pool.clone());
    std::thread::spawn(move || {
        let thief = Stream::new(d).unwrap();
        // It cannot mark the other thread's stream, and so gets new memory.
        let block = alloc(&*p, 2 * MIB, &thief);
        free(&*p, block, &thief);
    })
    .join()
    .unwrap();
    let marks = || {
        let before = device.calls().of(CallKind::RecordEvent);
        let block = alloc(&*pool, 2 * MIB, &home);
        (device.calls().of(CallKind::RecordEvent) - before, block)
    };
    let (first, x) = marks();
    let (second, y) = marks();
    assert_eq!((first, second), (1, 0), "asked once, it marks once");
    free(&*pool, x, &home);
    free(&*pool, y, &home);
    drop(home);
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn the_rest_of_complete_memory_needs_no_marker_for_a_third_stream() {
    let device = device();
    let config = PoolConfig::default().with_batch(Batch::STRICT).with_ceiling(4 * MIB);
    let pool = arena(device.clone(), config);
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    free(&pool, alloc(&pool, 4 * MIB, &b), &b);
    let whole = alloc(&pool, 4 * MIB, &a);
    touch(&device, &whole, &a);
    free(&pool, whole, &a);
    a.synchronize().unwrap();
    let left = alloc(&pool, 2 * MIB, &b);
    let before = device.calls();
    let right = alloc(&pool, 2 * MIB, &c);
    let calls = device.calls() - before;
    assert_eq!((calls.of(CallKind::RecordEvent), calls.of(CallKind::WaitEvent)), (0, 0));
    assert_eq!(device.used(), 4 * MIB);
    free(&pool, left, &b);
    free(&pool, right, &c);
    drop((a, b, c));
    finish(&device, pool);
}

#[test]
fn the_rest_of_pending_memory_is_waited_for_by_a_third_stream_too() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(4 * MIB);
    let pool = arena(device.clone(), config);
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let whole = alloc(&pool, 4 * MIB, &a);
    keep_busy(&device, &whole, &a);
    free(&pool, whole, &a);
    let left = alloc(&pool, 2 * MIB, &b);
    let right = alloc(&pool, 2 * MIB, &c);
    touch(&device, &right, &c);
    c.synchronize().unwrap();
    device.assert_clean();
    free(&pool, left, &b);
    free(&pool, right, &c);
    drop((a, b, c));
    finish(&device, pool);
}

#[test]
fn of_equal_blocks_a_thief_takes_the_one_marked_first() {
    let device = device();
    let config = PoolConfig::default().with_batch(Batch::STRICT).with_ceiling(12 * MIB);
    let pool = arena(device.clone(), config);
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let (x, gap, y) =
        (alloc(&pool, 4 * MIB, &a), alloc(&pool, 4 * MIB, &c), alloc(&pool, 4 * MIB, &b));
    let early = y.ptr();
    keep_busy(&device, &y, &b);
    free(&pool, y, &b);
    keep_busy(&device, &x, &a);
    free(&pool, x, &a);
    let stolen = alloc(&pool, 4 * MIB, &c);
    assert_eq!(stolen.ptr(), early);
    free(&pool, stolen, &c);
    free(&pool, gap, &c);
    drop((a, b, c));
    finish(&device, pool);
}

#[test]
fn what_trimming_left_of_a_window_shows_what_it_showed_there() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    let large = alloc(&pool, 4 * G, &stream);
    free(&pool, large, &stream);
    let [whole] = &pool.handle().snapshot().unwrap().windows[..] else { panic!("one window") };
    device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    assert!(pool.handle().trim_to(0).is_err());
    device.clear_failures();
    let snapshot = pool.handle().snapshot().unwrap();
    let [rest] = &snapshot.windows[..] else { panic!("{:?}", snapshot.windows) };
    assert_eq!((rest.start.get(), rest.size), (whole.start.get() + G, 3 * G));
    assert_eq!(rest.homes, whole.homes[1..]);
    assert_eq!(snapshot.counters.aliased, 3 * G);
    free_all(&pool, kept, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().aliased), (0, 0));
    drop(stream);
    finish(&device, pool);
}

#[test]
fn new_memory_of_a_window_that_could_not_be_undone_serves_at_home() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), tight().with_ceiling(9 * G));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    // The new granule at home is made accessible, the window is not, and stays mapped.
    device.fail_call(Some(CallKind::SetAccess), 2, DriverCode::UNKNOWN);
    device.fail_call(Some(CallKind::Unmap), 1, DriverCode::UNKNOWN);
    assert!(pool.allocate_on(layout(5 * G), &stream).is_err());
    device.clear_failures();
    let [left] = &pool.handle().snapshot().unwrap().windows[..] else { panic!("one window") };
    let before = device.calls();
    let small: Vec<Block> = (0..5).map(|_| alloc(&pool, G, &stream)).collect();
    assert_eq!((device.calls() - before).total(), 0, "all five are mapped and free");
    free_all(&pool, small, &stream);
    // The addresses that the driver kept mapped are not used again.
    let large = alloc(&pool, 5 * G, &stream);
    assert!(large.ptr().get() >= left.start.get() + left.size);
    touch(&device, &large, &stream);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().reserved), (0, 0));
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_window_is_not_made_of_less_memory_than_it_is_long() {
    let device = sim(16, 32);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 16, &stream);
    assert!(pool.allocate_on(layout(9 * G), &stream).is_err(), "eight granules are free");
    let large = alloc(&pool, 8 * G, &stream);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}
