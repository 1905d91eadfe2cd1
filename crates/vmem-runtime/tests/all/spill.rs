//! Tier B where buffers may spill.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_adaptors::{MayRest, Spill, Spillable};
use vmem_core::{Contents, DeviceBuffer, MemoryResource, Residency, ResourceExt, Stream};
use vmem_pool::Pending;
use vmem_runtime::{Runtime, Size, Tier};
use vmem_sim::{Kernel, Parts, SimDevice};

use crate::support::{CAPACITY, MIB, Warnings, config, device, device_without, finish, runtime};

type Memory = MayRest<Arc<dyn MemoryResource>>;

/// A runtime that spills to so many MiB, and buffers of 64 MiB that fill the device.
struct Bench {
    runtime: Runtime,
    device: Arc<SimDevice>,
    stream: Stream,
    spill: Spill,
    buffers: Vec<Spillable<DeviceBuffer<Memory>>>,
}

impl Bench {
    fn new(host_mib: u64) -> Self {
        let device = device();
        let runtime = runtime(config().with_spill(Size::Bytes(host_mib * MIB)), &device);
        let stream = Stream::new(device.clone()).unwrap();
        let stack = runtime.ensure_ready().unwrap();
        assert_eq!(stack.tier, Tier::B);
        let (spill, memory) = (stack.spill.clone().unwrap(), MayRest::new(stack.resource.clone()));
        let buffers = (0..4).map(|tag| {
            let buffer = DeviceBuffer::new(memory.clone(), 64 * MIB, &stream).unwrap();
            launch(&device, &stream, Kernel::write_pattern(buffer.ptr().unwrap(), MIB, tag));
            spill.adopt(buffer)
        });
        let buffers = buffers.collect();
        stream.synchronize().unwrap();
        Self { runtime, device, stream, spill, buffers }
    }

    fn check(&self) {
        for (tag, buffer) in (0..).zip(&self.buffers) {
            let lease = buffer.lease(&self.stream).unwrap();
            launch(
                &self.device,
                &self.stream,
                Kernel::check_pattern(lease.ptr().unwrap(), MIB, tag),
            );
        }
    }

    fn on_device(&self) -> Vec<bool> {
        self.buffers.iter().map(Spillable::is_on_device).collect()
    }

    fn finish(self) {
        let Self { runtime, device, stream, spill, buffers } = self;
        drop(buffers);
        assert_eq!(runtime.stats().spill.unwrap().host_bytes, 0);
        drop((runtime, spill, stream));
        finish(&device);
    }
}

