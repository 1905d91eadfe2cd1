//! Driver calls fail while memory goes to the host and comes back, each in turn and in pairs: every byte
//! is where the pool says, nothing is half done after one failure, and nothing leaks after two.

use std::sync::Arc;

use vmem_core::{
    Block, Contents, Device, DriverCode, Label, Moved, Residency, ResidencyError,
    ResidencyErrorKind, Stream, label,
};
use vmem_pool::{Pending, PoolConfig};
use vmem_sim::{Kernel, SimConfig, SimDevice};
use vmem_testkit::{Countdown, FAULT_CODES, Fault, Pairs, sweep};

use crate::resting::Bench;
use crate::sleeping::hooked;
use crate::support::{SMALL, free, keep_busy, riddle, sim, tight};

/// Blocks that are of one handle, of several, that share one, and that use memory lent to them.
struct Scenario {
    bench: Bench,
    countdown: Arc<Countdown>,
    /// With what each is to hold, unless that was given up.
    blocks: Vec<(Block, Option<u64>)>,
    rest: Vec<Block>,
    failed: usize,
}

impl Scenario {
    fn new() -> Self {
        let config = SimConfig { capacity: 48 * SMALL, granularity: SMALL, ..SimConfig::default() };
        let sim = SimDevice::with_config(config).unwrap();
        let countdown = Countdown::new(sim.clone());
        let bench = Bench::over(sim, countdown.clone(), tight());
        let rest = riddle(&bench.pool, SMALL, 12, &bench.stream);
        bench.stream.synchronize().unwrap();
        let _scope = label("moving");
        let sizes = [4 * SMALL + 700, 6 * SMALL, SMALL / 3, SMALL / 3];
        let blocks: Vec<_> = (1..).zip(sizes).map(|(tag, n)| (bench.alloc(n), Some(tag))).collect();
        assert!(bench.counters().moves > 0, "one is of memory that is lent");
        blocks.iter().for_each(|(block, tag)| bench.write(block, tag.unwrap()));
        bench.stream.synchronize().unwrap();
        Self { bench, countdown, blocks, rest, failed: 0 }
    }

    /// A call that may fail, as often as driver calls do. After one failure every block is as it was.
    fn attempt(&mut self, call: impl Fn(&Bench) -> Result<Moved, ResidencyError>) {
        loop {
            let before = self.residences();
            let done = call(&self.bench);
            self.bench.handle.check_invariants();
            let Err(error) = done else { return };
            assert!(self.countdown.failed().len() > self.failed, "{error:?}");
            self.failed += 1;
            match error.kind() {
                ResidencyErrorKind::Split => {
                    assert!(self.countdown.failed().len() > 1, "it takes two failures: {error:?}");
                }
                _ => self.same_places(&before),
            }
            self.holds();
        }
    }

    fn residences(&self) -> Vec<[u64; 4]> {
        let of = |block: &Block| {
            let it = self.bench.residence(block);
            assert_eq!(it.device + it.host + it.discarded + it.displaced, rounded(block.size()));
            [it.device, it.host, it.discarded, it.displaced]
        };
        self.blocks.iter().map(|(block, _)| of(block)).collect()
    }

    fn same_places(&self, before: &[[u64; 4]]) {
        // What had been displaced before may have been put right.
        if before.iter().all(|places| places[3] == 0) {
            assert_eq!(self.residences(), before, "one failure leaves every block as it was");
        }
    }

    /// Every block that can be accessed holds what was written to it.
    fn holds(&self) {
        for (block, tag) in &self.blocks {
            if let Some(tag) = tag.filter(|_| self.bench.residence(block).is_accessible()) {
                let kernel = Kernel::check_pattern(block.ptr(), block.size(), tag);
                // SAFETY: contract, devices/ranges: a live block, which is mapped.
                unsafe { self.bench.device.launch(&self.bench.stream, kernel) }.unwrap();
            }
        }
        // The device itself, without the countdown: the test's own wait does not fail.
        self.bench.device.synchronize().unwrap();
    }

