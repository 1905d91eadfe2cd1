//! Blocks of a label, or all, that sleep and are woken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmem_core::{Block, Contents, Device, Label, Moved, ResidencyErrorKind, label};
use vmem_pool::{Pending, PoolConfig};
use vmem_sim::{Kernel, SimConfig, SimDevice};
use vmem_testkit::Countdown;

use crate::resting::Bench;
use crate::support::{SMALL, alloc, chunks, finish, free, keep_busy, touch};

impl Bench {
    pub(crate) fn sleep(&self, name: Option<&str>, contents: Contents) -> Moved {
        // SAFETY: nothing is queued on the blocks until they are woken, or they keep what they hold.
        let moved =
            unsafe { self.handle.sleep(name.map(Label::intern), contents, Pending::Wait) }.unwrap();
        self.handle.check_invariants();
        moved
    }

    pub(crate) fn wake(&self, name: Option<&str>) -> Result<Moved, ResidencyErrorKind> {
        // SAFETY: as above.
        let moved = unsafe { self.handle.wake(name.map(Label::intern), Pending::Wait) };
        self.handle.check_invariants();
        moved.map_err(|error| error.kind())
    }

    pub(crate) fn labelled(&self, name: &str, size: u64) -> Block {
        let _label = label(name);
        self.alloc(size)
    }

    fn free_memory(&self) -> u64 {
        self.device.memory_info().unwrap().free
    }
}

#[test]
fn a_label_sleeps_and_is_woken_while_others_work() {
    let bench = Bench::new(64, PoolConfig::default());
    let weights: Vec<Block> =
        [3, 8, 5].map(|n| bench.labelled("weights", n * SMALL)).into_iter().collect();
    let cache = bench.labelled("cache", 9 * SMALL);
    weights.iter().for_each(|block| bench.write(block, 1));
    bench.write(&cache, 2);
    // What was queued is waited for.
    let moved = bench.sleep(Some("weights"), Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (16 * SMALL, 0));
    assert_eq!(bench.free_memory(), (64 - 9) * SMALL);
    bench.sleep(Some("cache"), Contents::Discarded);
    assert_eq!(bench.free_memory(), 64 * SMALL);
    let other = bench.labelled("other", 40 * SMALL);
    bench.write(&other, 3);
    bench.check(&other, 3);
    bench.free(other);
    assert_eq!(bench.wake(Some("weights")).unwrap().device, 16 * SMALL);
    weights.iter().for_each(|block| bench.check(block, 1));
    assert!(!bench.residence(&cache).is_accessible());
    assert_eq!(bench.wake(None).unwrap().device, 9 * SMALL);
    bench.write(&cache, 4);
    bench.check(&cache, 4);
    weights.into_iter().for_each(|block| bench.free(block));
    bench.free(cache);
    bench.finish();
}

