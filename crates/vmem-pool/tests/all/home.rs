//! Blocks go home: what another stream frees serves the stream that it came from first.

use std::sync::Arc;

use vmem_core::{Block, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Batch, Footprint, PoolConfig, RangeState};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    ArenaPool, MIB, alloc, arena, device, device_with_seed, finish, free, keep_busy, layout,
    on_both, touch,
};

fn streams<const N: usize>(device: &Arc<SimDevice>) -> [Stream; N] {
    [(); N].map(|()| Stream::new(device.clone()).unwrap())
}

/// Frees on `to` a block whose last work is on `from`.
fn hand_and_free(pool: &dyn MemoryResource, block: Block, from: &Stream, to: &Stream) {
    let marker = from.marker().unwrap();
    to.wait(&marker).unwrap();
    free(pool, block, to);
}

/// No more than the blocks take, so that nothing is found but what they leave.
fn full(bytes: u64) -> PoolConfig {
    PoolConfig::default().with_ceiling(bytes)
}

#[test]
fn what_another_stream_freed_and_finished_with_comes_home_without_a_wait() {
    on_both(&full(8 * MIB).with_batch(Batch::STRICT), |device, pool, handle| {
        let [home, other] = streams(device);
        let block = alloc(pool, 8 * MIB, &home);
        // A stream that the pool knows is marked at its frees, so that it is asked about what has completed.
        drop(pool.allocate_on(layout(8 * MIB), &other).unwrap_err());
        let address = block.ptr();
        touch(device, &block, &home);
        hand_and_free(pool, block, &home, &other);
        other.synchronize().unwrap();
        let waits = device.calls().of(CallKind::WaitEvent);
        let block = alloc(pool, 8 * MIB, &home);
        touch(device, &block, &home);
        assert_eq!(block.ptr(), address);
        assert_eq!(device.calls().of(CallKind::WaitEvent), waits);
        let counters = handle.counters().unwrap();
        assert_eq!((counters.completed, counters.waits, counters.growths), (1, 0, 1));
        free(pool, block, &home);
    });
}

#[test]
fn what_another_stream_still_works_on_comes_home_behind_that_work() {
    on_both(&full(8 * MIB), |device, pool, handle| {
        let [home, other] = streams(device);
        let block = alloc(pool, 8 * MIB, &home);
        let marker = home.marker().unwrap();
        other.wait(&marker).unwrap();
        keep_busy(device, &block, &other);
        free(pool, block, &other);
        let block = alloc(pool, 8 * MIB, &home);
        // The checker notes it if this is not behind the other stream's work.
        touch(device, &block, &home);
        let counters = handle.counters().unwrap();
        assert_eq!((counters.completed, counters.waits), (0, 1));
        free(pool, block, &home);
        device.assert_clean();
    });
}

/// Once its stream has waited for some of it, a lane's next marker covers that for everybody.
#[test]
fn what_came_home_behind_a_wait_is_complete_for_others_only_behind_the_home_streams_work() {
    let waited: u64 = (0..20).map(take_what_came_home).sum();
    assert!(waited > 0, "the work was never pending");
}

fn take_what_came_home(seed: u64) -> u64 {
    let device = device_with_seed(seed);
    let pool = arena(device.clone(), full(8 * MIB));
    let [home, other, third] = streams(&device);
    let blocks = [alloc(&pool, 4 * MIB, &home), alloc(&pool, 4 * MIB, &home)];
    let marker = home.marker().unwrap();
    other.wait(&marker).unwrap();
    for block in blocks {
        keep_busy(&device, &block, &other);
        free(&pool, block, &other);
    }
    // Both come home, one is used.
    let block = alloc(&pool, 4 * MIB, &home);
    touch(&device, &block, &home);
    let waited = pool.handle().counters().unwrap().waits;
    let rest = alloc(&pool, 4 * MIB, &third);
    touch(&device, &rest, &third);
    device.assert_clean();
    free(&pool, block, &home);
    free(&pool, rest, &third);
    drop((home, other, third, marker));
    finish(&device, pool);
    waited
}

#[test]
fn what_a_stream_frees_of_anothers_joins_with_none_of_its_own() {
    on_both(&full(8 * MIB).with_initial(8 * MIB), |device, pool, handle| {
        let [home, other] = streams(device);
        let blocks = [alloc(pool, 4 * MIB, &home), alloc(pool, 4 * MIB, &other)];
        let first = blocks[0].ptr();
        blocks.iter().zip([&home, &other]).for_each(|(block, stream)| touch(device, block, stream));
        let [lent, own] = blocks;
        free(pool, own, &other);
        hand_and_free(pool, lent, &home, &other);
        let snapshot = handle.snapshot().unwrap();
        let ranges = snapshot.segments.iter().flat_map(|segment| &segment.ranges);
        let free_ranges = ranges.filter(|range| range.state != RangeState::Unmapped);
        assert_eq!(free_ranges.map(|range| range.size).collect::<Vec<_>>(), [4 * MIB; 2]);
        let again = alloc(pool, 4 * MIB, &home);
        assert_eq!(again.ptr(), first);
        free(pool, again, &home);
    });
}

