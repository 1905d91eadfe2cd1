//! What `{:?}` of everything that holds a pool prints: a line or a few, whatever is in it.

use std::fmt::Debug;
use std::sync::Arc;

use vmem_core::{
    Block, DeviceMemory, HandleError, MemoryEvent, MemoryObserver, MemoryResource, Stream,
};
use vmem_pool::{BinningPool, Chunks, Pool, PoolConfig, PoolHandle, VirtualArena};

use crate::support::{MIB, alloc, free, tight};

const BLOCKS: usize = 100_000;

/// Blocks of bins, each of which is a chunk of its own.
const BINS: usize = 4000;

/// Longer than any figure of a pool, and shorter than anything that lists what is in it.
const MOST: usize = 1200;

#[derive(Debug)]
struct Watcher(#[expect(dead_code, reason = "it is printed")] Vec<u8>);

impl MemoryObserver for Watcher {
    fn event(&self, _: &MemoryEvent) {}
}

fn is_short(value: &dyn Debug) {
    let (plain, pretty) = (format!("{value:?}"), format!("{value:#?}"));
    assert!(plain.len() <= MOST, "{} characters: {}…", plain.len(), &plain[..MOST]);
    assert!(!plain.contains('\n'), "{plain}");
    assert!(pretty.lines().count() <= 40, "{pretty}");
}

fn filled(
    blocks: usize,
    pool: &dyn MemoryResource,
    handle: &PoolHandle,
    holder: &[&dyn Debug],
    stream: &Stream,
) {
    let blocks: Vec<Block> = (0..blocks).map(|_| alloc(pool, 300, stream)).collect();
    is_short(&handle);
    is_short(&handle.counters());
    is_short(&handle.capacity());
    let snapshot = handle.snapshot().unwrap();
    is_short(&snapshot);
    is_short(&snapshot.segments[0]);
    is_short(&snapshot.segments[0].ranges[0]);
    holder.iter().for_each(|holder| is_short(holder));
    blocks.into_iter().for_each(|block| free(pool, block, stream));
}

#[test]
fn a_pool_with_a_hundred_thousand_blocks_prints_a_line() {
    let device = crate::support::device();
    let stream = Stream::new(device.clone()).unwrap();
    let observer: Arc<dyn MemoryObserver> = Arc::new(Watcher(vec![0; 100_000]));
    let config = PoolConfig::default().with_observer(observer);
    is_short(&config);
    let arena = Pool::new(VirtualArena::new(device.clone()).unwrap(), config.clone()).unwrap();
    filled(
        BLOCKS,
        &arena,
        &arena.handle(),
        &[&arena, arena.backing(), &Some(arena.handle())],
        &stream,
    );
    let upstream = DeviceMemory::new(device.clone());
    let chunks = Pool::new(Chunks::new(upstream), config.clone()).unwrap();
    filled(BLOCKS, &chunks, &chunks.handle(), &[&chunks, chunks.backing()], &stream);
    let upstream = DeviceMemory::new(device.clone());
    let bins = BinningPool::new(upstream, config).unwrap();
    filled(BINS, &bins, &bins.handle(), &[&bins], &stream);
    let handle = bins.handle();
    drop(bins);
    assert_eq!(format!("{handle:?}"), "PoolHandle(gone)");
    is_short(&HandleError::Gone);
}

#[test]
fn each_kind_of_pool_prints_its_own_name() {
    let device = crate::support::device();
    let arena = crate::support::arena(device.clone(), PoolConfig::default());
    assert!(format!("{arena:?}").starts_with("Pool { live: 0,"), "{arena:?}");
    let bins = crate::support::bins(device, PoolConfig::default());
    assert!(format!("{bins:?}").starts_with("BinningPool { live: 0,"), "{bins:?}");
}

#[test]
fn a_window_over_thousands_of_places_prints_a_line() {
    let device = crate::support::sim(4096, 1 << 15);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = crate::support::arena(device.clone(), tight());
    let granule = crate::support::SMALL;
    let kept = crate::support::riddle(&pool, granule, 4000, &stream);
    let block = alloc(&pool, 2000 * granule, &stream);
    assert!(2000 * granule > MIB);
    let snapshot = pool.handle().snapshot().unwrap();
    assert_eq!(snapshot.windows.len(), 1);
    is_short(&snapshot.windows[0]);
    is_short(&pool);
    free(&pool, block, &stream);
    crate::support::free_all(&pool, kept, &stream);
}
