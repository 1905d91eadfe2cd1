//! Physical memory that moves to where contiguous room is needed.

use std::sync::{Arc, Mutex};

use vmem_core::{
    AllocErrorKind, Block, BlockLayout, DriverCode, MemoryEvent, MemoryEventKind, MemoryObserver,
    ResourceExt, Stream,
};
use vmem_pool::{PoolConfig, RangeState, VirtualArena};
use vmem_sim::{CallKind, SimConfig, SimDevice};

use crate::support::{
    MIB, SMALL, alloc, arena, device, finish, free, free_all, keep_busy, layout, lazy, riddle, sim,
    tight, touch,
};

/// One granule.
const G: u64 = 2 * MIB;

fn capped(granules: u64) -> PoolConfig {
    PoolConfig::default().with_ceiling(granules * G)
}

#[test]
fn a_request_fits_that_needs_all_the_addresses_there_are() {
    // The driver reserves twice the memory there is: as many addresses for aliases as memory.
    let device = sim(8, 16);
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks: Vec<Block> = (0..8).map(|_| alloc(&pool, SMALL, &stream)).collect();
    [2, 0].into_iter().for_each(|index| free(&pool, blocks.remove(index), &stream));
    let moved = alloc(&pool, 2 * SMALL, &stream);
    free_all(&pool, blocks, &stream);
    assert_eq!(pool.handle().capacity().unwrap().largest_now, 6 * SMALL);
    let large = alloc(&pool, 6 * SMALL, &stream);
    free_all(&pool, vec![moved, large], &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_request_gets_the_whole_free_granules_of_several_places() {
    let device = device();
    let pool = arena(device.clone(), capped(8));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    kept.iter().for_each(|block| touch(&device, block, &stream));
    assert_eq!(pool.handle().capacity().unwrap().largest_now, 4 * G);
    let large = alloc(&pool, 4 * G, &stream);
    touch(&device, &large, &stream);
    kept.iter().for_each(|block| touch(&device, block, &stream));
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.moves, counters.bytes_moved), (1, 4 * G));
    assert_eq!((counters.reserved, device.used()), (8 * G, 8 * G));
    pool.handle().check_invariants();
    assert_eq!(pool.handle().find(large.ptr()), Some(large.raw()));
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_is_missing_is_taken_new_and_no_more() {
    let device = device();
    let pool = arena(device.clone(), tight().with_ceiling(9 * G));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    let large = alloc(&pool, 5 * G - 1000, &stream);
    touch(&device, &large, &stream);
    assert_eq!(device.used(), 9 * G);
    let moved = pool.handle().counters().unwrap().bytes_moved;
    assert_eq!(moved, 4 * G - 1000 / 256 * 256, "a whole granule is new");
    let error = pool.allocate_on(layout(G), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn the_lazy_footprint_grows_first_and_the_tight_one_moves_first() {
    for (config, used, moves) in [(lazy(), 12 * G, 0), (tight(), 8 * G, 1)] {
        let device = device();
        let pool = arena(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let kept = riddle(&pool, G, 8, &stream);
        let large = alloc(&pool, 4 * G, &stream);
        assert_eq!((device.used(), pool.handle().counters().unwrap().moves), (used, moves));
        free(&pool, large, &stream);
        free_all(&pool, kept, &stream);
        drop(stream);
        finish(&device, pool);
    }
}

#[test]
fn a_repeated_pattern_makes_no_driver_call_from_its_second_time_on() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    let mut addresses = Vec::new();
    for round in 0..4 {
        let before = device.calls();
        let large = alloc(&pool, 3 * G, &stream);
        addresses.push(large.ptr());
        free(&pool, large, &stream);
        // Freed, it is at home again: single granules are hits there.
        let small = [(); 4].map(|()| alloc(&pool, G, &stream));
        small.into_iter().for_each(|block| free(&pool, block, &stream));
        assert_eq!((device.calls() - before).total() > 0, round == 0);
    }
    assert!(addresses.iter().all(|address| *address == addresses[0]));
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.moves, counters.returns, counters.aliased), (1, 3, 3 * G));
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_window_that_a_stream_could_not_wait_for_is_used_by_the_next_request() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let kept = riddle(&pool, G, 8, &a);
    let large = alloc(&pool, 3 * G, &a);
    keep_busy(&device, &large, &a);
    free(&pool, large, &a);
    device.fail_call(Some(CallKind::WaitEvent), 1, DriverCode::UNKNOWN);
    let error = pool.allocate_on(layout(3 * G), &b).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    device.clear_failures();
    let large = alloc(&pool, 3 * G, &b);
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.moves, counters.returns), (1, 1));
    free(&pool, large, &b);
    free_all(&pool, kept, &a);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn memory_pending_on_another_stream_moves_behind_a_wait() {
    for seed in 0..8 {
        let device = crate::support::device_with_seed(seed);
        let pool = arena(device.clone(), capped(8));
        let (here, there) =
            (Stream::new(device.clone()).unwrap(), Stream::new(device.clone()).unwrap());
        let blocks: Vec<Block> = (0..8).map(|_| alloc(&pool, G, &here)).collect();
        let mut kept = Vec::new();
        for (i, block) in blocks.into_iter().enumerate() {
            touch(&device, &block, &here);
            if i % 2 == 0 { free(&pool, block, &here) } else { kept.push(block) }
        }
        for _ in 0..2 {
            let large = alloc(&pool, 4 * G, &there);
            touch(&device, &large, &there);
            free(&pool, large, &there);
            let small = alloc(&pool, G, &here);
            touch(&device, &small, &here);
            free(&pool, small, &here);
        }
        free_all(&pool, kept, &here);
        drop((here, there));
        finish(&device, pool);
    }
}

