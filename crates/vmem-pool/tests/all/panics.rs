//! What a program hands a pool may panic: the pool goes on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmem_core::{
    AllocError, AllocErrorKind, Block, Capabilities, Clock, Device, DeviceMemory, FreeError,
    MemoryEvent, MemoryEventKind, MemoryObserver, MemoryResource, Request, ResourceExt, Stream,
};
use vmem_pool::{AutoTrim, Chunks, Growth, Pool, PoolConfig, PoolHandle};
use vmem_sim::SimDevice;

use crate::support::{
    MIB, SMALL, alloc, arena, chunks, device, finish, free, free_all, keep_busy, layout, on_both,
    riddle, sim, tight,
};

/// What the tests panic with, silently.
struct OnPurpose;

/// The call, which is to panic on purpose.
fn panics<T>(call: impl FnOnce() -> T) {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(_) => panic!("nothing panicked"),
        Err(panic) if panic.is::<OnPurpose>() => {}
        Err(panic) => resume_unwind(panic),
    }
}

/// Panics at every event, and remembers what these were.
#[derive(Debug, Default)]
struct Hostile(Mutex<Vec<MemoryEventKind>>);

impl MemoryObserver for Hostile {
    fn event(&self, event: &MemoryEvent) {
        self.0.lock().unwrap().push(event.kind);
        resume_unwind(Box::new(OnPurpose));
    }
}

impl Hostile {
    fn saw(&self, which: impl Fn(&MemoryEventKind) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(which)
    }
}

#[test]
fn an_observer_that_panics_takes_no_block_and_loses_none() {
    let hostile = Arc::new(Hostile::default());
    let config = PoolConfig::default().with_ceiling(16 * MIB).with_observer(hostile.clone());
    on_both(&config, |device, pool, handle| {
        hostile.0.lock().unwrap().clear();
        let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        let kept = alloc(pool, MIB, &a);
        free(pool, alloc(pool, 2 * MIB, &a), &a);
        // Stolen from the other stream.
        free(pool, alloc(pool, 2 * MIB, &b), &b);
        assert_eq!(
            pool.allocate_on(layout(17 * MIB), &a).unwrap_err().kind(),
            AllocErrorKind::NeverFits
        );
        // In a drop, where a panic could not be caught.
        drop(pool.buffer(MIB, &a).unwrap());
        a.retire().unwrap();
        drop(a);
        handle.trim_to(0).unwrap();
        let counters = handle.counters().unwrap();
        assert_eq!((counters.allocations, counters.frees, counters.live), (4, 3, MIB));
        handle.check_invariants();
        free(pool, kept, &b);
        handle.trim_to(0).unwrap();
        assert_eq!(handle.counters().unwrap().reserved, 0);
        assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Allocate { .. })));
        assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Free { .. })));
        assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Failure { .. })));
        assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Growth { .. })));
        assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Trim { .. })));
        assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Retire)));
    });
}

#[test]
fn an_observer_that_panics_when_memory_moves_loses_none() {
    let device = sim(16, 256);
    let hostile = Arc::new(Hostile::default());
    let pool = arena(device.clone(), tight().with_observer(hostile.clone()));
    let stream = Stream::new(device.clone()).unwrap();
    let kept = riddle(&pool, SMALL, 16, &stream);
    let moved = alloc(&pool, 8 * SMALL, &stream);
    assert!(hostile.saw(|kind| matches!(kind, MemoryEventKind::Move { .. })));
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.live, counters.reserved), (16 * SMALL, 16 * SMALL));
    free(&pool, moved, &stream);
    free_all(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

/// Stands still, and panics when told to.
#[derive(Debug, Default)]
struct Broken(AtomicBool);

impl Clock for Broken {
    fn now(&self) -> Duration {
        if self.0.load(Ordering::Relaxed) {
            resume_unwind(Box::new(OnPurpose));
        }
        Duration::ZERO
    }
}

#[test]
fn a_clock_that_panics_under_a_refusal_leaves_the_pool_usable() {
    let clock = Arc::new(Broken::default());
    let config = PoolConfig::default()
        .with_ceiling(16 * MIB)
        .with_growth(Growth::Exact)
        .with_host_wait(Duration::ZERO)
        .with_clock(clock.clone());
    let device = device();
    let (pool, [a, b]) =
        (chunks(device.clone(), config), [(); 2].map(|()| Stream::new(device.clone()).unwrap()));
    let (kept, pending) = (alloc(&pool, 8 * MIB, &a), alloc(&pool, 4 * MIB, &a));
    keep_busy(&device, &pending, &a);
    free(&pool, pending, &a);
    clock.0.store(true, Ordering::Relaxed);
    for stream in [&a, &b, &a] {
        panics(|| pool.allocate_on(layout(9 * MIB), stream));
        pool.handle().check_invariants();
    }
    clock.0.store(false, Ordering::Relaxed);
    // What was claimed on the way was given back.
    free(&pool, kept, &a);
    pool.handle().trim_to(0).unwrap();
    free(&pool, alloc(&pool, 16 * MIB, &b), &b);
    assert_eq!(pool.handle().counters().unwrap().live, 0);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn a_clock_that_panics_under_a_free_leaves_the_block_live_and_to_be_found() {
    let clock = Arc::new(Broken::default());
    let release = AutoTrim::new(0, Duration::from_secs(1));
    let config = PoolConfig::default().with_auto_trim(release).with_clock(clock.clone());
    on_both(&config, |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        free(pool, alloc(pool, 8 * MIB, &stream), &stream);
        let block = alloc(pool, 4 * MIB, &stream);
        let address = block.ptr();
        clock.0.store(true, Ordering::Relaxed);
        panics(|| free(pool, block, &stream));
        clock.0.store(false, Ordering::Relaxed);
        handle.check_invariants();
        assert_eq!(handle.counters().unwrap().live, 4 * MIB);
        let found = handle.find(address).unwrap();
        // SAFETY: the block was lost in the unwinding, so that this is the only one.
        free(pool, unsafe { Block::from_raw(found) }, &stream);
        assert_eq!(handle.counters().unwrap().live, 0);
    });
}

/// Plain memory that panics at a call, before or after it was made.
#[derive(Debug)]
struct Upstream {
    memory: DeviceMemory,
    /// How many calls until then; none if zero.
    allocate: AtomicU64,
    deallocate: AtomicU64,
}

impl Upstream {
    fn new(device: Arc<dyn Device>) -> Arc<Self> {
        let (allocate, deallocate) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { memory: DeviceMemory::new(device), allocate, deallocate })
    }

    fn count(calls: &AtomicU64) {
        let less = |left: u64| left.checked_sub(1);
        if calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) == Ok(1) {
            resume_unwind(Box::new(OnPurpose));
        }
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream<{}>", self.memory)
    }
}