#[test]
fn neighbours_that_come_home_join() {
    on_both(&full(8 * MIB), |device, pool, handle| {
        let [home, other] = streams(device);
        let blocks = [alloc(pool, 4 * MIB, &home), alloc(pool, 4 * MIB, &home)];
        let [one, two] = blocks;
        free(pool, one, &home);
        hand_and_free(pool, two, &home, &other);
        let both = alloc(pool, 8 * MIB, &home);
        touch(device, &both, &home);
        assert_eq!(handle.counters().unwrap().moves, 0);
        free(pool, both, &home);
    });
}

#[test]
fn what_another_stream_has_finished_with_joins_with_the_home_streams_own_without_a_wait() {
    let config = full(8 * MIB).with_initial(8 * MIB).with_batch(Batch::STRICT);
    on_both(&config, |device, pool, handle| {
        let [home, other] = streams(device);
        let [own, lent] = [(); 2].map(|()| alloc(pool, 4 * MIB, &home));
        // A stream that the pool knows is marked at its frees.
        drop(pool.allocate_on(layout(8 * MIB), &other).unwrap_err());
        touch(device, &lent, &home);
        free(pool, own, &home);
        hand_and_free(pool, lent, &home, &other);
        other.synchronize().unwrap();
        let both = alloc(pool, 8 * MIB, &home);
        touch(device, &both, &home);
        let counters = handle.counters().unwrap();
        assert_eq!((counters.completed, counters.waits, counters.merges), (1, 0, 0));
        free(pool, both, &home);
    });
}

#[test]
fn what_comes_home_behind_a_wait_joins_with_the_home_streams_own() {
    on_both(&full(8 * MIB).with_initial(8 * MIB), |device, pool, handle| {
        let [home, other] = streams(device);
        let [own, lent] = [(); 2].map(|()| alloc(pool, 4 * MIB, &home));
        let marker = home.marker().unwrap();
        other.wait(&marker).unwrap();
        keep_busy(device, &lent, &other);
        free(pool, own, &home);
        free(pool, lent, &other);
        let both = alloc(pool, 8 * MIB, &home);
        touch(device, &both, &home);
        let counters = handle.counters().unwrap();
        assert_eq!((counters.waits, counters.merges), (1, 0));
        free(pool, both, &home);
        device.assert_clean();
    });
}

#[test]
fn the_stream_that_freed_a_block_has_it_without_a_driver_call_where_there_is_no_other() {
    on_both(&full(8 * MIB), |device, pool, _| {
        let [home, other] = streams(device);
        let block = alloc(pool, 8 * MIB, &home);
        touch(device, &block, &home);
        hand_and_free(pool, block, &home, &other);
        let before = device.calls();
        let block = alloc(pool, 8 * MIB, &other);
        touch(device, &block, &other);
        let calls = device.calls() - before;
        // Whether the stream captures is asked before anything else is.
        assert_eq!(calls.total(), calls.of(CallKind::IsCapturing) + calls.of(CallKind::Launch));
        free(pool, block, &other);
    });
}

/// A wait at the free, or for whatever is away, would tie the home stream to work that it has nothing to do
/// with.
#[test]
fn a_stream_does_not_wait_for_memory_of_its_own_that_does_not_serve_it() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_footprint(Footprint::Lazy));
    let [home, other] = streams(&device);
    let [small, between] = [alloc(&pool, 2 * MIB, &home), alloc(&pool, 2 * MIB, &home)];
    let marker = home.marker().unwrap();
    other.wait(&marker).unwrap();
    keep_busy(&device, &small, &other);
    let waits = device.calls().of(CallKind::WaitEvent);
    free(&pool, small, &other);
    let large = alloc(&pool, 16 * MIB, &home);
    assert_eq!(device.calls().of(CallKind::WaitEvent), waits);
    free(&pool, large, &home);
    free(&pool, between, &home);
    drop((home, other, marker));
    finish(&device, pool);
}

#[test]
fn of_a_stream_that_ended_those_that_freed_its_blocks_are_the_heirs() {
    on_both(&full(8 * MIB), |device, pool, handle| {
        let [home, other] = streams(device);
        let block = alloc(pool, 8 * MIB, &home);
        touch(device, &block, &home);
        hand_and_free(pool, block, &home, &other);
        drop(home);
        // Lanes of ended streams are looked through when another one ends.
        drop(Stream::new(device.clone()).map(|short| free(pool, alloc(pool, 256, &short), &short)));
        handle.check_invariants();
        let block = alloc(pool, 8 * MIB, &other);
        touch(device, &block, &other);
        free(pool, block, &other);
        let before = device.calls();
        let block = alloc(pool, 8 * MIB, &other);
        assert_eq!((device.calls() - before).total(), 0, "it is the other stream's own");
        free(pool, block, &other);
    });
}