#[test]
fn trimming_returns_memory_that_windows_show() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    let large = alloc(&pool, 3 * G, &stream);
    let before = pool.handle().capacity().unwrap();
    pool.handle().trim_to(0).unwrap();
    assert_eq!(device.used(), 7 * G, "what is live stays, at home and in the window");
    assert_eq!(before.reserved, 8 * G);
    touch(&device, &large, &stream);
    free(&pool, large, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!((device.used(), pool.handle().counters().unwrap().aliased), (4 * G, 0));
    free_all(&pool, kept, &stream);
    pool.handle().trim_to(0).unwrap();
    assert_eq!(device.used(), 0);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_capturing_stream_gets_a_window_that_is_there_and_one_that_is_made_of_what_is_at_hand() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    let large = alloc(&pool, 3 * G, &stream);
    free(&pool, large, &stream);
    device.begin_capture(&stream).unwrap();
    let before = device.calls();
    let again = alloc(&pool, 3 * G, &stream);
    assert_eq!((device.calls() - before).total(), 0);
    let reserved = || pool.handle().counters().unwrap().reserved;
    let held = reserved();
    let made = alloc(&pool, G + 256, &stream);
    assert_eq!(reserved(), held + G, "a free granule and a new one");
    touch(&device, &made, &stream);
    for kind in [CallKind::QueryEvent, CallKind::RecordEvent, CallKind::WaitEvent] {
        assert_eq!((device.calls() - before).of(kind), 0, "{kind:?}");
    }
    device.end_capture(&stream).unwrap();
    free(&pool, again, &stream);
    free(&pool, made, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn alignment_is_honoured_in_windows() {
    let config = SimConfig { capacity: 64 * MIB, granularity: 64 << 10, ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let granule = 64 << 10;
    let blocks: Vec<Block> = (0..64).map(|_| alloc(&pool, granule, &stream)).collect();
    let (holes, kept): (Vec<_>, Vec<_>) =
        blocks.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    holes.into_iter().for_each(|(_, block)| free(&pool, block, &stream));
    let mut live: Vec<Block> = kept.into_iter().map(|(_, block)| block).collect();
    for alignment in [256, granule, 4 * granule, BlockLayout::MAX_ALIGNMENT] {
        let wanted = BlockLayout::with_alignment(3 * granule, alignment).unwrap();
        let block = pool.allocate_on(wanted, &stream).unwrap();
        assert!(block.ptr().get().is_multiple_of(alignment));
        touch(&device, &block, &stream);
        live.push(block);
    }
    assert!(pool.handle().counters().unwrap().moves >= 4);
    free_all(&pool, live, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn addresses_of_unused_windows_are_used_again_when_they_are_short() {
    // As many addresses for windows as the device has memory.
    let capacity = 16 * G;
    let config = SimConfig { capacity, max_reservation: Some(2 * capacity), ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let pool = arena(device.clone(), tight());
    assert_eq!(pool.backing().address_space(), 2 * capacity);
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 16, &stream);
    for granules in [2, 3, 4, 5, 6, 7, 8, 2, 8] {
        let large = alloc(&pool, granules * G, &stream);
        touch(&device, &large, &stream);
        free(&pool, large, &stream);
        stream.synchronize().unwrap();
        pool.handle().check_invariants();
    }
    assert_eq!(device.used(), 16 * G);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn windows_beyond_the_cap_are_unmapped() {
    let device = device();
    let pool = arena(device.clone(), capped(60));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 60, &stream);
    for granules in 2..=30 {
        let large = alloc(&pool, granules * G, &stream);
        free(&pool, large, &stream);
        stream.synchronize().unwrap();
        let counters = pool.handle().counters().unwrap();
        assert!(counters.aliased <= 4 * counters.reserved + 30 * G, "{counters:?}");
    }
    assert!(device.calls().of(CallKind::Unmap) > 0);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn without_addresses_for_windows_nothing_moves_and_nothing_breaks() {
    let capacity = 16 * G;
    let config = SimConfig { capacity, max_reservation: Some(capacity), ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 16, &stream);
    let error = pool.allocate_on(layout(2 * G), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    let small = alloc(&pool, G, &stream);
    free(&pool, small, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_snapshot_shows_where_memory_is_lent_from() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 4, &stream);
    let large = alloc(&pool, 2 * G, &stream);
    let snapshot = pool.handle().snapshot().unwrap();
    let states = |segment: usize| -> Vec<&'static str> {
        let name = |state| match state {
            RangeState::Live { .. } => "live",
            RangeState::Dormant => "dormant",
            RangeState::Unmapped => "unmapped",
            _ => "free",
        };
        snapshot.segments[segment].ranges.iter().map(|range| name(range.state)).collect()
    };
    assert_eq!(states(0), ["dormant", "live", "dormant", "live", "unmapped"]);
    assert_eq!(states(1), ["live", "unmapped"]);
    let [window] = &snapshot.windows[..] else { panic!("{:?}", snapshot.windows) };
    assert_eq!((window.start, window.size), (large.ptr(), 2 * G));
    let home = |i: usize| snapshot.segments[0].ranges[i].start;
    assert_eq!(window.homes, [(home(2), G), (home(0), G)]);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[derive(Debug, Default, Clone)]
struct Moves(Arc<Mutex<Vec<u64>>>);

impl MemoryObserver for Moves {
    fn event(&self, event: &MemoryEvent) {
        if let MemoryEventKind::Move { bytes } = event.kind {
            self.0.lock().unwrap().push(bytes);
        }
    }
}

#[test]
fn a_move_is_told_and_a_refusal_says_how_much_could_have_moved() {
    let device = device();
    let moves = Moves::default();
    let observer: Arc<dyn MemoryObserver> = Arc::new(moves.clone());
    let pool = arena(device.clone(), capped(8).with_observer(observer));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &stream);
    let error = pool.allocate_on(layout(5 * G), &stream).unwrap_err();
    let attempts = &error.report().unwrap().attempts;
    let moved = attempts.iter().any(|tried| tried.what == "moving memory" && tried.freed == 4 * G);
    assert!(moved, "{attempts:?}");
    let large = alloc(&pool, 4 * G, &stream);
    assert_eq!(*moves.0.lock().unwrap(), [4 * G]);
    free(&pool, large, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_window_outlives_the_stream_it_was_made_for() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let first = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, G, 8, &first);
    let large = alloc(&pool, 3 * G, &first);
    keep_busy(&device, &large, &first);
    free(&pool, large, &first);
    drop(first);
    let second = Stream::new(device.clone()).unwrap();
    let large = alloc(&pool, 3 * G, &second);
    touch(&device, &large, &second);
    assert_eq!(pool.handle().counters().unwrap().moves, 1);
    free(&pool, large, &second);
    free_all(&pool, kept, &second);
    drop(second);
    finish(&device, pool);
    assert!(VirtualArena::new(device).is_ok());
}

#[test]
fn what_new_memory_has_beyond_a_request_serves_others() {
    let device = device();
    let pool = arena(device.clone(), tight());
    let stream = Stream::new(device.clone()).unwrap();
    let mut blocks = riddle(&pool, G, 8, &stream);
    blocks.push(alloc(&pool, 4 * G + 256, &stream));
    assert_eq!((device.used(), pool.handle().counters().unwrap().moves), (9 * G, 1));
    blocks.push(alloc(&pool, G - 256, &stream));
    assert_eq!(device.used(), 9 * G);
    pool.handle().check_invariants();
    free_all(&pool, blocks, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn an_upper_end_of_a_handle_counts_once_seven_sixteenths_of_what_there_may_be_are_held() {
    // Two of so many handles are free, and half of one below them and of one above.
    for (handles, grown) in [(5, SMALL), (6, 0)] {
        let device = sim(16, 128);
        let pool = arena(device.clone(), tight());
        let stream = Stream::new(device.clone()).unwrap();
        let [low, upper] = [SMALL / 2; 2].map(|size| alloc(&pool, size, &stream));
        let mut blocks: Vec<Block> = (0..handles).map(|_| alloc(&pool, SMALL, &stream)).collect();
        let [lower, high] = [SMALL / 2; 2].map(|size| alloc(&pool, size, &stream));
        [3, 1].into_iter().for_each(|index| free(&pool, blocks.remove(index), &stream));
        free_all(&pool, vec![upper, lower], &stream);
        let held = device.used();
        assert_eq!(held, (handles + 2) * SMALL);
        blocks.extend([low, high, alloc(&pool, 3 * SMALL, &stream)]);
        assert_eq!(device.used() - held, grown, "{handles}");
        free_all(&pool, blocks, &stream);
        drop(stream);
        finish(&device, pool);
    }
}
