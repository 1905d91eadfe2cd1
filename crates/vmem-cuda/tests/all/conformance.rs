//! Leaves and pools on the device, held to the contract.

use std::sync::Arc;

use vmem_core::{AsyncMemory, Device, DeviceMemory, MemoryResource, PinnedMemory};
use vmem_managed::ManagedMemory;
use vmem_pool::{BinningPool, Chunks, Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_sim::SimDevice;
use vmem_testkit::Probe;
use vmem_testkit::conformance::{self, CHECKS, Outcome, Subject};

use crate::support::{MIB, bench, has_control};

fn subject(resource: &dyn MemoryResource) -> Subject<'_> {
    Subject {
        other_device: Some(SimDevice::new(1 << 20)),
        budget: 16 << 20,
        ..Subject::new(resource)
    }
}

/// Held to the contract, but on hardware without the requests for more managed memory than it has,
/// which may hang a GPU that others use too.
pub(crate) fn check_managed(subject: &Subject<'_>) {
    const HUGE: [&str; 2] = ["a_pebibyte_is_refused", "sizes_near_the_maximum_never_wrap"];
    if has_control() {
        return conformance::check(subject);
    }
    for check in CHECKS.iter().filter(|check| !HUGE.contains(&check.name)) {
        if let Outcome::Failed(how) = check.run(subject) {
            panic!("{}: {how}", check.name);
        }
    }
}

#[test]
fn device_memory_conforms() {
    let Some(bench) = bench() else { return };
    let memory = DeviceMemory::new(bench.device());
    conformance::check(&subject(&memory));
    drop(memory);
    bench.finish();
}

#[test]
fn pinned_memory_conforms() {
    let Some(bench) = bench() else { return };
    let memory = PinnedMemory::new(bench.device()).unwrap();
    conformance::check(&subject(&memory));
    drop(memory);
    bench.finish();
}

#[test]
fn stream_ordered_memory_conforms() {
    let Some(bench) = bench() else { return };
    let memory = AsyncMemory::new(bench.device()).unwrap();
    conformance::check(&subject(&memory));
    drop(memory);
    bench.finish();
}

#[test]
fn managed_memory_conforms() {
    let Some(bench) = bench() else { return };
    let memory = ManagedMemory::new(bench.device()).unwrap();
    check_managed(&subject(&memory));
    drop(memory);
    bench.finish();
}

#[test]
fn leaves_leak_rather_than_dangle() {
    let Some(bench) = bench() else { return };
    let device = bench.device();
    conformance::check_leak(DeviceMemory::new(device.clone()));
    conformance::check_leak(PinnedMemory::new(device.clone()).unwrap());
    conformance::check_leak(AsyncMemory::new(device.clone()).unwrap());
}

/// A look into a pool.
#[derive(Debug)]
struct PoolProbe(PoolHandle);

impl Probe for PoolProbe {
    fn check_invariants(&self) {
        self.0.check_invariants();
    }

    fn live_bytes(&self) -> Option<u64> {
        self.0.counters().map(|counters| counters.live)
    }

    fn reserved_bytes(&self) -> Option<u64> {
        self.0.counters().map(|counters| counters.reserved)
    }

    fn ceiling(&self) -> Option<u64> {
        self.0.capacity().and_then(|capacity| capacity.ceiling)
    }

    fn trim(&self) {
        self.0.try_trim(0).unwrap();
    }

    fn synchronize(&self) {
        self.0.synchronize().unwrap();
    }
}

fn pool_conforms<R: MemoryResource>(
    make: impl Fn(Arc<dyn Device>, PoolConfig) -> R,
    handle: impl Fn(&R) -> PoolHandle,
) {
    let Some(bench) = bench() else { return };
    let pool = make(bench.device(), PoolConfig::default());
    let probe = PoolProbe(handle(&pool));
    conformance::check(&Subject { probe: &probe, ..subject(&pool) });
    drop(pool);
    bench.finish();
}

fn arena(device: Arc<dyn Device>, config: PoolConfig) -> Pool<VirtualArena> {
    Pool::new(VirtualArena::new(device).unwrap(), config).unwrap()
}

fn chunks<U: MemoryResource + 'static>(upstream: U, config: PoolConfig) -> Pool<Chunks<U>> {
    Pool::new(Chunks::new(upstream), config).unwrap()
}

#[test]
fn the_arena_pool_conforms() {
    pool_conforms(arena, Pool::handle);
}

#[test]
fn the_chunk_pool_conforms() {
    pool_conforms(|device, config| chunks(DeviceMemory::new(device), config), Pool::handle);
}

#[test]
fn the_pinned_pool_conforms() {
    pool_conforms(
        |device, config| chunks(PinnedMemory::new(device).unwrap(), config),
        Pool::handle,
    );
}

#[test]
fn the_pool_over_the_drivers_pool_conforms() {
    pool_conforms(|device, config| chunks(AsyncMemory::new(device).unwrap(), config), Pool::handle);
}

#[test]
fn the_binning_pool_conforms() {
    pool_conforms(
        |device, config| BinningPool::new(DeviceMemory::new(device), config).unwrap(),
        BinningPool::handle,
    );
}

#[test]
fn a_full_pool_serves_again_as_soon_as_something_was_freed() {
    let Some(bench) = bench() else { return };
    let config = PoolConfig::default().with_ceiling(32 * MIB);
    let pool = arena(bench.device(), config);
    let probe = PoolProbe(pool.handle());
    let check = CHECKS.iter().find(|check| check.name == "exhaustion_passes").unwrap();
    let outcome = check.run(&Subject { probe: &probe, ..subject(&pool) });
    assert!(matches!(outcome, Outcome::Passed), "{outcome:?}");
    drop(pool);
    bench.finish();
}