#[test]
fn waking_fails_whole_where_another_took_the_memory_and_succeeds_once_it_is_free() {
    let bench = Bench::new(32, PoolConfig::default());
    let blocks = [bench.alloc(10 * SMALL), bench.alloc(10 * SMALL)];
    for (tag, block) in (1..).zip(&blocks) {
        bench.write(block, tag);
    }
    bench.sleep(None, Contents::Kept);
    // Another program, or another cache, took what sleeping had freed.
    let taken = Device::allocate(&*bench.device, 20 * SMALL).unwrap();
    let failed = bench.wake(None);
    assert_eq!(failed, Err(ResidencyErrorKind::DeviceFull));
    assert_eq!((bench.counters().reserved, bench.counters().on_host), (0, 20 * SMALL));
    for (tag, block) in (1..).zip(&blocks) {
        bench.check(block, tag);
    }
    // SAFETY: contract, devices/handles: it was allocated above and nothing used it.
    unsafe { bench.device.free(taken) }.unwrap();
    assert_eq!(bench.wake(None).unwrap().device, 20 * SMALL);
    for (tag, block) in (1..).zip(&blocks) {
        bench.check(block, tag);
    }
    blocks.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn waking_returns_what_the_pool_has_free_to_keep_its_ceiling() {
    let bench = Bench::new(64, PoolConfig::default().with_ceiling(20 * SMALL));
    let asleep = bench.labelled("asleep", 12 * SMALL);
    bench.write(&asleep, 1);
    bench.sleep(Some("asleep"), Contents::Kept);
    let other = bench.alloc(18 * SMALL);
    bench.write(&other, 2);
    assert_eq!(bench.wake(None), Err(ResidencyErrorKind::DeviceFull));
    bench.check(&other, 2);
    bench.free(other);
    assert_eq!(bench.counters().reserved, 18 * SMALL);
    bench.wake(None).unwrap();
    assert!(bench.counters().reserved <= 20 * SMALL);
    bench.check(&asleep, 1);
    bench.free(asleep);
    bench.finish();
}

#[test]
fn pending_work_is_refused_with_the_streams_name_where_it_is_not_to_be_waited_for() {
    let bench = Bench::new(32, PoolConfig::default());
    let block = bench.alloc(4 * SMALL);
    // When a query finds work complete is up to the device.
    let refused = (0..40).find_map(|_| {
        keep_busy(&bench.device, &block, &bench.stream);
        // SAFETY: nothing is queued meanwhile.
        unsafe { bench.handle.sleep(None, Contents::Kept, Pending::Refuse) }
            .inspect(|_| _ = bench.wake(None).unwrap())
            .err()
    });
    let error = refused.unwrap();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.kind(), ResidencyErrorKind::Busy);
    assert!(why.contains(&bench.stream.id().to_string()), "{why}");
    assert_eq!(bench.device.host_used(), 0);
    bench.stream.synchronize().unwrap();
    // SAFETY: as above.
    unsafe { bench.handle.sleep(None, Contents::Kept, Pending::Refuse) }.unwrap();
    bench.wake(None).unwrap();
    bench.free(block);
    bench.finish();
}

#[test]
fn a_stream_that_captures_is_left_alone_and_the_call_is_refused() {
    let bench = Bench::new(32, PoolConfig::default());
    let block = bench.alloc(4 * SMALL);
    let other = bench.stream();
    let own = alloc(&bench.pool, SMALL, &other);
    bench.device.begin_capture(&other).unwrap();
    // SAFETY: nothing is queued meanwhile.
    let refused = unsafe { bench.handle.sleep(None, Contents::Kept, Pending::Refuse) };
    assert_eq!(refused.unwrap_err().kind(), ResidencyErrorKind::Busy);
    bench.device.end_capture(&other).unwrap();
    free(&bench.pool, own, &other);
    bench.free(block);
    drop(other);
    bench.finish();
}

#[test]
fn a_graph_captured_over_a_block_runs_on_after_it_slept() {
    let bench = Bench::new(32, PoolConfig::default());
    let block = bench.alloc(4 * SMALL);
    bench.write(&block, 1);
    bench.stream.synchronize().unwrap();
    bench.device.begin_capture(&bench.stream).unwrap();
    bench.check(&block, 1);
    let graph = bench.device.end_capture(&bench.stream).unwrap();
    // SAFETY: contract, capturing/launching: the block is live, on one stream.
    let launch = || unsafe { bench.device.launch_graph(&bench.stream, &graph) }.unwrap();
    bench.sleep(None, Contents::Kept);
    launch();
    bench.wake(None).unwrap();
    launch();
    bench.free(block);
    bench.finish();
}

#[test]
fn blocks_that_share_memory_with_those_of_a_label_wake_with_them() {
    let bench = Bench::new(32, PoolConfig::default());
    let a = bench.labelled("a", SMALL / 2);
    let b = bench.labelled("b", SMALL / 2);
    bench.write(&a, 1);
    bench.write(&b, 2);
    let moved = bench.sleep(Some("a"), Contents::Kept);
    assert_eq!((moved.device, moved.stayed), (0, SMALL / 2));
    bench.sleep(None, Contents::Kept);
    assert_eq!(bench.wake(Some("a")).unwrap().device, SMALL);
    assert!(bench.residence(&a).is_on_device() && bench.residence(&b).is_on_device());
    bench.check(&a, 1);
    bench.check(&b, 2);
    bench.free(a);
    bench.free(b);
    bench.finish();
}

