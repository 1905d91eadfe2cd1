//! Pools to test, and looks inside them.

use std::sync::Arc;

use vmem_core::{
    Block, BlockLayout, Contents, Device, DeviceMemory, Label, MemoryResource, ResidencyErrorKind,
    ResourceExt, Stream,
};
use vmem_pool::{
    Backing, BinningPool, Chunks, Footprint, Pending, Pool, PoolConfig, PoolHandle, VirtualArena,
};
use vmem_sim::{Kernel, SimConfig, SimDevice};
use vmem_testkit::Probe;

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) type ArenaPool = Pool<VirtualArena>;
pub(crate) type ChunkPool = Pool<Chunks<DeviceMemory>>;

pub(crate) fn device() -> Arc<SimDevice> {
    SimDevice::new(256 * MIB)
}

pub(crate) fn device_with_seed(seed: u64) -> Arc<SimDevice> {
    SimDevice::with_config(SimConfig { capacity: 256 * MIB, seed, ..Default::default() }).unwrap()
}

pub(crate) fn arena(device: Arc<dyn Device>, config: PoolConfig) -> ArenaPool {
    Pool::new(VirtualArena::new(device).unwrap(), config).unwrap()
}

pub(crate) fn chunks(device: Arc<dyn Device>, config: PoolConfig) -> ChunkPool {
    let upstream = DeviceMemory::new(device.clone());
    Pool::new(Chunks::new(upstream), config).unwrap()
}

pub(crate) fn bins(device: Arc<dyn Device>, config: PoolConfig) -> BinningPool<DeviceMemory> {
    BinningPool::new(DeviceMemory::new(device.clone()), config).unwrap()
}

pub(crate) fn layout(size: u64) -> BlockLayout {
    BlockLayout::new(size).unwrap()
}

pub(crate) fn alloc(pool: &dyn MemoryResource, size: u64, stream: &Stream) -> Block {
    pool.allocate_on(layout(size), stream).unwrap()
}

/// Frees a block whose uses are all on `stream`, or ordered before its tail.
pub(crate) fn free(pool: &dyn MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: the tests queue work on a block on the stream that frees it only,
    // or make that stream wait first.
    unsafe { pool.deallocate(block, stream) }.unwrap();
}

/// A granule of the devices of [`sim`].
pub(crate) const SMALL: u64 = 32 << 10;

/// A device of so many small granules that reserves ranges of so many.
pub(crate) fn sim(granules: u64, addresses: u64) -> Arc<SimDevice> {
    let config = SimConfig {
        capacity: granules * SMALL,
        granularity: SMALL,
        max_reservation: Some(addresses * SMALL),
        ..Default::default()
    };
    SimDevice::with_config(config).unwrap()
}

/// A configuration that takes more memory before it moves any.
pub(crate) fn lazy() -> PoolConfig {
    PoolConfig::default().with_footprint(Footprint::Lazy)
}

/// The configuration that moves memory before it takes more.
pub(crate) fn tight() -> PoolConfig {
    PoolConfig::default().with_footprint(Footprint::Tight)
}

/// Fills so many granules with blocks of one each and frees every second one, from the first.
pub(crate) fn riddle(pool: &ArenaPool, granule: u64, granules: u64, stream: &Stream) -> Vec<Block> {
    let blocks: Vec<Block> = (0..granules).map(|_| alloc(pool, granule, stream)).collect();
    let (holes, kept): (Vec<_>, Vec<_>) =
        blocks.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    holes.into_iter().for_each(|(_, block)| free(pool, block, stream));
    kept.into_iter().map(|(_, block)| block).collect()
}

/// Frees blocks as [`free`] does.
pub(crate) fn free_all(pool: &ArenaPool, blocks: Vec<Block>, stream: &Stream) {
    blocks.into_iter().for_each(|block| free(pool, block, stream));
}

