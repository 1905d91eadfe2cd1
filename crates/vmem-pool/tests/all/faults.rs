//! Driver calls fail, each in turn and in pairs: nothing leaks, the error is of the right kind, and
//! the pool works afterwards.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{
    AllocErrorKind, AsyncMemory, BlockLayout, Device, DeviceMemory, DriverCode, MemoryResource,
    PinnedMemory, Request, ResourceExt, Stream,
};
use vmem_pool::{
    Backing, BuildError, Chunks, Footprint, Pool, PoolConfig, PoolHandle, VirtualArena,
};
use vmem_sim::{Kernel, SimConfig, SimDevice};
use vmem_testkit::{Countdown, FAULT_CODES, FailedFree, Fault, Pairs, TrackedBlock, sweep};

use crate::support::{MIB, arena, bins, chunks, layout};

/// What sizes are given in: small, because the simulated device has real bytes.
const UNIT: u64 = 64 << 10;

/// A pool to fail calls under, and its handle.
type Made = (Arc<dyn MemoryResource>, PoolHandle);

/// A mix that climbs every rung: two streams, growth, steals, merges, moves, trims, with work pending
/// all the time.
struct Scenario<'a> {
    sim: &'a SimDevice,
    pool: &'a dyn MemoryResource,
    handle: &'a PoolHandle,
    streams: [Stream; 2],
    fault: Fault,
}

impl Scenario<'_> {
    fn run(&self) {
        // With the stream that used it, if one did.
        let mut blocks: Vec<(TrackedBlock, Option<&Stream>)> = Vec::new();
        let sizes = [3 * UNIT, 100, UNIT, 5 * UNIT, 700, 2 * UNIT, 9 * UNIT, 4 * UNIT];
        for round in 0..3 {
            for (i, &size) in sizes.iter().enumerate() {
                let stream = &self.streams[(i + round) % 2];
                match TrackedBlock::allocate(self.pool, &Request::new(layout(size), stream)) {
                    Ok(block) => {
                        let user = (i % 3 > 0).then_some(stream);
                        user.into_iter().for_each(|stream| self.use_it(&block, stream));
                        blocks.push((block, user));
                    }
                    Err(error) => self.is_of_the_right_kind(error.kind()),
                }
                self.handle.check_invariants();
                if i % 3 == 2 && !blocks.is_empty() {
                    let (block, user) = blocks.remove(blocks.len() / 2);
                    self.free(block, user.unwrap_or(stream));
                }
            }
            for (block, user) in std::mem::take(&mut blocks) {
                self.free(block, user.unwrap_or(&self.streams[round % 2]));
                self.handle.check_invariants();
            }
            self.capture(&self.streams[1]);
            let _ = self.handle.try_trim(4 * UNIT);
            self.handle.check_invariants();
        }
    }

    fn is_of_the_right_kind(&self, kind: AllocErrorKind) {
        let of = |code| match code {
            DriverCode::OUT_OF_MEMORY => AllocErrorKind::OutOfMemory,
            _ => AllocErrorKind::DeviceFault,
        };
        let codes = [Some(self.fault.code), self.fault.then.map(|(_, code)| code)];
        let kinds: Vec<_> = codes.into_iter().flatten().map(of).collect();
        assert!(kinds.contains(&kind), "{kind:?} after {:?}", self.fault);
    }

    /// Queues a little work on a block.
    fn use_it(&self, block: &TrackedBlock, stream: &Stream) {
        let kernel = Kernel::write_pattern(block.ptr(), block.size().min(64), 1);
        // SAFETY: contract, devices/handles and devices/ranges: a live block and the stream it was
        // asked for on.
        unsafe { self.sim.launch(stream, kernel.taking(Duration::from_micros(50))) }.unwrap();
    }

    /// Frees a block. A call that the free needs may fail, as often as calls do.
    fn free(&self, block: TrackedBlock, stream: &Stream) {
        let mut block = Some(block);
        for _ in 0..3 {
            let Some(live) = block.take() else { return };
            block = live.free(self.pool, stream).err().map(FailedFree::into_block);
        }
        assert!(block.is_none(), "no more than two calls fail");
    }

    /// While a stream captures, it gets what is at hand or is refused, whatever fails.
    fn capture(&self, stream: &Stream) {
        // SAFETY: contract, devices/handles: a live stream of this device.
        unsafe { self.sim.begin_capture_raw(stream.raw()) }.unwrap();
        let kept = [256, 3 * UNIT, 6 * UNIT]
            .map(|size| TrackedBlock::allocate(self.pool, &Request::new(layout(size), stream)));
        // SAFETY: as above.
        unsafe { self.sim.end_capture_raw(stream.raw()) }.unwrap();
        kept.into_iter().flatten().for_each(|block| self.free(block, stream));
    }
}

