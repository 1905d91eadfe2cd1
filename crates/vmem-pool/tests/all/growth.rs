//! How much is taken and returned at a time, and what is kept when the driver fails half way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmem_core::{
    AllocErrorKind, BlockLayout, Clock, Device, DriverCode, EventKind, EventSink, ManualClock,
    MemoryEvent, ResourceExt, Rung, Stream,
};
use vmem_pool::{Growth, PoolConfig, RangeState, Release};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    MIB, SMALL, alloc, arena, chunks, device, device_with_seed, finish, free, free_all, keep_busy,
    layout, on_both, riddle, sim, tight, touch,
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
        assert_eq!((device.used(), pool.handle().counters().unwrap().moves), (14 * G, 0));
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

    let device = sim(16, 64);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), config);
    let kept = alloc(&pool, 12 * G, &stream);
    let before = device.calls().of(CallKind::Create);
    assert!(pool.alloc(layout(5 * G), &stream).is_err());
    let created = device.calls().of(CallKind::Create) - before;
    assert_eq!(created, 2 * 5, "four granules are left; tried once at home and once in a window");
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
    // Looking at what is complete changes nothing for what is not.
    pool.handle().try_trim(u64::MAX).unwrap();
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
        assert_eq!(pool.handle().find(other.ptr()), Some(other.raw()));
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
    assert_eq!(pool.handle().capacity().unwrap().largest_now, 0);
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

#[test]
fn chunks_returned_for_a_request_are_told_and_reported() {
    let events = Arc::new(Events::default());
    let sink: Arc<dyn EventSink> = events.clone();
    let device = device();
    let config = PoolConfig {
        ceiling: Some(12 * MIB),
        growth: Some(Growth::Exact),
        sink: Some(sink),
        ..Default::default()
    };
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, kept] = [4 * MIB, 2 * MIB, 4 * MIB].map(|size| alloc(&pool, size, &stream));
    free(&pool, b, &stream);
    pool.handle().trim_to(0).unwrap();
    free(&pool, a, &stream);
    // Marks what was freed and waits for it, and returns nothing.
    pool.handle().trim_to(u64::MAX).unwrap();
    let error = pool.alloc(layout(9 * MIB), &stream).unwrap_err();
    let rungs = &error.report().unwrap().rungs;
    let trim = rungs.iter().find(|rung| rung.rung == Rung::Trim).unwrap();
    assert_eq!(trim.freed, 4 * MIB);
    let large = alloc(&pool, 8 * MIB, &stream);
    let told: Vec<EventKind> = events.0.lock().unwrap().iter().map(|event| event.kind).collect();
    let told: Vec<u64> = told
        .into_iter()
        .filter_map(|kind| if let EventKind::Trim { bytes } = kind { Some(bytes) } else { None })
        .collect();
    assert_eq!(told, [2 * MIB, 4 * MIB]);
    free(&pool, large, &stream);
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
        let error = pool.alloc(layout(MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
        assert!(error.report().is_none());
        device.clear_failures();
        free(pool, alloc(pool, MIB, &stream), &stream);
    });
}

#[test]
fn what_a_host_wait_makes_complete_serves_the_request() {
    for seed in 0..16 {
        let device = device_with_seed(seed);
        let config = PoolConfig {
            ceiling: Some(8 * MIB),
            growth: Some(Growth::Exact),
            host_wait: Some(Duration::from_secs(3600)),
            clock: Arc::new(Ticking::default()),
            ..Default::default()
        };
        let pool = chunks(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let [a, b] = [(); 2].map(|()| alloc(&pool, 4 * MIB, &stream));
        keep_busy(&device, &b, &stream);
        free(&pool, a, &stream);
        free(&pool, b, &stream);
        free(&pool, alloc(&pool, 8 * MIB, &stream), &stream);
        drop(stream);
        finish(&device, pool);
    }
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
    assert_eq!(homes, [1, 1, 2]);
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
fn of_a_window_that_could_not_be_undone_the_part_that_was_serves_again() {
    let device = sim(16, 64);
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    device.fail_call(Some(CallKind::SetAccess), 1, DriverCode::UNKNOWN);
    device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    assert!(pool.alloc(layout(4 * G), &stream).is_err());
    device.clear_failures();
    pool.handle().check_invariants();
    let [left] = &pool.handle().snapshot().unwrap().windows[..] else { panic!("one window") };
    assert_eq!(left.size, 3 * G, "the first of four granules was undone");
    let large = alloc(&pool, 4 * G, &stream);
    let (start, end) = (left.start.get(), left.start.get() + left.size);
    assert!(large.ptr().get() >= end || large.ptr().get() + 4 * G <= start);
    touch(&device, &large, &stream);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().aliased), (0, 0));
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
    assert!(pool.alloc(layout(2 * G), &stream).is_err(), "nothing can move");
    free_all(&pool, kept, &stream);
    free(&pool, alloc(&pool, 16 * G, &stream), &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn growth_goes_over_free_memory_and_holes_in_turn_where_that_takes_the_least() {
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
    // Hole of two, free, hole, free, block: downwards from the end.
    assert_eq!(fresh([2, 1, 1, 1, 1], [0, 2], [1, 3], 4 * G + 256), 2);
    // Block, free, hole, free, hole of two and all that follows: upwards from the start.
    assert_eq!(fresh([1, 1, 1, 1, 1], [2, 4], [1, 3], 3 * G + 256), 2);
}

#[test]
fn growth_below_free_memory_keeps_to_the_alignment() {
    let device = sim(32, 256);
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, c] = [4 * G, 2 * G, G].map(|size| alloc(&pool, size, &stream));
    let base = a.ptr().get();
    free(&pool, a, &stream);
    pool.handle().trim_to(0).unwrap();
    free(&pool, b, &stream);
    let wanted = BlockLayout::with_alignment(3 * G, 2 * G).unwrap();
    let block = pool.alloc(wanted, &stream).unwrap();
    assert_eq!((block.ptr().get(), device.used()), (base + 2 * G, 5 * G));
    free(&pool, block, &stream);
    free(&pool, c, &stream);
    drop(stream);
    finish(&device, pool);
}