/// A bench whose driver calls can be met by hooks.
pub(crate) fn hooked() -> (Arc<Countdown>, Bench) {
    let config = SimConfig { capacity: 64 * SMALL, granularity: SMALL, ..SimConfig::default() };
    let sim = SimDevice::with_config(config).unwrap();
    let countdown = Countdown::new(sim.clone());
    let bench = Bench::over(sim, countdown.clone(), PoolConfig::default());
    (countdown, bench)
}

#[test]
fn a_block_that_is_freed_while_it_is_moved_is_free_afterwards_wherever_its_memory_went() {
    for call in ["VirtualMemory::create_on_host", "VirtualMemory::unmap", "Device::copy_within"] {
        for waking in [false, true] {
            let (countdown, bench) = hooked();
            // What is at hand for others.
            let [small, guard] = [(); 2].map(|()| bench.alloc(SMALL / 4));
            bench.free(small);
            let [a, b] = [5, 6].map(|n| bench.labelled("moving", n * SMALL));
            bench.write(&a, 1);
            bench.write(&b, 2);
            if waking {
                bench.sleep(Some("moving"), Contents::Kept);
            }
            let bench = Arc::new(bench);
            let other = bench.clone();
            let call = match call {
                "VirtualMemory::create_on_host" if waking => "VirtualMemory::create",
                call => call,
            };
            countdown.before(call, move || {
                other.free(a);
                // Others are served meanwhile.
                let small = other.alloc(SMALL / 4);
                other.free(small);
            });
            if waking {
                bench.wake(None).unwrap();
            } else {
                bench.sleep(Some("moving"), Contents::Kept);
            }
            bench.check(&b, 2);
            bench.free(b);
            bench.free(guard);
            assert_eq!(bench.counters().live, 0);
            Arc::into_inner(bench).unwrap().finish();
        }
    }
}

#[test]
fn a_block_that_comes_while_the_device_is_waited_for_stays_as_work_may_be_pending_on_its_memory() {
    let (countdown, bench) = hooked();
    let kept = bench.labelled("kept", SMALL);
    bench.write(&kept, 1);
    let (bench, came) = (Arc::new(bench), Arc::new(Mutex::new(None)));
    let (other, comes) = (bench.clone(), came.clone());
    countdown.after("Device::synchronize", move || {
        let stream = other.stream();
        let used = alloc(&other.pool, SMALL, &stream);
        touch(&other.device, &used, &stream);
        free(&other.pool, used, &stream);
        let _label = label("kept");
        *comes.lock().unwrap() = Some((alloc(&other.pool, SMALL, &stream), stream));
    });
    assert_eq!(bench.sleep(Some("kept"), Contents::Kept).device, SMALL);
    let (block, stream) = came.lock().unwrap().take().unwrap();
    assert!(bench.residence(&block).is_on_device() && !bench.residence(&kept).is_on_device());
    bench.wake(Some("kept")).unwrap();
    bench.check(&kept, 1);
    free(&bench.pool, block, &stream);
    drop(stream);
    bench.free(kept);
    Arc::into_inner(bench).unwrap().finish();
}

#[test]
fn threads_allocate_and_free_while_another_puts_their_blocks_to_sleep_and_wakes_them() {
    let bench = Bench::new(512, PoolConfig::default());
    let kept = bench.labelled("kept", 9 * SMALL + 700);
    bench.write(&kept, 1);
    std::thread::scope(|scope| {
        for seed in 1..3_u64 {
            let bench = &bench;
            scope.spawn(move || {
                let stream = bench.stream();
                for round in 0..60 {
                    // Nobody touches these, so that they may be moved, and are freed at any moment of it.
                    let size = (round * seed * 7 % 11 + 1) * SMALL / 2;
                    let block = {
                        let _label = label("kept");
                        alloc(&bench.pool, size, &stream)
                    };
                    // Of a label that stays.
                    let own = alloc(&bench.pool, size / 3 + 256, &stream);
                    touch(&bench.device, &own, &stream);
                    free(&bench.pool, block, &stream);
                    free(&bench.pool, own, &stream);
                }
            });
        }
        for _ in 0..40 {
            bench.sleep(Some("kept"), Contents::Kept);
            bench.wake(Some("kept")).unwrap();
        }
    });
    bench.check(&kept, 1);
    bench.free(kept);
    bench.finish();
}

