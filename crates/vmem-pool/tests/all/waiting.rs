//! How long a request waits on the host, and for what it does not.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Clock, ManualClock, MemoryResource, PinnedMemory, ResourceExt, Stream};
use vmem_pool::{Chunks, Growth, Pool, PoolConfig};
use vmem_sim::{CallKind, SimConfig, SimDevice};

use crate::support::{
    MIB, SMALL, alloc, arena, bins, chunks, device, device_with_seed, finish, free, free_all,
    keep_busy, layout, orphan, riddle, sim, synchronize, tight,
};

/// One granule of the small devices.
const G: u64 = SMALL;

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
    let config = PoolConfig::default()
        .with_ceiling(12 * MIB)
        .with_growth(Growth::Exact)
        .with_host_wait(Duration::from_secs(3600))
        .with_clock(Arc::new(clock));
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let [a, b, kept] = [(); 3].map(|()| alloc(&pool, 4 * MIB, &stream));
    keep_busy(&device, &b, &stream);
    free(&pool, a, &stream);
    free(&pool, b, &stream);
    // What the wait makes usable is told even if it is not enough.
    let error = pool.allocate_on(layout(9 * MIB), &stream).unwrap_err();
    let attempts = &error.report().unwrap().attempts;
    let waited = attempts.iter().find(|tried| tried.what == "a wait on the host");
    assert!(waited.is_none_or(|tried| tried.freed <= 8 * MIB), "{attempts:?}");
    free(&pool, alloc(&pool, 8 * MIB, &stream), &stream);
    assert!(time.now() < Duration::from_secs(3000));
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

/// A clock on which two hours pass between two looks at it.
#[derive(Debug, Default)]
struct Leaping(ManualClock);

impl Clock for Leaping {
    fn now(&self) -> Duration {
        self.0.advance(Duration::from_secs(7200));
        self.0.now()
    }
}

#[test]
fn a_host_wait_ends_when_its_time_is_over() {
    let ended = |seed| {
        let device = device_with_seed(seed);
        let config = PoolConfig::default()
            .with_ceiling(8 * MIB)
            .with_growth(Growth::Exact)
            .with_host_wait(Duration::from_secs(3600))
            .with_clock(Arc::new(Leaping::default()));
        let pool = chunks(device.clone(), config);
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(&pool, 4 * MIB, &stream);
        keep_busy(&device, &block, &stream);
        free(&pool, block, &stream);
        let before = device.calls();
        let ended =
            pool.allocate_on(layout(8 * MIB), &stream).map(|block| free(&pool, block, &stream));
        assert!((device.calls() - before).of(CallKind::QueryEvent) <= 4);
        drop(stream);
        finish(&device, pool);
        ended.is_err()
    };
    assert!((0..16).any(ended), "no wait was too long");
}

#[test]
fn nobody_waits_for_what_no_marker_covers() {
    let device = device();
    let config = PoolConfig::default()
        .with_ceiling(8 * MIB)
        .with_growth(Growth::Exact)
        .with_host_wait(Duration::from_secs(3600))
        // It stands still: a wait for its end would have none.
        .with_clock(Arc::new(ManualClock::new()));
    let pool = Arc::new(chunks(device.clone(), config));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = alloc(&*pool, 2 * MIB, &stream);
    // Nobody can mark the stream of a thread that ended.
    let orphan = orphan(&device, &pool, 6 * MIB);
    let error = pool.allocate_on(layout(7 * MIB), &stream).unwrap_err();
    assert_eq!(error.report().unwrap().quarantined, 6 * MIB);
    assert_eq!(synchronize(&pool.handle()), 6 * MIB);
    free(&*pool, kept, &stream);
    drop((orphan, stream));
    finish(&device, Arc::into_inner(pool).unwrap());
}

/// How a stack is made on a device.
type Make<'a> = dyn Fn(&Arc<SimDevice>) -> Arc<dyn MemoryResource> + 'a;

#[test]
fn without_a_limit_a_request_on_chunks_waits_for_pending_frees_before_it_is_refused() {
    let over = |below: Arc<dyn MemoryResource>| {
        Pool::new(Chunks::new(below), PoolConfig::default()).unwrap().into_dyn()
    };
    let config = PoolConfig::default;
    let stacks: [&Make<'_>; 6] = [
        &|device| chunks(device.clone(), config()).into_dyn(),
        &|device| bins(device.clone(), config()).into_dyn(),
        &|device| over(PinnedMemory::new(device.clone()).unwrap().into_dyn()),
        &|device| over(arena(device.clone(), config()).into_dyn()),
        &|device| over(chunks(device.clone(), config()).into_dyn()),
        &|device| over(bins(device.clone(), config()).into_dyn()),
    ];
    for (number, stack) in stacks.into_iter().enumerate() {
        for seed in 0..20 {
            let config =
                SimConfig { capacity: 64 * G, granularity: 2 * G, seed, ..Default::default() };
            let device = SimDevice::with_config(config).unwrap();
            let memory = stack(&device);
            let [here, there] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
            let block = alloc(&memory, 20 * G, &here);
            keep_busy(&device, &block, &here);
            free(&memory, block, &here);
            for stream in [&here, &there] {
                let block = memory.allocate_on(layout(60 * G), stream);
                let block = block.unwrap_or_else(|error| panic!("stack {number}, {seed}: {error}"));
                keep_busy(&device, &block, stream);
                free(&memory, block, stream);
                free(&memory, alloc(&memory, 20 * G, stream), stream);
            }
            drop((memory, here, there));
            device.assert_clean();
            assert!(device.leaks().is_empty());
        }
    }
}

#[test]
fn a_limit_of_nothing_is_no_wait() {
    let device = device();
    let config = PoolConfig::default()
        .with_ceiling(8 * MIB)
        .with_growth(Growth::Exact)
        .with_host_wait(Duration::ZERO);
    let pool = chunks(device.clone(), config);
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 4 * MIB, &stream);
    keep_busy(&device, &block, &stream);
    free(&pool, block, &stream);
    let before = device.calls();
    assert!(pool.allocate_on(layout(8 * MIB), &stream).is_err());
    assert_eq!((device.calls() - before).of(CallKind::SynchronizeEvent), 0);
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
