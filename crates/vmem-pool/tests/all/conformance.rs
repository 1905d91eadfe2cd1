//! Every pool is held to the contract, and runs random programs beside the model.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vmem_core::{AsyncMemory, DriverCode, Label, MemoryResource, PinnedMemory};
use vmem_pool::{Batch, BuildErrorKind, BySize, Chunks, Pool, PoolConfig, PoolHandle};
use vmem_sim::{SimConfig, SimDevice};
use vmem_testkit::conformance::{self, Subject};
use vmem_testkit::{Countdown, Probe, Program, Shape};

use crate::support::{MIB, PoolProbe, arena, bins, chunks, device, device_with_seed, rest, tight};

type Made = (Box<dyn MemoryResource>, PoolHandle);

fn make_arena(device: Arc<SimDevice>) -> Made {
    let pool = arena(device, PoolConfig::default());
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_strict_arena(device: Arc<SimDevice>) -> Made {
    let pool = arena(device, PoolConfig::default().with_batch(Batch::STRICT));
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_chunks(device: Arc<SimDevice>) -> Made {
    let config = PoolConfig::default().with_batch(Batch::new(2, MIB));
    let pool = chunks(device, config);
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_capped_arena(device: Arc<SimDevice>) -> Made {
    let pool = arena(device, PoolConfig::default().with_ceiling(160 * MIB));
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_tight_arena(device: Arc<SimDevice>) -> Made {
    let pool = arena(device, tight());
    let handle = pool.handle();
    (Box::new(pool), handle)
}

/// So little room that memory moves all the time.
fn make_crowded_arena(device: Arc<SimDevice>) -> Made {
    let pool = arena(device, PoolConfig::default().with_ceiling(8 * MIB));
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_pinned(device: Arc<SimDevice>) -> Made {
    let upstream = PinnedMemory::new(device.clone()).unwrap();
    let pool = Pool::new(Chunks::new(upstream), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_async(device: Arc<SimDevice>) -> Made {
    let upstream = AsyncMemory::new(device.clone()).unwrap();
    let pool = Pool::new(Chunks::new(upstream), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_pool_on_pool(device: Arc<SimDevice>) -> Made {
    let upstream = arena(device.clone(), PoolConfig::default());
    let pool = Pool::new(Chunks::new(upstream), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn make_bins(device: Arc<SimDevice>) -> Made {
    let pool = bins(device, PoolConfig::default());
    let handle = pool.handle();
    (Box::new(pool), handle)
}

fn conforms(make: impl Fn(Arc<SimDevice>) -> Made) {
    for seed in 0..3 {
        let device = device_with_seed(seed);
        let (pool, handle) = make(device.clone());
        let probe = PoolProbe(handle);
        let other = crate::support::device();
        let subject =
            Subject { other_device: Some(other), seed, probe: &probe, ..Subject::new(&pool) };
        conformance::check(&subject);
        drop(pool);
        device.assert_clean();
        assert!(device.leaks().is_empty(), "seed {seed}: {:?}", device.leaks());
    }
}

fn runs_programs(make: impl Fn(Arc<SimDevice>) -> Made) {
    let shape = Shape { max_size: MIB, ..Shape::default() };
    run_programs(shape, device_with_seed, make);
}

/// Programs on a device whose granules are small beside the blocks.
fn moves_in_programs(make: impl Fn(Arc<SimDevice>) -> Made) {
    let shape = Shape { max_size: MIB / 2, ..Shape::default() };
    run_programs(shape, small_granules, make);
}

/// The same with blocks that rest on the host.
fn rests_in_programs(make: impl Fn(Arc<SimDevice>) -> Made) {
    let shape = Shape { max_size: MIB / 2, max_ops: 160, rests: true, ..Shape::default() };
    run_programs(shape, small_granules, make);
}

fn small_granules(seed: u64) -> Arc<SimDevice> {
    let (capacity, granularity) = (64 * MIB, 32 << 10);
    let config = SimConfig { capacity, granularity, seed, ..Default::default() };
    SimDevice::with_config(config).unwrap()
}

fn run_programs(
    shape: Shape,
    device: impl Fn(u64) -> Arc<SimDevice>,
    make: impl Fn(Arc<SimDevice>) -> Made,
) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(any_with::<Program>(shape), any::<u64>()), |(program, seed)| {
            let device = device(seed);
            let (pool, handle) = make(device.clone());
            let probe = PoolProbe(handle);
            let subject = Subject { probe: &probe, ..Subject::new(&pool) };
            let ran = program.run(&subject);
            prop_assert!(ran.is_ok(), "{}", ran.unwrap_err());
            drop(pool);
            device.assert_clean();
            prop_assert!(device.leaks().is_empty(), "{:?}", device.leaks());
            Ok(())
        })
        .unwrap();
}

macro_rules! held_to_the_contract {
    ($($make:ident: $conforms:ident, $programs:ident;)*) => {$(
        #[test]
        fn $conforms() {
            conforms($make);
        }

        #[test]
        fn $programs() {
            runs_programs($make);
        }
    )*};
}

held_to_the_contract! {
    make_arena: the_arena_pool_conforms, programs_run_on_the_arena_pool;
    make_strict_arena: the_strict_arena_pool_conforms, programs_run_on_the_strict_arena_pool;
    make_capped_arena: the_capped_arena_pool_conforms, programs_run_on_the_capped_arena_pool;
    make_tight_arena: the_tight_arena_pool_conforms, programs_run_on_the_tight_arena_pool;
    make_chunks: the_chunk_pool_conforms, programs_run_on_the_chunk_pool;
    make_pinned: the_pinned_pool_conforms, programs_run_on_the_pinned_pool;
    make_async: the_pool_over_the_drivers_pool_conforms, programs_run_on_the_pool_over_the_drivers_pool;
    make_pool_on_pool: a_pool_on_a_pool_conforms, programs_run_on_a_pool_on_a_pool;
    make_bins: the_binning_pool_conforms, programs_run_on_the_binning_pool;
}

#[test]
fn programs_run_where_memory_moves_first() {
    moves_in_programs(make_tight_arena);
}

#[test]
fn programs_run_where_room_is_short_and_memory_moves() {
    moves_in_programs(make_crowded_arena);
}

#[test]
fn programs_run_where_blocks_rest_on_the_host_now_and_then() {
    rests_in_programs(make_arena);
    rests_in_programs(make_tight_arena);
    rests_in_programs(make_crowded_arena);
}

/// A pool under failing calls, which a trim may meet as well.
#[derive(Debug)]
struct Resting(PoolHandle);

impl Probe for Resting {
    fn check_invariants(&self) {
        self.0.check_invariants();
    }

    fn live_bytes(&self) -> Option<u64> {
        self.0.counters().map(|counters| counters.live)
    }

    fn trim(&self) {
        let _ = self.0.try_trim(0);
    }

    fn rest(&self, label: Option<Label>, wakes: bool) {
        rest(&self.0, label, wakes);
    }
}

#[test]
fn programs_survive_a_fault_where_blocks_rest_on_the_host() {
    let shape = Shape { max_size: MIB / 2, max_ops: 80, rests: true, ..Shape::default() };
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let codes = [DriverCode::OUT_OF_MEMORY, DriverCode::UNKNOWN];
    let any = (any_with::<Program>(shape), any::<u64>(), 0..2_usize, 1..400_u64, 0..40_u64);
    TestRunner::new(config)
        .run(&any, |(program, seed, code, nth, then)| {
            let device = small_granules(seed);
            let countdown = Countdown::new(device.clone());
            let pool = arena(countdown.clone(), tight());
            let probe = Resting(pool.handle());
            let subject = Subject { probe: &probe, ..Subject::new(&pool) };
            countdown.arm(nth, codes[code]);
            if then > 0 {
                countdown.arm_next(then, DriverCode::UNKNOWN);
            }
            let ran = program.run_with_fault(&subject, &countdown);
            let failed = countdown.failed();
            prop_assert!(ran.is_ok(), "{failed:?}: {}", ran.unwrap_err());
            let violations = device.violations();
            prop_assert!(violations.is_empty(), "{failed:?}: {violations:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_pool_behind_every_pointer_is_the_same_pool() {
    let device = device();
    let pool = Arc::new(arena(device.clone(), PoolConfig::default()));
    conformance::check(&Subject::new(&pool));
    conformance::check(&Subject::new(&&*pool));
    drop(pool);
    device.assert_clean();
}

#[test]
fn two_pools_by_size_conform() {
    for seed in 0..3 {
        let device = device_with_seed(seed);
        let small = chunks(device.clone(), PoolConfig::default());
        let large = arena(device.clone(), PoolConfig::default());
        let handles = [small.handle(), large.handle()];
        let pool = BySize::new(small, large, 4096).unwrap();
        let other = crate::support::device();
        let subject = Subject { other_device: Some(other), seed, ..Subject::new(&pool) };
        conformance::check(&subject);
        // What ended threads freed on their default streams.
        handles.iter().for_each(|handle| handle.synchronize().unwrap());
        drop(pool);
        device.assert_clean();
        assert!(device.leaks().is_empty(), "seed {seed}: {:?}", device.leaks());
    }
}

#[test]
fn pools_of_two_devices_are_not_one_by_size() {
    let make = || arena(device(), PoolConfig::default());
    let refused = BySize::new(make(), make(), 4096).unwrap_err();
    assert_eq!(refused.kind(), BuildErrorKind::TwoDevices);
}