#[test]
fn pools_of_chunks_say_that_their_memory_cannot_rest() {
    let device = crate::support::device();
    let pool = chunks(device.clone(), PoolConfig::default());
    // SAFETY: nothing is queued.
    let refused = unsafe { pool.handle().sleep(None, Contents::Kept, Pending::Wait) };
    assert_eq!(refused.unwrap_err().kind(), ResidencyErrorKind::Unsupported);
    let handle = pool.handle();
    finish(&device, pool);
    // SAFETY: as above.
    let gone = unsafe { handle.wake(None, Pending::Wait) };
    assert_eq!(gone.unwrap_err().kind(), ResidencyErrorKind::Gone);
}

#[test]
fn memory_of_the_host_is_slower_by_what_was_measured() {
    let bench = Bench::new(32, PoolConfig::default());
    let block = bench.alloc(16 * SMALL);
    let time = |kernel: Kernel| {
        bench.stream.synchronize().unwrap();
        let before = bench.device.virtual_time();
        // SAFETY: contract, devices/ranges: a live block.
        unsafe { bench.device.launch(&bench.stream, kernel) }.unwrap();
        bench.stream.synchronize().unwrap();
        bench.device.virtual_time() - before
    };
    let random = || {
        Kernel::new("gather").reads(block.ptr(), block.size()).touching(vmem_sim::Pattern::Random)
    };
    let here = time(random());
    bench.demote(&[&block], Contents::Kept);
    let there = time(random());
    assert!(there > here * 20 && there < Duration::from_millis(1), "{here:?} {there:?}");
    bench.promote(&[&block]);
    bench.free(block);
    bench.finish();
}

#[test]
fn a_reserve_of_large_handles_serves_smaller_blocks_when_the_host_may_give_no_more() {
    let bench = Bench::new(160, PoolConfig::default().with_host_ceiling(640 * SMALL));
    let blocks: Vec<Block> = (0..140).map(|_| bench.alloc(SMALL)).collect();
    // No more than 127 handles of it are of one granule.
    bench.handle.fill_host_reserve(640 * SMALL).unwrap();
    for (tag, block) in (1..).zip(&blocks) {
        bench.write(block, tag);
    }
    bench.device.settle();
    for block in &blocks {
        bench.demote(&[block], Contents::Kept);
    }
    let counters = bench.counters();
    assert_eq!(counters.on_host, 140 * SMALL);
    // Large ones went for it, and no more than that took.
    assert!(counters.host_reserve > 300 * SMALL, "{}", counters.host_reserve);
    for (tag, block) in (1..).zip(&blocks) {
        bench.check(block, tag);
    }
    blocks.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn work_of_a_stream_that_ended_and_left_nothing_is_refused_too() {
    let bench = Bench::new(32, PoolConfig::default());
    let keeper = bench.stream();
    let refused = (0..40).any(|_| {
        let stream = bench.stream();
        // Whole granules, so that no free memory tells of the stream once it has ended.
        let block = alloc(&bench.pool, 4 * SMALL, &stream);
        keep_busy(&bench.device, &block, &stream);
        drop(stream);
        // Streams that ended are forgotten when others come.
        let other = alloc(&bench.pool, SMALL, &keeper);
        // SAFETY: nothing is queued meanwhile.
        let slept = unsafe { bench.handle.sleep(None, Contents::Kept, Pending::Refuse) };
        bench.device.synchronize().unwrap();
        let _ = bench.wake(None).unwrap();
        free(&bench.pool, block, &keeper);
        free(&bench.pool, other, &keeper);
        slept.is_err()
    });
    assert!(refused);
    drop(keeper);
    bench.finish();
}