/// Two streams at work, of which one lends the other what it has free: a request that it can be asked for
/// back.
fn lend(device: &Arc<SimDevice>, pool: &ArenaPool) -> [Stream; 2] {
    let [lender, borrower] = streams(device);
    let kept = [alloc(pool, 6 * MIB, &lender), alloc(pool, 4 * MIB, &lender)];
    let used = alloc(pool, 6 * MIB, &borrower);
    let [kept, lent] = kept;
    touch(device, &lent, &lender);
    free(pool, lent, &lender);
    let borrowed = alloc(pool, 4 * MIB, &borrower);
    touch(device, &borrowed, &borrower);
    free(pool, borrowed, &borrower);
    let back = alloc(pool, 4 * MIB, &lender);
    touch(device, &back, &lender);
    free(pool, back, &lender);
    let before = device.calls();
    let again = alloc(pool, 4 * MIB, &lender);
    assert_eq!((device.calls() - before).total(), 0, "it is the lender's own");
    for (block, stream) in [(again, &lender), (kept, &lender), (used, &borrower)] {
        touch(device, &block, stream);
        free(pool, block, stream);
    }
    [lender, borrower]
}

#[test]
fn what_a_stream_at_work_lends_comes_home_to_it() {
    let device = device();
    let pool = arena(device.clone(), full(16 * MIB));
    let streams = lend(&device, &pool);
    assert_eq!(device.used(), 16 * MIB);
    device.assert_clean();
    drop(streams);
    finish(&device, pool);
}

/// The same at addresses where the memory is not at home: of each part is noted who lends it.
#[test]
fn what_is_moved_together_from_two_streams_goes_home_to_both() {
    let device = device();
    let pool = arena(device.clone(), full(24 * MIB));
    let [a, b] = streams(&device);
    let blocks = |stream: &Stream| [(); 6].map(|()| alloc(&pool, 2 * MIB, stream));
    let (mut of_a, mut of_b) = (Vec::from(blocks(&a)), Vec::from(blocks(&b)));
    for (blocks, stream) in [(&mut of_a, &a), (&mut of_b, &b)] {
        for at in [4, 2, 0] {
            free(&pool, blocks.remove(at), stream);
        }
    }
    let all = alloc(&pool, 12 * MIB, &b);
    touch(&device, &all, &b);
    assert!(pool.handle().counters().unwrap().moves > 0);
    free(&pool, all, &b);
    // Each has its own back.
    for stream in [&a, &b] {
        let mine: Vec<Block> = (0..3).map(|_| alloc(&pool, 2 * MIB, stream)).collect();
        mine.iter().for_each(|block| touch(&device, block, stream));
        mine.into_iter().for_each(|block| free(&pool, block, stream));
        let before = device.calls();
        let mine: Vec<Block> = (0..3).map(|_| alloc(&pool, 2 * MIB, stream)).collect();
        assert_eq!((device.calls() - before).total(), 0);
        mine.into_iter().for_each(|block| free(&pool, block, stream));
    }
    device.assert_clean();
    pool.handle().check_invariants();
    of_a.into_iter().for_each(|block| free(&pool, block, &a));
    of_b.into_iter().for_each(|block| free(&pool, block, &b));
    drop((a, b));
    finish(&device, pool);
}

/// Streams that work one after the other use the same memory.
#[test]
fn what_a_stream_at_rest_leaves_is_taken_rather_than_more_memory() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let turns: [Stream; 3] = streams(&device);
    for stream in turns.iter().chain(&turns) {
        let blocks: Vec<Block> = (1..8).map(|n| alloc(&pool, 2 * n * MIB, stream)).collect();
        blocks.iter().for_each(|block| touch(&device, block, stream));
        blocks.into_iter().for_each(|block| free(&pool, block, stream));
    }
    assert_eq!(device.used(), 56 * MIB);
    drop(turns);
    finish(&device, pool);
}

#[test]
fn while_two_streams_are_at_work_a_little_memory_is_taken_rather_than_each_others() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let [a, b] = streams(&device);
    let kept = [alloc(&pool, 40 * MIB, &a), alloc(&pool, 40 * MIB, &b)];
    free(&pool, alloc(&pool, 4 * MIB, &a), &a);
    let records = device.calls().of(CallKind::RecordEvent);
    let own = alloc(&pool, 4 * MIB, &b);
    assert_eq!(device.used(), 88 * MIB);
    assert_eq!(device.calls().of(CallKind::RecordEvent), records);
    free(&pool, own, &b);
    let [of_a, of_b] = kept;
    free(&pool, of_a, &a);
    free(&pool, of_b, &b);
    drop((a, b));
    finish(&device, pool);
}