    fn run(mut self, fault: Fault) -> Arc<Countdown> {
        fault.arm(&self.countdown);
        let moving = Some(Label::intern("moving"));
        for contents in [Contents::Kept, Contents::Discarded] {
            // SAFETY: nothing is queued on the blocks meanwhile.
            self.attempt(|bench| unsafe { bench.handle.sleep(moving, contents, Pending::Wait) });
            if contents == Contents::Discarded {
                self.forget_discarded();
            }
            self.holds();
            // SAFETY: as above.
            self.attempt(|bench| unsafe { bench.handle.wake(moving, Pending::Wait) });
            self.holds();
        }
        self.rewrite();
        // SAFETY: as above; what was written was waited for.
        self.attempt(|bench| unsafe {
            let raw: Vec<_> = bench.handle.block_at(self_ptr(bench)).into_iter().collect();
            bench.handle.demote(&raw, Contents::Kept)
        });
        self.holds();
        self.end()
    }

    fn forget_discarded(&mut self) {
        for (block, tag) in &mut self.blocks {
            if self.bench.residence(block).discarded > 0 {
                *tag = None;
            }
        }
    }

    /// Writes every block anew.
    fn rewrite(&mut self) {
        for (new, (block, tag)) in (10..).zip(&mut self.blocks) {
            if self.bench.residence(block).is_accessible() {
                let kernel = Kernel::write_pattern(block.ptr(), block.size(), new);
                // SAFETY: contract, devices/ranges: a live block, which is mapped.
                unsafe { self.bench.device.launch(&self.bench.stream, kernel) }.unwrap();
                *tag = Some(new);
            }
        }
        self.bench.device.synchronize().unwrap();
    }

    /// Frees all, and looks that nothing is left.
    fn end(mut self) -> Arc<Countdown> {
        for (block, _) in std::mem::take(&mut self.blocks)
            .into_iter()
            .chain(std::mem::take(&mut self.rest).into_iter().map(|block| (block, None)))
        {
            self.bench.free(block);
            self.bench.handle.check_invariants();
        }
        let _ = self.bench.handle.trim_to(0);
        self.bench.handle.check_invariants();
        self.countdown.disarm();
        self.bench.handle.synchronize().unwrap();
        // What a failure kept is given back at the next call.
        let _ = self.bench.handle.trim_to(0).unwrap();
        let _ = self.bench.handle.trim_to(0).unwrap();
        let counters = self.bench.counters();
        assert_eq!((counters.reserved, counters.on_host), (0, 0), "{:?}", self.countdown.failed());
        let Self { bench, countdown, .. } = self;
        let device = bench.device.clone();
        drop(bench);
        device.assert_clean();
        assert_eq!((device.used(), device.host_used()), (0, 0), "{:?}", countdown.failed());
        countdown
    }
}

/// Where the first block of the label begins.
fn self_ptr(bench: &Bench) -> vmem_core::DevicePtr {
    let snapshot = bench.handle.snapshot().unwrap();
    let ranges = snapshot.segments.iter().flat_map(|segment| &segment.ranges);
    let moving = Label::intern("moving");
    let of_label = |range: &&vmem_pool::RangeInfo| matches!(range.state, vmem_pool::RangeState::Live { label, .. } if label == moving);
    ranges.filter(of_label).map(|range| range.start).next().unwrap()
}

const fn rounded(size: u64) -> u64 {
    size.next_multiple_of(256)
}

#[test]
fn every_failing_call_of_sleep_and_wake_leaves_every_block_as_it_was() {
    let faults = sweep(&FAULT_CODES, 2000, |fault| Scenario::new().run(fault));
    assert!(faults > 100, "{faults}");
}

#[test]
fn two_failing_calls_leave_blocks_whole_or_displaced_and_a_later_try_mends_them() {
    let pairs = Pairs { most: 400, ..Pairs::default() };
    let both = pairs.sweep(|fault| Scenario::new().run(fault));
    assert!(both > 300, "{both}");
}

#[test]
fn memory_that_the_driver_does_not_take_back_shows_nobody_what_a_resting_block_holds() {
    let config = SimConfig { capacity: 32 * SMALL, granularity: SMALL, ..SimConfig::default() };
    let sim = SimDevice::with_config(config).unwrap();
    let countdown = Countdown::new(sim.clone());
    let bench = Bench::over(sim.clone(), countdown.clone(), PoolConfig::default());
    let block = bench.alloc(4 * SMALL);
    bench.write(&block, 1);
    bench.stream.synchronize().unwrap();
    let fails = countdown.clone();
    countdown.before("VirtualMemory::release", move || fails.arm(1, DriverCode::UNKNOWN));
    bench.demote(&[&block], Contents::Kept);
    assert_eq!(countdown.fired(), Some("VirtualMemory::release"));
    assert_eq!(bench.counters().reserved, SMALL, "it is held until the driver takes it");
    let other = bench.alloc(4 * SMALL);
    let mut bytes = [0; 64];
    sim.read_now(other.ptr(), &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == bytes[0]), "as the device gives memory: {bytes:?}");
    bench.free(other);
    bench.check(&block, 1);
    bench.free(block);
    bench.finish();
}