/// Queues work that writes a block, and keeps the stream busy.
pub(crate) fn touch(device: &SimDevice, block: &Block, stream: &Stream) {
    let kernel = Kernel::write_pattern(block.ptr(), block.size(), block.ptr().get());
    // SAFETY: contract, devices/handles and devices/ranges: a live block and a live stream of the
    // device.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// Queues work on a block that is pending for a long time of the device's clock.
pub(crate) fn keep_busy(device: &SimDevice, block: &Block, stream: &Stream) {
    let kernel = Kernel::write_pattern(block.ptr(), block.size(), 1);
    let kernel = kernel.taking(std::time::Duration::from_secs(1000));
    // SAFETY: contract, devices/handles and devices/ranges: a live block and a live stream of the
    // device.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// Lets a thread free a block on its default stream, with work pending, and end: nobody can mark
/// that stream any more, and only a synchronisation of the device makes the memory usable.
pub(crate) fn orphan<R: MemoryResource + 'static>(
    device: &Arc<SimDevice>,
    pool: &Arc<R>,
    size: u64,
) -> Stream {
    let (device, pool) = (device.clone(), pool.clone());
    let ended = std::thread::spawn(move || {
        let erased: Arc<dyn Device> = device.clone();
        let home = Stream::per_thread_default(erased.clone());
        let block = alloc(&*pool, size, &home);
        touch(&device, &block, &home);
        free(&*pool, block, &home);
        home
    });
    ended.join().unwrap()
}

/// A pool's handle as the test kit's probe.
#[derive(Debug)]
pub(crate) struct PoolProbe(pub(crate) PoolHandle);

impl Probe for PoolProbe {
    fn check_invariants(&self) {
        self.0.check_invariants();
    }

    fn live_bytes(&self) -> Option<u64> {
        self.0.counters().map(|counters| counters.live)
    }

    /// Not while blocks rest on the host: what is live is not all on the device then.
    fn reserved_bytes(&self) -> Option<u64> {
        let counters = self.0.counters()?;
        (counters.on_host == 0).then_some(counters.reserved)
    }

    fn ceiling(&self) -> Option<u64> {
        self.reserved_bytes().and_then(|_| self.0.capacity()?.ceiling)
    }

    fn trim(&self) {
        self.0.try_trim(0).unwrap();
    }

    fn synchronize(&self) {
        self.0.synchronize().unwrap();
    }

    fn rest(&self, label: Option<Label>, wakes: bool) {
        rest(&self.0, label, wakes);
    }
}

/// Has blocks rest, or wakes them; and wakes all if a failure displaced some, so that all can be used.
pub(crate) fn rest(handle: &PoolHandle, label: Option<Label>, wakes: bool) {
    let mut done = match wakes {
        // SAFETY: programs queue nothing meanwhile; what is pending is waited for.
        true => unsafe { handle.wake(label, Pending::Wait) },
        // SAFETY: as above.
        false => unsafe { handle.sleep(label, Contents::Kept, Pending::Wait) },
    };
    while done.is_err_and(|error| error.kind() == ResidencyErrorKind::Split) {
        // SAFETY: as above.
        done = unsafe { handle.wake(None, Pending::Wait) };
    }
}

/// Runs a test on a pool over each backing.
pub(crate) fn on_both(
    config: &PoolConfig,
    test: impl Fn(&Arc<SimDevice>, &dyn MemoryResource, &PoolHandle),
) {
    let run = |device: Arc<SimDevice>, pool: &dyn MemoryResource, handle: PoolHandle| {
        test(&device, pool, &handle);
        handle.check_invariants();
    };
    let device_a = device();
    let pool = arena(device_a.clone(), config.clone());
    run(device_a.clone(), &pool, pool.handle());
    finish(&device_a, pool);
    let device_c = device();
    let pool = chunks(device_c.clone(), config.clone());
    run(device_c.clone(), &pool, pool.handle());
    finish(&device_c, pool);
}

/// Drops a pool and checks that the device saw no misuse and keeps nothing.
pub(crate) fn finish<B: Backing>(device: &SimDevice, pool: Pool<B>) {
    drop(pool);
    device.assert_clean();
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
    assert_eq!(device.base().drop_failures().count(), 0);
}

/// Waits for the device, and returns the bytes that left quarantine.
pub(crate) fn synchronize(handle: &PoolHandle) -> u64 {
    let quarantined = || handle.counters().unwrap().quarantined;
    let before = quarantined();
    handle.synchronize().unwrap();
    before - quarantined()
}
