//! How much is taken and returned at a time, and what is kept when the driver fails half way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmem_core::{
    AllocErrorKind, Clock, Device, DriverCode, EventKind, EventSink, ManualClock, MemoryEvent,
    ResourceExt, Rung, Stream,
};
use vmem_pool::{Growth, PoolConfig, RangeState, Release};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    MIB, SMALL, alloc, arena, chunks, device, finish, free, free_all, keep_busy, layout, on_both,
    riddle, sim, tight, touch,
};

/// One granule of the small devices.
const G: u64 = SMALL;

#[test]
fn an_arena_takes_what_its_policy_says() {
    let reserved_after = |growth, sizes: &[u64]| {
        let device = sim(64, 512);
        let config = PoolConfig { growth: Some(growth), ..Default::default() };
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
        let config = PoolConfig { ceiling, growth: Some(growth), ..Default::default() };
        let pool = arena(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let first = alloc(&pool, 10 * G, &stream);
        let second = alloc(&pool, 4 * G, &stream);
        assert_eq!(device.used(), 14 * G);
        free(&pool, first, &stream);
        free(&pool, second, &stream);
        drop(stream);
        finish(&device, pool);
    }
}

#[test]
fn a_growth_of_exactly_what_is_needed_is_tried_once() {
    let config = PoolConfig { growth: Some(Growth::Exact), ..Default::default() };
    let device = SimDevice::new(20 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = chunks(device.clone(), config.clone());
    let kept = alloc(&pool, 12 * MIB, &stream);
    let before = device.calls().of(CallKind::Allocate);
    let error = pool.alloc(layout(9 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    assert_eq!(device.calls().of(CallKind::Allocate) - before, 1);
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);

    let device = sim(16, 16);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), config);
    let kept = alloc(&pool, 12 * G, &stream);
    let before = device.calls().of(CallKind::Create);
    assert!(pool.alloc(layout(5 * G), &stream).is_err());
    let created = device.calls().of(CallKind::Create) - before;
    assert!(created <= 5, "{created} calls for four granules that are left");
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[derive(Debug, Default)]
struct Events(Mutex<Vec<MemoryEvent>>);

impl EventSink for Events {
    fn event(&self, event: &MemoryEvent) {
        self.0.lock().unwrap().push(*event);
    }
}

#[test]
fn growth_moves_and_trims_are_told_and_counted_to_the_byte() {
    let events = Arc::new(Events::default());
    let sink: Arc<dyn EventSink> = events.clone();
    let device = sim(64, 512);
    let pool = arena(device.clone(), PoolConfig { sink: Some(sink), ..tight() });
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    // Three of the four free granules and more.
    let large = alloc(&pool, 5 * G, &stream);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    let half = pool.handle().trim_to(4 * G).unwrap();
    let rest = pool.handle().trim_to(0).unwrap();
    assert_eq!(pool.handle().trim_to(0).unwrap(), 0, "nothing is left, and nothing told");
    let counters = pool.handle().counters().unwrap();
    assert_eq!(
        (half, rest, counters.bytes_grown, counters.bytes_trimmed),
        (5 * G, 4 * G, 9 * G, 9 * G)
    );
    assert_eq!((counters.peak_reserved, counters.reserved), (9 * G, 0));
    assert_eq!((counters.moves, counters.bytes_moved), (1, 4 * G));
    let seen = events.0.lock().unwrap().clone();
    let told: Vec<EventKind> = seen
        .iter()
        .map(|event| event.kind)
        .filter(|kind| !matches!(kind, EventKind::Allocate { .. } | EventKind::Free { .. }))
        .collect();
    let mut expected = vec![EventKind::Growth { bytes: G }; 8];
    expected.extend([
        EventKind::Move { bytes: 4 * G },
        EventKind::Growth { bytes: G },
        EventKind::Trim { bytes: 5 * G },
        EventKind::Trim { bytes: 4 * G },
    ]);
    assert_eq!(told, expected);
    drop(stream);
    finish(&device, pool);
}

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
    let pool = arena(device.clone(), PoolConfig { ceiling: Some(4 * G), ..Default::default() });
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
fn short_of_addresses_memory_is_taken_rather_than_waited_for() {
    let device = sim(32, 64);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 16, &stream);
    // Windows of every length, which use up the addresses for them; work is pending in each.
    for granules in [8, 7, 6, 5, 4] {
        let block = alloc(&pool, granules * G, &stream);
        keep_busy(&device, &block, &stream);
        free(&pool, block, &stream);
    }
    let before = device.calls();
    let block = alloc(&pool, 3 * G, &stream);
    let calls = device.calls() - before;
    assert_eq!(calls.of(CallKind::SynchronizeEvent), 0);
    free(&pool, block, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

/// A clock that goes on by itself, a millisecond each time it is read.
#[derive(Debug, Default)]
struct Ticking(ManualClock);

impl Clock for Ticking {
    fn now(&self) -> Duration {
        self.0.advance(Duration::from_millis(1));
        self.0.now()
    }
}

#[test]
fn a_host_wait_ends_when_the_work_does() {
    let device = device();
    let clock = Ticking::default();
    let time = clock.0.clone();
    let config = PoolConfig {
        ceiling: Some(12 * MIB),
        growth: Some(Growth::Exact),
        host_wait: Some(Duration::from_secs(3600)),
        clock: Arc::new(clock),
        ..Default::default()
    };
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, kept] = [(); 3].map(|()| alloc(&pool, 4 * MIB, &stream));
    keep_busy(&device, &b, &stream);
    free(&pool, a, &stream);
    free(&pool, b, &stream);
    // What the wait makes usable is told even if it is not enough.
    let error = pool.alloc(layout(9 * MIB), &stream).unwrap_err();
    let rungs = &error.report().unwrap().rungs;
    let waited = rungs.iter().find(|rung| rung.rung == Rung::HostWait);
    assert!(waited.is_none_or(|rung| rung.freed <= 8 * MIB), "{rungs:?}");
    free(&pool, alloc(&pool, 8 * MIB, &stream), &stream);
    assert!(time.now() < Duration::from_secs(3000));
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_host_wait_ends_when_its_time_is_over() {
    const LIMIT: Duration = Duration::from_millis(50);
    let device = device();
    let clock = Ticking::default();
    let time = clock.0.clone();
    let config = PoolConfig {
        ceiling: Some(8 * MIB),
        host_wait: Some(LIMIT),
        clock: Arc::new(clock),
        ..Default::default()
    };
    let pool = Arc::new(arena(device.clone(), config));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = alloc(&*pool, 2 * MIB, &stream);
    // Nobody can mark the stream of a thread that ended, so its work is pending for all that the
    // pool can tell.
    let orphan = {
        let (device, pool) = (device.clone(), pool.clone());
        std::thread::spawn(move || {
            let erased: Arc<dyn Device> = device.clone();
            let home = Stream::per_thread_default(&erased);
            let block = alloc(&*pool, 6 * MIB, &home);
            touch(&device, &block, &home);
            free(&*pool, block, &home);
            home
        })
        .join()
        .unwrap()
    };
    let before = time.now();
    let error = pool.alloc(layout(7 * MIB), &stream).unwrap_err();
    let took = time.now() - before;
    assert!(took >= LIMIT && took < 2 * LIMIT, "{took:?}");
    let rungs = &error.report().unwrap().rungs;
    let freed = |wanted| rungs.iter().find(|rung| rung.rung == wanted).map(|rung| rung.freed);
    assert_eq!(freed(Rung::HostWait), Some(0));
    assert_eq!(freed(Rung::DeviceSync), Some(6 * MIB));
    free(&*pool, kept, &stream);
    drop((orphan, stream));
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn a_free_within_the_bounds_of_what_is_kept_makes_no_driver_call() {
    let device = device();
    let release = Some(Release { threshold: 0, age: Duration::ZERO });
    let pool = arena(device.clone(), PoolConfig { release, ..Default::default() });
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
    let config =
        PoolConfig { ceiling: Some(16 * MIB), growth: Some(Growth::Exact), ..Default::default() };
    let pool = chunks(device.clone(), config);
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
        let error = pool.alloc(layout(1 << 40), &stream).unwrap_err();
        let report = error.report().unwrap();
        assert_eq!((report.largest_free, report.ceiling), (2 * MIB, None));
        assert_eq!((error.resource(), report.rounded), ("Pool", 1 << 40));
        free(pool, live, &stream);
    });
}