#[test]
fn a_block_that_was_displaced_is_freed_like_any_other() {
    let config = SimConfig { capacity: 32 * SMALL, granularity: SMALL, ..SimConfig::default() };
    let sim = SimDevice::with_config(config).unwrap();
    let countdown = Countdown::new(sim.clone());
    let bench = Bench::over(sim.clone(), countdown.clone(), PoolConfig::default());
    let [a, b] = [(); 2].map(|()| bench.alloc(5 * SMALL));
    bench.write(&a, 1);
    bench.write(&b, 2);
    bench.stream.synchronize().unwrap();
    bench.handle.fill_host_reserve(10 * SMALL).unwrap();
    // The mapping of the host's memory fails, and so does that of what was there.
    let fails = countdown.clone();
    countdown.before("VirtualMemory::map", move || {
        fails.arm(1, DriverCode::UNKNOWN);
        let again = fails.clone();
        fails.before("VirtualMemory::map", move || again.arm(1, DriverCode::UNKNOWN));
    });
    // SAFETY: the stream was waited for.
    let error = unsafe { bench.handle.demote(&crate::resting::raw(&[&a, &b]), Contents::Kept) };
    assert_eq!(error.unwrap_err().kind(), ResidencyErrorKind::Split);
    let displaced = [&a, &b].map(|block| bench.residence(block).displaced);
    assert!(displaced.iter().any(|&bytes| bytes > 0), "{displaced:?}");
    bench.handle.check_invariants();
    let (lost, kept, tag) = if displaced[0] > 0 { (a, b, 2) } else { (b, a, 1) };
    bench.free(lost);
    bench.check(&kept, tag);
    bench.free(kept);
    bench.finish();
}

#[test]
fn free_memory_beside_a_block_that_could_not_be_moved_is_free_as_before() {
    let bench = Bench::new(32, PoolConfig::default().with_host_ceiling(0));
    let block = bench.alloc(SMALL / 2);
    assert_eq!(bench.cannot_demote(&[&block], Contents::Kept), ResidencyErrorKind::HostFull);
    let other = bench.alloc(SMALL / 2);
    assert_eq!(bench.counters().reserved, SMALL);
    bench.free(block);
    bench.free(other);
    bench.finish();
}

#[test]
fn addresses_of_blocks_that_were_freed_on_the_host_are_used_again() {
    let device = sim(16, 32);
    let bench = Bench::over(device.clone(), device, PoolConfig::default());
    for _ in 0..8 {
        let block = bench.alloc(4 * SMALL);
        bench.demote(&[&block], Contents::Kept);
        bench.free(block);
        bench.handle.trim_to(0).unwrap();
        assert_eq!(bench.counters().on_host, 0);
    }
    bench.finish();
}

#[test]
fn a_handle_that_the_driver_keeps_as_a_pool_ends_keeps_no_other_of_the_reserve() {
    let (countdown, bench) = hooked();
    bench.handle.fill_host_reserve(16 * SMALL).unwrap();
    let Bench { device, stream, pool, handle } = bench;
    drop((stream, handle));
    countdown.arm(1, DriverCode::UNKNOWN);
    drop(pool);
    assert!(countdown.fired().is_some());
    assert_eq!(device.host_used(), SMALL);
    assert!(device.base().drop_failures().count() > 0, "which is reported");
}

#[test]
fn memory_of_the_host_that_a_pool_cannot_give_back_at_its_end_is_reported() {
    let bench = Bench::new(64, PoolConfig::default());
    let block = bench.alloc(4 * SMALL);
    bench.write(&block, 1);
    bench.demote(&[&block], Contents::Kept);
    let home = std::thread::scope(|scope| {
        let freed = scope.spawn(|| {
            let home = Stream::per_thread_default(bench.device.clone());
            keep_busy(&bench.device, &block, &home);
            free(&bench.pool, block, &home);
            home
        });
        freed.join().unwrap()
    });
    let Bench { device, stream, pool, handle } = bench;
    drop((stream, handle));
    drop(pool);
    drop(home);
    assert!(device.host_used() > 0, "nothing covers its last use");
    assert!(device.base().drop_failures().count() > 0);
}