/// Runs the scenario with failing calls. Afterwards the pool still gives out all it may, and gives
/// back all it holds.
fn survives(make: &dyn Fn(Arc<dyn Device>) -> Made, fault: Fault) -> Arc<Countdown> {
    let config = SimConfig { capacity: 48 * UNIT, granularity: 2 * UNIT, ..SimConfig::default() };
    let sim = SimDevice::with_config(config).unwrap();
    let countdown = Countdown::new(sim.clone());
    let streams = [(); 2].map(|()| Stream::new(countdown.clone()).unwrap());
    let (pool, handle) = make(countdown.clone());
    fault.arm(&countdown);
    let scenario = Scenario { sim: &sim, pool: &*pool, handle: &handle, streams, fault };
    scenario.run();
    countdown.disarm();
    let failed = countdown.failed();
    let stream = &scenario.streams[1];
    handle.trim_to(0).unwrap();
    let most = BlockLayout::new(32 * UNIT).unwrap();
    let block = pool.allocate_on(most, stream);
    let block = block.unwrap_or_else(|error| panic!("after {failed:?}, {fault:?}: {error}"));
    // SAFETY: contract, freeing: no work was queued on the block.
    unsafe { pool.deallocate(block, stream) }.unwrap();
    handle.trim_to(0).unwrap();
    handle.check_invariants();
    assert_eq!(handle.counters().unwrap().reserved, 0, "{failed:?}, {fault:?}");
    drop(scenario);
    drop(pool);
    sim.assert_clean();
    let leaks = sim.leaks();
    let lost_destroy = failed.contains(&"Device::destroy_event");
    assert!(leaks.is_empty() || lost_destroy, "{failed:?}, {fault:?}: {leaks:?}");
    countdown
}

fn survives_one(make: &dyn Fn(Arc<dyn Device>) -> Made) {
    let faults = sweep(&FAULT_CODES, 2000, |fault| survives(make, fault));
    assert!(faults > 100, "only {faults} faults were reached");
}

fn survives_two(make: &dyn Fn(Arc<dyn Device>) -> Made) {
    let pairs = Pairs { most: MOST, ..Pairs::default() }.sweep(|fault| survives(make, fault));
    assert!(pairs > 100, "only {pairs} pairs were reached");
}

/// The pairs that are run for each pair of codes.
const MOST: usize = 150;

fn arena_pool(device: Arc<dyn Device>, config: PoolConfig) -> Made {
    let pool = arena(device, config);
    let handle = pool.handle();
    (pool.into_dyn(), handle)
}

fn capped(device: Arc<dyn Device>) -> Made {
    arena_pool(device, PoolConfig::default().with_ceiling(40 * UNIT))
}

fn lazy(device: Arc<dyn Device>) -> Made {
    arena_pool(device, PoolConfig::default())
}

fn tight(device: Arc<dyn Device>) -> Made {
    arena_pool(device, PoolConfig::default().with_footprint(Footprint::Tight))
}

fn chunk_pool(device: Arc<dyn Device>) -> Made {
    let pool = chunks(device, PoolConfig::default());
    let handle = pool.handle();
    (pool.into_dyn(), handle)
}

