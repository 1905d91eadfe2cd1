//! Streams that hand memory to each other.

use vmem_core::{Block, Stream};
use vmem_pool::PoolConfig;

use crate::support::{MIB, alloc, arena, chunks, device, free};

#[test]
fn what_one_stream_freed_serves_another_before_the_pool_grows() {
    let device = device();
    let streams = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let pool = arena(device.clone(), PoolConfig::default());
    streams.iter().for_each(|stream| free(&pool, alloc(&pool, MIB, stream), stream));
    let large = alloc(&pool, 40 * MIB, &streams[0]);
    free(&pool, large, &streams[0]);
    let before = pool.handle().counters().unwrap();
    let stolen = alloc(&pool, 40 * MIB, &streams[1]);
    let after = pool.handle().counters().unwrap();
    assert_eq!(after.reserved, before.reserved);
    assert_eq!(after.completed + after.waits, before.completed + before.waits + 1);
    free(&pool, stolen, &streams[1]);
    pool.handle().check_invariants();
    drop((pool, streams));
    device.assert_clean();
}

#[test]
fn neighbours_of_several_streams_join_for_a_request_that_fits_in_none() {
    let device = device();
    let streams = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let config = PoolConfig::default().with_ceiling(48 * MIB).with_initial(48 * MIB);
    let pool = chunks(device.clone(), config);
    let mut blocks: Vec<(Block, &Stream)> = Vec::new();
    for i in 0..48 {
        let stream = &streams[i % 3];
        blocks.push((alloc(&pool, MIB, stream), stream));
    }
    blocks.into_iter().for_each(|(block, stream)| free(&pool, block, stream));
    pool.handle().check_invariants();
    for size in [20, 48] {
        let block = alloc(&pool, size * MIB, &streams[1]);
        free(&pool, block, &streams[1]);
        pool.handle().check_invariants();
    }
    assert_eq!(pool.handle().trim_to(0).unwrap(), 48 * MIB);
    drop((pool, streams));
    device.assert_clean();
}

#[test]
fn a_block_may_be_freed_on_another_stream() {
    let device = device();
    let streams = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let pool = arena(device.clone(), PoolConfig::default());
    for _ in 0..100 {
        let blocks = [0, 1].map(|i| alloc(&pool, MIB, &streams[i]));
        for (block, stream) in blocks.into_iter().zip(streams.iter().rev()) {
            free(&pool, block, stream);
        }
        pool.handle().check_invariants();
    }
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.allocations, counters.frees, counters.live), (200, 200, 0));
    assert_eq!(counters.peak_live, 2 * MIB);
    assert!(counters.reserved <= 4 * MIB, "{} B for two blocks of 1 MiB", counters.reserved);
    drop((pool, streams));
    device.assert_clean();
}

#[test]
fn many_streams_use_what_ended_ones_left() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    for round in 0..3 {
        let streams: Vec<Stream> = (0..40).map(|_| Stream::new(device.clone()).unwrap()).collect();
        let blocks: Vec<Block> = streams.iter().map(|s| alloc(&pool, MIB, s)).collect();
        pool.handle().check_invariants();
        assert_eq!(pool.handle().counters().unwrap().live, 40 * MIB, "in round {round}");
        blocks.into_iter().zip(&streams).for_each(|(block, s)| free(&pool, block, s));
    }
    pool.handle().trim_to(0).unwrap();
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.live, counters.reserved), (0, 0));
    assert!(counters.bytes_grown < 60 * MIB, "later rounds use what earlier ones left");
    drop(pool);
    device.assert_clean();
}

#[test]
fn returning_everything_leaves_one_range() {
    let device = device();
    let streams = [(); 4].map(|()| Stream::new(device.clone()).unwrap());
    let pool = arena(device.clone(), PoolConfig::default());
    let mut blocks = Vec::new();
    for i in 0..200 {
        let stream = &streams[i % 4];
        blocks.push((alloc(&pool, 256 << (i % 12), stream), stream));
        if i % 3 == 0 {
            let (block, stream) = blocks.swap_remove((i * 7) % blocks.len());
            free(&pool, block, stream);
        }
    }
    blocks.into_iter().for_each(|(block, stream)| free(&pool, block, stream));
    pool.handle().trim_to(0).unwrap();
    let snapshot = pool.handle().snapshot().unwrap();
    assert!(snapshot.segments.iter().all(|segment| segment.ranges.len() == 1), "{snapshot:?}");
    drop((pool, streams));
    device.assert_clean();
}
