//! What tier B does before it reports exhaustion.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmem_adaptors::{Answer, RetryPolicy};
use vmem_core::{AllocErrorKind, DeviceBuffer, ManualClock, MemoryResource, ResourceExt, Stream};
use vmem_runtime::{PoolLimit, Recovery, Runtime, Tier};
use vmem_sim::SimDevice;

use crate::support::{CAPACITY, KINDS, MIB, alloc, config, device, finish, free, layout};

/// A runtime of tier B whose time is told by hand.
fn safe() -> (Runtime, Arc<SimDevice>, Stream, ManualClock) {
    let (device, clock) = (device(), ManualClock::new());
    let config = config().with_oom_safety(true);
    let provided = device.clone();
    let runtime = Runtime::new(config, move || Ok(provided.clone()))
        .with_recovery(Recovery::new(Arc::new(clock.clone())));
    let stream = Stream::new(device.clone()).unwrap();
    (runtime, device, stream, clock)
}

type Cache = Arc<Mutex<Vec<DeviceBuffer>>>;

/// A cache that holds buffers of these sizes in MiB and gives all of them back.
fn cache(memory: &Arc<dyn MemoryResource>, sizes: &[u64], stream: &Stream) -> Cache {
    let buffer = |mib: &u64| DeviceBuffer::new(memory.clone(), mib * MIB, stream).unwrap();
    Arc::new(Mutex::new(sizes.iter().map(buffer).collect()))
}

fn empty(cache: &Cache) -> u64 {
    let dropped = std::mem::take(&mut *cache.lock().unwrap());
    dropped.iter().map(DeviceBuffer::len).sum()
}

#[test]
fn a_reclaimable_cache_fills_the_device_tier_a_fails_and_tier_b_finishes() {
    for kind in KINDS.into_iter().filter(|kind| kind.tier != Tier::C) {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let tiles = cache(&memory, &[64, 64, 64, 64], &stream);
        let registered = tiles.clone();
        let registration = runtime.reclaimers().register("tiles", move || empty(&registered));
        let result = memory.allocate_on(layout(128 * MIB), &stream);
        if kind.oom_safety {
            free(&memory, result.unwrap(), &stream);
            assert_eq!(runtime.stats().recovery.unwrap().recovered, 1);
        } else {
            assert!(result.unwrap_err().kind().is_exhaustion());
            empty(&tiles);
        }
        drop((registration, memory, stream, runtime));
        finish(&device);
    }
}

#[test]
fn caches_are_asked_in_order_then_the_hook_and_no_further_than_needed() {
    let (runtime, _device, stream, clock) = safe();
    let memory = runtime.resource().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let sources = [("first", 64), ("second", 64), ("hook", 128)];
    let [first, second, third] = sources.map(|(_, mib)| cache(&memory, &[mib], &stream));
    let note = |name: &'static str, cache: Cache| {
        let asked = asked.clone();
        move || {
            asked.lock().unwrap().push(name);
            empty(&cache)
        }
    };
    let _first = runtime.reclaimers().register("first", note("first", first));
    let _second = runtime.reclaimers().register("second", note("second", second));
    let last = note("hook", third);
    runtime.recovery().set_hook(move |_| if last() > 0 { Answer::Retry } else { Answer::GiveUp });
    let take = || {
        // Each request is an event of its own.
        clock.advance(Duration::from_secs(2));
        std::mem::take(&mut *asked.lock().unwrap())
    };

    let a = alloc(&memory, 64 * MIB, &stream);
    assert_eq!(take(), ["first"]);
    let b = alloc(&memory, 64 * MIB, &stream);
    assert_eq!(take(), ["first", "second"]);
    let c = alloc(&memory, 128 * MIB, &stream);
    assert_eq!(take(), ["first", "second", "hook"]);
    assert_eq!(memory.allocate_on(layout(MIB), &stream).unwrap_err().kind(), AllocErrorKind::Limit);
    assert_eq!(take(), ["first", "second", "hook"]);
    for block in [a, b, c] {
        free(&memory, block, &stream);
    }
    let whole = alloc(&memory, CAPACITY, &stream);
    assert!(take().is_empty(), "the pool's own memory comes first");
    free(&memory, whole, &stream);
}

#[test]
fn frees_that_are_pending_on_another_stream_come_before_the_caches() {
    let (runtime, device, stream, _) = safe();
    let memory = runtime.resource().unwrap();
    let other = Stream::new(device.clone()).unwrap();
    let _registration = runtime.reclaimers().register("untouched", || panic!("not needed"));
    let mut buffer = DeviceBuffer::new(memory.clone(), CAPACITY, &other).unwrap();
    buffer.copy_from_slice(0, &[7; 4096]).unwrap();
    drop(buffer);
    free(&memory, alloc(&memory, CAPACITY, &stream), &stream);
    drop((memory, other, stream, runtime));
    device.assert_clean();
}

#[test]
fn a_request_that_can_never_fit_fails_without_any_recovery() {
    for pool_limit in [PoolLimit::TotalLessReserve, PoolLimit::Unlimited] {
        let device = device();
        let config = config().with_oom_safety(true).with_pool_limit(pool_limit);
        let runtime = crate::support::runtime(config, &device);
        let _registration = runtime.reclaimers().register("untouched", || panic!("hopeless"));
        runtime.recovery().set_hook(|_| panic!("hopeless"));
        let stream = Stream::new(device).unwrap();
        assert!(runtime.resource().unwrap().allocate_on(layout(CAPACITY + 1), &stream).is_err());
    }
}