// SAFETY: contract, implementing: every call goes to the memory, unless it is not made at all.
unsafe impl MemoryResource for Upstream {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        Self::count(&self.allocate);
        self.memory.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        let freed = unsafe { self.memory.deallocate(block, stream) };
        Self::count(&self.deallocate);
        freed
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.memory.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }
}

type PoolOver = Pool<Chunks<Arc<Upstream>>>;

fn over_upstream(config: PoolConfig) -> (Arc<SimDevice>, Arc<Upstream>, PoolOver, PoolHandle) {
    let device = device();
    let upstream = Upstream::new(device.clone());
    let pool = Pool::new(Chunks::new(upstream.clone()), config).unwrap();
    let handle = pool.handle();
    (device, upstream, pool, handle)
}

#[test]
fn an_upstream_that_panics_in_a_growth_leaves_the_pool_usable() {
    let (device, upstream, pool, handle) = over_upstream(PoolConfig::default());
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let kept = alloc(&pool, MIB, &a);
    upstream.allocate.store(1, Ordering::Relaxed);
    panics(|| pool.allocate_on(layout(32 * MIB), &b));
    handle.check_invariants();
    let counters = handle.counters().unwrap();
    assert_eq!((counters.live, counters.allocations, counters.reserved), (MIB, 1, MIB));
    // Neither the lock of growth nor a claim is left behind.
    let large = alloc(&pool, 32 * MIB, &b);
    free(&pool, large, &b);
    free(&pool, kept, &a);
    handle.trim_to(0).unwrap();
    assert_eq!(handle.counters().unwrap().reserved, 0);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn a_chunk_whose_return_panics_is_not_used_again_and_all_others_are() {
    let (device, upstream, pool, handle) = over_upstream(PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    // Two chunks, the larger of which is returned first.
    let blocks = [alloc(&pool, MIB, &stream), alloc(&pool, 8 * MIB, &stream)];
    let reserved = handle.counters().unwrap().reserved;
    let [kept, lost] = blocks;
    let lost_at = lost.ptr();
    free(&pool, lost, &stream);
    upstream.deallocate.store(1, Ordering::Relaxed);
    panics(|| handle.trim_to(0));
    handle.check_invariants();
    assert_eq!(handle.counters().unwrap().reserved, reserved, "it may or may not be gone");
    let other = alloc(&pool, 8 * MIB, &stream);
    assert!(handle.find(lost_at).is_none_or(|block| block.ptr() == other.ptr()));
    free(&pool, other, &stream);
    free(&pool, kept, &stream);
    handle.trim_to(0).unwrap();
    assert_eq!(handle.counters().unwrap().reserved, reserved - MIB, "the lost chunk still counts");
    drop(stream);
    drop(pool);
    // Here it was gone, so that nothing is left; but the pool says that it does not know.
    device.assert_clean();
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
    assert_eq!(device.base().drop_failures().count(), 1);
}

#[test]
fn a_pool_over_a_broken_part_serves_other_threads_meanwhile() {
    let hostile = Arc::new(Hostile::default());
    let config = PoolConfig::default().with_observer(hostile);
    let device = device();
    let pool = chunks(device.clone(), config);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let stream = Stream::new(device.clone()).unwrap();
                for i in 1..=50 {
                    free(&pool, alloc(&pool, i * 1000, &stream), &stream);
                }
            });
        }
    });
    let counters = pool.handle().counters().unwrap();
    assert_eq!((counters.allocations, counters.frees, counters.live), (200, 200, 0));
    finish(&device, pool);
}

/// A log that asks the pool how it is whenever it is told of something.
struct Curious {
    pool: PoolHandle,
    events: Arc<AtomicU64>,
}

impl tracing::Subscriber for Curious {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.pool.try_trim(u64::MAX).unwrap();
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_log_may_call_the_pool_that_writes_to_it() {
    on_both(&PoolConfig::default(), |device, pool, handle| {
        let stream = Stream::new(device.clone()).unwrap();
        let events = Arc::new(AtomicU64::new(0));
        let log = || Curious { pool: handle.clone(), events: events.clone() };
        // While there is only one subscriber, tracing asks each thread's own whether anybody wants an event,
        // and keeps the answer for all: that of a thread of another test might be no.
        let _second = tracing::Dispatch::new(log());
        tracing::subscriber::with_default(log(), || {
            free(pool, alloc(pool, MIB, &stream), &stream);
            handle.trim_to(0).unwrap();
        });
        assert_eq!(events.load(Ordering::Relaxed), 2, "it grew and it shrank");
    });
}
