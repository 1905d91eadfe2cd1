//! A pool over a small device, and its exploration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use loom::model::Builder;
use vmem_core::{
    AllocErrorKind, Block, BlockLayout, Device, DeviceMemory, ManualClock, MemoryResource,
    ResourceExt, Stream,
};
use vmem_pool::{Chunks, Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_sim::{Kernel, Schedule, SimConfig, SimDevice};
use vmem_testkit::{Carelessness, Countdown};

/// The device's granule, as small as one can be: devices are made by the thousand.
pub(crate) const GRANULE: u64 = 4 << 10;

/// A seed under which a late device runs nothing by itself and its first queries find work pending.
const UNHURRIED: u64 = 82;

/// What a pool stands on, and when its device runs what is queued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    arena: bool,
    schedule: Schedule,
}

const fn on(arena: bool, schedule: Schedule) -> Setting {
    Setting { arena, schedule }
}

/// On a late device a query finds work pending, on an eager one it finds it complete.
const SETTINGS: [Setting; 4] = [
    on(true, Schedule::Late),
    on(true, Schedule::Eager),
    on(false, Schedule::Late),
    on(false, Schedule::Eager),
];

/// Two models at once would share the numbers that streams are given, on which it depends what a thread
/// remembers of them: one order run twice would differ.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `model` on every setting, in every order with at most so many preemptions.
pub(crate) fn explore(
    name: &'static str,
    preemptions: usize,
    model: impl Fn(Setting) + Send + Sync + Copy + 'static,
) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for setting in SETTINGS {
        explore_on(name, setting, preemptions, model);
    }
}

/// The same where memory can move: over an arena only.
pub(crate) fn explore_moves(
    name: &'static str,
    preemptions: usize,
    model: impl Fn(Setting) + Send + Sync + Copy + 'static,
) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for setting in SETTINGS.into_iter().filter(|setting| setting.arena) {
        explore_on(name, setting, preemptions, model);
    }
}

fn explore_on(
    name: &'static str,
    setting: Setting,
    preemptions: usize,
    model: impl Fn(Setting) + Send + Sync + 'static,
) {
    let mut builder = Builder::new();
    builder.max_branches = 5_000;
    builder.preemption_bound = Some(preemptions);
    let orders = Arc::new(AtomicU64::new(0));
    let count = orders.clone();
    let start = Instant::now();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model(setting);
    });
    let orders = orders.load(Ordering::Relaxed);
    report(name, setting, orders, start);
    assert!(orders > 1, "locks that are not loom's leave nothing to explore");
}

#[expect(clippy::print_stderr, reason = "shown on request: how much was explored")]
fn report(name: &str, setting: Setting, orders: u64, start: Instant) {
    eprintln!("{name} on {setting:?}: {orders} orders in {:.1?}", start.elapsed());
}

/// A pool and its device, shared by the threads of a model.
#[derive(Debug, Clone)]
pub(crate) struct Rig {
    pub(crate) device: Arc<SimDevice>,
    /// What the pool and its streams make their calls to.
    driver: Arc<Countdown>,
    pub(crate) pool: Arc<dyn MemoryResource>,
    pub(crate) handle: PoolHandle,
}

impl Rig {
    /// A pool that may hold so many granules.
    pub(crate) fn new(setting: Setting, granules: u64) -> Self {
        Self::with(setting, granules, PoolConfig::default())
    }

    pub(crate) fn with(setting: Setting, granules: u64, config: PoolConfig) -> Self {
        let device = SimDevice::with_config(SimConfig {
            capacity: 4 * GRANULE,
            granularity: GRANULE,
            schedule: setting.schedule,
            seed: UNHURRIED,
            ..SimConfig::default()
        })
        .unwrap();
        let driver = Countdown::new(device.clone());
        // Real time would make two runs of one order differ.
        let clock = Arc::new(ManualClock::new());
        let config = config.with_ceiling(granules * GRANULE).with_clock(clock);
        if setting.arena {
            let arena = VirtualArena::new(driver.clone()).unwrap();
            Self::of(device, driver, Pool::new(arena, config).unwrap())
        } else {
            let chunks = Chunks::new(DeviceMemory::new(driver.clone()));
            Self::of(device, driver, Pool::new(chunks, config).unwrap())
        }
    }

    fn of<B: vmem_pool::Backing>(
        device: Arc<SimDevice>,
        driver: Arc<Countdown>,
        pool: Pool<B>,
    ) -> Self {
        let handle = pool.handle();
        Self { device, driver, pool: Arc::new(pool), handle }
    }

    /// The same with a driver that does not do what it says.
    pub(crate) fn careless(self, carelessness: Carelessness) -> Self {
        self.driver.set_carelessness(Some(carelessness));
        self
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.driver.clone()).unwrap()
    }

    /// The calling thread's default stream.
    pub(crate) fn own_default(&self) -> Stream {
        Stream::per_thread_default(self.driver.clone())
    }

    /// A block that must be had, with work pending on it.
    pub(crate) fn take(&self, granules: u64, stream: &Stream) -> Block {
        let block =
            self.pool.allocate_on(layout(granules), stream).expect("what fits is not refused");
        self.touch(&block, stream);
        block
    }

    /// A block with work pending on it, or none because everything is taken.
    pub(crate) fn try_take(&self, granules: u64, stream: &Stream) -> Option<Block> {
        match self.pool.allocate_on(layout(granules), stream) {
            Ok(block) => {
                self.touch(&block, stream);
                Some(block)
            }
            Err(error) if error.kind() == AllocErrorKind::Limit => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Queues work that writes the block, by the raw handle as programs do: nothing but the pool sees
    /// to the waits that others asked of the stream.
    pub(crate) fn touch(&self, block: &Block, stream: &Stream) {
        self.launch(Kernel::new("touch").writes(block.ptr(), block.size()), stream);
    }

    /// Queues a kernel that uses a live block only.
    pub(crate) fn launch(&self, kernel: Kernel, stream: &Stream) {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block, and
        // a stream that the caller may name.
        unsafe { self.device.launch_raw(stream.raw(), kernel) }.unwrap();
    }

    pub(crate) fn free(&self, block: Block, stream: &Stream) {
        // SAFETY: contract, freeing: the models queue work on a block on the stream that frees it
        // only, or make that stream wait first.
        unsafe { self.pool.deallocate(block, stream) }.unwrap();
    }

    /// Uses and frees a block of so many granules, if it can be had.
    pub(crate) fn borrow(&self, granules: u64, stream: &Stream) -> bool {
        let block = self.try_take(granules, stream);
        let had = block.is_some();
        block.into_iter().for_each(|block| self.free(block, stream));
        had
    }

    /// Ends the pool, and checks that nothing was raced for and nothing is left.
    pub(crate) fn finish(self) {
        let Self { device, driver, pool, handle } = self;
        handle.check_invariants();
        assert_eq!(handle.counters().map(|counters| counters.live), Some(0));
        assert_eq!(Arc::strong_count(&pool), 1, "the other threads have ended");
        drop((pool, driver));
        device.assert_clean();
        assert!(device.leaks().is_empty(), "{:?}", device.leaks());
        assert_eq!(device.base().drop_failures().count(), 0);
    }
}

pub(crate) fn layout(granules: u64) -> BlockLayout {
    BlockLayout::new(granules * GRANULE).unwrap()
}