/// "Hook: three times retry, then give up; a gap of over 1 s restores the full budget; after giving
/// up a new cycle starts."
#[test]
fn a_hook_is_asked_three_times_and_a_new_cycle_starts_after_giving_up() {
    let (runtime, _device, stream, clock) = safe();
    let memory = runtime.resource().unwrap();
    let _full = DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    runtime.recovery().set_hook(move |failure| {
        assert_eq!(u64::from(failure.attempt), counter.fetch_add(1, Ordering::Relaxed) % 3 + 1);
        Answer::Retry
    });
    for cycle in 1..=3 {
        assert!(memory.allocate_on(layout(MIB), &stream).is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 3 * cycle);
    }
    clock.advance(Duration::from_secs(2));
    assert!(memory.allocate_on(layout(MIB), &stream).is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 12);
}

#[test]
fn a_hook_that_takes_two_seconds_each_time_is_still_asked_three_times() {
    let (runtime, _device, stream, clock) = safe();
    let memory = runtime.resource().unwrap();
    let _full = DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    runtime.recovery().set_hook(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        clock.advance(Duration::from_secs(2));
        Answer::Retry
    });
    assert_eq!(memory.allocate_on(layout(MIB), &stream).unwrap_err().kind(), AllocErrorKind::Limit);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn a_hook_that_panics_leaves_the_stack_usable() {
    let (runtime, device, stream, _) = safe();
    let memory = runtime.resource().unwrap();
    let full = DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap();
    runtime.recovery().set_hook(|_| panic!("a bug in the hook"));
    let failing = AssertUnwindSafe(|| memory.allocate_on(layout(MIB), &stream).map(|_| ()));
    assert!(catch_unwind(failing).is_err());
    drop(full);
    free(&memory, alloc(&memory, CAPACITY, &stream), &stream);

    let full = DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap();
    runtime.recovery().set_hook(|_| Answer::GiveUp);
    assert!(memory.allocate_on(layout(MIB), &stream).is_err());
    assert_eq!(runtime.stats().bytes.current, CAPACITY.cast_signed());
    drop((full, memory, stream, runtime));
    finish(&device);
}

#[test]
fn a_cache_that_evicts_one_entry_at_a_time_keeps_up() {
    // Requests of one entry, of several, and of all; no time passes.
    for size in [1, 2, 8, 16] {
        let (runtime, _device, stream, _) = safe();
        let memory = runtime.resource().unwrap();
        let entries = cache(&memory, &[16; 16], &stream);
        let evict = entries.clone();
        let _registered = runtime.reclaimers().register("entries", move || {
            let evicted = evict.lock().unwrap().pop();
            evicted.map_or(0, |buffer| buffer.len())
        });
        let mut served = Vec::new();
        for nth in 1..=16 / size {
            let left = entries.lock().unwrap().len();
            match DeviceBuffer::new(memory.clone(), size * 16 * MIB, &stream) {
                Ok(buffer) => served.push(buffer),
                Err(error) => panic!("request {nth} of {size}, {left} entries could go: {error}"),
            }
        }
        assert!(memory.allocate_on(layout(MIB), &stream).is_err());
    }
}

#[test]
fn how_often_a_hook_is_asked_is_configured() {
    let device = device();
    let policy = RetryPolicy::default().with_tries(5);
    let recovery = Recovery::default().with_policy(policy);
    let runtime =
        crate::support::runtime(config().with_oom_safety(true), &device).with_recovery(recovery);
    let stream = Stream::new(device).unwrap();
    let memory = runtime.resource().unwrap();
    let _full = DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap();
    runtime.recovery().set_hook(|_| Answer::Retry);
    assert!(memory.allocate_on(layout(MIB), &stream).is_err());
    assert_eq!(runtime.stats().recovery.unwrap().hook_calls, 5);
}

#[test]
fn memory_that_a_hook_frees_outside_the_pool_is_found() {
    let device = device();
    let config = config().with_oom_safety(true).with_pool_limit(PoolLimit::Unlimited);
    let runtime = crate::support::runtime(config, &device);
    let stream = Stream::new(device.clone()).unwrap();
    let elsewhere: Arc<dyn MemoryResource> = Arc::new(vmem_core::DeviceMemory::new(device.clone()));
    let foreign = cache(&elsewhere, &[200], &stream);
    runtime.recovery().set_hook(move |_| match empty(&foreign) {
        0 => Answer::GiveUp,
        _ => Answer::Retry,
    });
    let memory = runtime.resource().unwrap();
    free(&memory, alloc(&memory, 128 * MIB, &stream), &stream);
    assert_eq!(runtime.stats().recovery.unwrap().recovered, 1);
}

#[test]
fn a_hook_may_allocate_and_use_the_runtime() {
    let (runtime, _device, stream, _) = safe();
    let runtime = Arc::new(runtime);
    let memory = runtime.resource().unwrap();
    let _full = DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap();
    let (inside, weak) = (memory.clone(), Arc::downgrade(&runtime));
    runtime.recovery().set_hook(move |failure| {
        let runtime = weak.upgrade().unwrap();
        assert!(inside.allocate_on(layout(MIB), failure.stream).is_err());
        assert_eq!((runtime.trim(), runtime.free_pool_memory()), (0, 0));
        runtime.recovery().set_hook(|_| Answer::GiveUp);
        Answer::GiveUp
    });
    assert!(memory.allocate_on(layout(MIB), &stream).is_err());
}