fn launch(device: &SimDevice, stream: &Stream, kernel: Kernel) {
    // SAFETY: contract, devices/ranges: memory that is leased or not adopted yet.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

#[test]
fn when_memory_runs_out_cold_buffers_spill_before_a_cache_is_asked_and_come_back_intact() {
    let bench = Bench::new(512);
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let cache = bench.runtime.reclaimers().register("cache", move || {
        counter.fetch_add(1, Ordering::Relaxed);
        0
    });
    let memory = bench.runtime.resource().unwrap();
    let lease = bench.buffers[0].lease(&bench.stream).unwrap();
    let large = memory.buffer(100 * MIB, &bench.stream).unwrap();
    // The first is leased; the next two are the coldest.
    assert_eq!(bench.on_device(), [true, false, false, true]);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(bench.runtime.stats().recovery.unwrap().recovered, 1);
    assert_eq!(bench.runtime.stats().spill.unwrap().demoted_bytes, 128 * MIB);
    drop(lease);
    bench.check();
    drop(large);
    bench.stream.synchronize().unwrap();
    // So that the pool knows that the free is over: a lease asks, and does not wait for it.
    bench.runtime.free_pool_memory();
    bench.check();
    assert_eq!(bench.on_device(), [true; 4]);
    drop((cache, memory));
    bench.finish();
}

#[test]
fn no_more_spills_than_a_request_misses_of_what_the_pool_may_hold() {
    let mut bench = Bench::new(256);
    bench.buffers.truncate(2);
    let memory = MayRest::new(bench.runtime.ensure_ready().unwrap().resource.clone());
    let small: Vec<_> = (0..9)
        .map(|_| DeviceBuffer::new(memory.clone(), 8 * MIB, &bench.stream).unwrap())
        .map(|buffer| bench.spill.adopt(buffer))
        .collect();
    // The small ones are the coldest.
    bench.check();
    bench.stream.synchronize().unwrap();
    // 200 of 256 MiB are held.
    let large = memory.buffer(64 * MIB, &bench.stream).unwrap();
    assert_eq!(bench.runtime.stats().spill.unwrap().demoted_bytes, 8 * MIB);
    drop((large, small));
    drop(memory);
    bench.finish();
}

#[test]
fn what_does_not_fit_the_host_is_refused_as_without_spilling() {
    let bench = Bench::new(64);
    let memory = bench.runtime.resource().unwrap();
    let first = memory.buffer(64 * MIB, &bench.stream).unwrap();
    let refused = memory.buffer(64 * MIB, &bench.stream).unwrap_err();
    assert!(refused.kind().is_exhaustion(), "{refused}");
    assert_eq!(bench.on_device(), [false, true, true, true]);
    assert!(bench.device.host_used() <= 64 * MIB);
    drop(first);
    drop(memory);
    bench.check();
    bench.finish();
}

#[test]
fn admission_counts_what_can_spill_and_what_has() {
    let bench = Bench::new(192);
    let fits = |mib| {
        let one = NonZeroU64::new(1).unwrap();
        bench.runtime.admit(mib * MIB, one).unwrap().is_admitted()
    };
    // 192 MiB may go to the host.
    assert!(fits(192) && !fits(193));
    let lease = bench.buffers[0].lease(&bench.stream).unwrap();
    let other = bench.buffers[1].lease(&bench.stream).unwrap();
    assert!(fits(128) && !fits(129));
    let memory = bench.runtime.resource().unwrap();
    let large = memory.buffer(128 * MIB, &bench.stream).unwrap();
    assert!(!fits(1));
    drop((lease, other, large));
    drop(memory);
    bench.stream.synchronize().unwrap();
    assert!(fits(192) && !fits(193));
    bench.finish();
}

#[test]
fn what_was_freed_at_rest_leaves_no_room_on_the_device() {
    let mut bench = Bench::new(256);
    let memory = bench.runtime.resource().unwrap();
    // The first two are the coldest.
    let large = memory.buffer(128 * MIB, &bench.stream).unwrap();
    assert_eq!(bench.on_device(), [false, false, true, true]);
    bench.buffers.drain(..2);
    let leases: Vec<_> =
        bench.buffers.iter().map(|buffer| buffer.lease(&bench.stream).unwrap()).collect();
    // The host's memory is held until the pool is tidied.
    assert_eq!(bench.runtime.stats().on_host, Some(128 * MIB));
    let one = NonZeroU64::new(1).unwrap();
    assert!(!bench.runtime.admit(1, one).unwrap().is_admitted());
    drop((leases, large));
    drop(memory);
    bench.finish();
}

#[test]
fn what_was_discarded_leaves_its_room_to_others() {
    let device = device();
    let runtime = runtime(config(), &device);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = runtime.resource().unwrap();
    let buffer = memory.buffer(192 * MIB, &stream).unwrap();
    let fits = |mib| {
        let one = NonZeroU64::new(1).unwrap();
        runtime.admit(mib * MIB, one).unwrap().is_admitted()
    };
    assert!(fits(64) && !fits(65));
    // SAFETY: contract, moving/nothing-pending: no work was queued.
    unsafe { runtime.sleep(None, Contents::Discarded, Pending::Wait) }.unwrap();
    assert!(fits(256) && !fits(257));
    let other = memory.buffer(256 * MIB, &stream).unwrap();
    drop((other, buffer));
    drop((memory, runtime, stream));
    finish(&device);
}

#[test]
fn the_hosts_reserve_is_made_with_the_stack_and_what_it_cannot_hold_is_a_warning() {
    let device = device();
    let config = config().with_host_reserve(Size::Bytes(64 * MIB));
    let runtime = runtime(config.clone().with_host_limit(Size::Bytes(96 * MIB)), &device);
    let pool = runtime.ensure_ready().unwrap().pool.clone().unwrap();
    assert_eq!((device.host_used(), pool.host_room()), (64 * MIB, 96 * MIB));
    assert_eq!(pool.counters().unwrap().host_reserve, 64 * MIB);
    drop((runtime, pool));
    finish(&device);
    // Where nothing can be kept there, the stack is built without.
    let without = device_without(Parts::HOST_HANDLES);
    let warnings = Warnings::during(|| {
        let runtime = crate::support::runtime(config, &without);
        assert_eq!(runtime.ensure_ready().unwrap().tier, Tier::A);
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("reserve"), "{warnings:?}");
    finish(&without);
}

#[test]
fn a_reservation_has_buffers_spill() {
    let bench = Bench::new(256);
    let reservation = bench.runtime.reserve(128 * MIB, &bench.stream).unwrap();
    assert_eq!(bench.on_device(), [false, false, true, true]);
    bench.check();
    drop(reservation);
    bench.finish();
}

#[test]
fn on_tier_c_a_warning_says_that_nothing_spills() {
    let device = device();
    let config = config().with_managed_memory(true).with_spill(Size::Bytes(64 * MIB));
    let warnings = Warnings::during(|| {
        let runtime = runtime(config, &device);
        assert_eq!(runtime.ensure_ready().unwrap().tier, Tier::C);
        assert!(runtime.ensure_ready().unwrap().spill.is_none());
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("nothing can spill"), "{warnings:?}");
    finish(&device);
}

#[test]
fn without_the_setting_nothing_spills() {
    let device = device();
    let runtime = runtime(config().with_oom_safety(true), &device);
    let stack = runtime.ensure_ready().unwrap();
    assert!(stack.spill.is_none() && runtime.stats().spill.is_none());
    drop(runtime);
    finish(&device);
}

#[test]
fn where_memory_cannot_rest_on_the_host_a_warning_says_so_and_leases_work() {
    for without in [Parts::HOST_HANDLES, Parts::VIRTUAL_MEMORY | Parts::HOST_HANDLES] {
        let device = device_without(without);
        let warnings = Warnings::during(|| {
            let runtime = runtime(config().with_spill(Size::Bytes(64 * MIB)), &device);
            let stream = Stream::new(device.clone()).unwrap();
            let stack = runtime.ensure_ready().unwrap();
            let (spill, memory) = (stack.spill.clone().unwrap(), stack.resource.clone());
            let buffer = DeviceBuffer::new(memory.clone(), CAPACITY / 2, &stream).unwrap();
            let buffer = spill.adopt(buffer);
            drop(buffer.lease(&stream).unwrap());
            let refused = memory.buffer(CAPACITY, &stream).unwrap_err();
            assert!(refused.kind().is_exhaustion(), "{refused}");
            assert!(buffer.is_on_device());
        });
        assert!(warnings.iter().any(|text| text.contains("nothing can spill")), "{warnings:?}");
        finish(&device);
    }
}