fn pinned_pool(device: Arc<dyn Device>) -> Made {
    let upstream = PinnedMemory::new(device.clone()).unwrap();
    let pool = Pool::new(Chunks::new(upstream), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    (pool.into_dyn(), handle)
}

fn pool_over_a_pool(device: Arc<dyn Device>) -> Made {
    let below = arena(device.clone(), PoolConfig::default());
    let pool = Pool::new(Chunks::new(below), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    (pool.into_dyn(), handle)
}

fn binning_pool(device: Arc<dyn Device>) -> Made {
    let pool = bins(device, PoolConfig::default());
    let handle = pool.handle();
    (pool.into_dyn(), handle)
}

macro_rules! sweeps {
    ($($one:ident, $two:ident, $make:ident;)*) => {$(
        #[test]
        fn $one() {
            survives_one(&$make);
        }

        #[test]
        fn $two() {
            survives_two(&$make);
        }
    )*};
}

sweeps! {
    any_failing_call_leaves_the_arena_pool_usable_and_nothing_leaked,
    two_failing_calls_leave_the_arena_pool_usable_and_nothing_leaked, lazy;
    any_failing_call_leaves_a_capped_arena_pool_usable_and_nothing_leaked,
    two_failing_calls_leave_a_capped_arena_pool_usable_and_nothing_leaked, capped;
    any_failing_call_leaves_a_tight_arena_pool_usable_and_nothing_leaked,
    two_failing_calls_leave_a_tight_arena_pool_usable_and_nothing_leaked, tight;
    any_failing_call_leaves_the_chunk_pool_usable_and_nothing_leaked,
    two_failing_calls_leave_the_chunk_pool_usable_and_nothing_leaked, chunk_pool;
    any_failing_call_leaves_a_pool_of_host_memory_usable_and_nothing_leaked,
    two_failing_calls_leave_a_pool_of_host_memory_usable_and_nothing_leaked, pinned_pool;
    any_failing_call_leaves_a_pool_over_a_pool_usable_and_nothing_leaked,
    two_failing_calls_leave_a_pool_over_a_pool_usable_and_nothing_leaked, pool_over_a_pool;
    any_failing_call_leaves_the_binning_pool_usable_and_nothing_leaked,
    two_failing_calls_leave_the_binning_pool_usable_and_nothing_leaked, binning_pool;
}

/// How a pool is built that may fail.
type Build = dyn Fn(Arc<dyn Device>, PoolConfig) -> Result<Made, BuildError>;

/// Builds a pool with an initial size while calls fail: there is a pool, or nothing is left, or what is
/// left is reported.
fn begins(make: &Build, fault: Fault) -> Arc<Countdown> {
    let config = SimConfig { capacity: 48 * UNIT, granularity: 2 * UNIT, ..SimConfig::default() };
    let sim = SimDevice::with_config(config).unwrap();
    let countdown = Countdown::new(sim.clone());
    fault.arm(&countdown);
    let made = make(countdown.clone(), PoolConfig::default().with_initial(8 * UNIT));
    if made.is_err() {
        let leaks = sim.leaks();
        let counts =
            [leaks.plain, leaks.handles, leaks.mappings, leaks.ranges, leaks.stream_ordered];
        let nothing = counts.iter().all(|kind| kind.count == 0);
        let reported = sim.base().drop_failures().count() > 0;
        assert!(nothing || reported, "{:?}, {fault:?}: {leaks:?}", countdown.failed());
        assert!(nothing || fault.then.is_some(), "one failing call loses nothing: {leaks:?}");
    }
    countdown.disarm();
    drop(made);
    sim.assert_clean();
    countdown
}

#[test]
fn a_pool_that_cannot_take_its_initial_size_leaves_nothing_unreported() {
    fn built<B: Backing>(pool: Result<Pool<B>, BuildError>) -> Result<Made, BuildError> {
        pool.map(|pool| {
            let handle = pool.handle();
            (pool.into_dyn(), handle)
        })
    }
    let over_arena = |device, config| built(Pool::new(VirtualArena::new(device)?, config));
    let over_chunks = |device: Arc<dyn Device>, config| {
        built(Pool::new(Chunks::new(DeviceMemory::new(device.clone())), config))
    };
    let over_the_drivers_pool = |device: Arc<dyn Device>, config| {
        let upstream = AsyncMemory::new(device.clone()).unwrap();
        built(Pool::new(Chunks::new(upstream), config))
    };
    let all: [&Build; 3] = [&over_arena, &over_chunks, &over_the_drivers_pool];
    for make in all {
        assert!(sweep(&FAULT_CODES, 2000, |fault| begins(make, fault)) > 5);
        assert!(Pairs::default().sweep(|fault| begins(make, fault)) > 5);
    }
}

#[test]
fn a_lost_device_is_an_error_and_not_a_hang() {
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), PoolConfig::default());
    let block = pool.allocate_on(layout(MIB), &stream).unwrap();
    device.lose();
    let error = pool.allocate_on(layout(8 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    // SAFETY: contract, freeing: no work was queued on the block.
    unsafe { pool.deallocate(block, &stream) }.unwrap();
    assert!(pool.handle().trim_to(0).is_err());
    pool.handle().check_invariants();
    drop(pool);
    assert!(device.base().drop_failures().count() > 0, "the leak is reported");
}
