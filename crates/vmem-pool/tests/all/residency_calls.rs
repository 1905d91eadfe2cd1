//! What moving memory to the host and back takes: calls, and the device's time.

use std::sync::Arc;

use vmem_core::{Contents, Device, Residency, ResidencyErrorKind, Resting};
use vmem_pool::PoolConfig;
use vmem_sim::{CallCounts, CallKind, CostTable, SimConfig, SimDevice};

use crate::resting::{Bench, raw};
use crate::support::SMALL;

/// The calls of a part of a test.
fn calls(bench: &Bench, part: impl FnOnce()) -> CallCounts {
    let before = bench.device.calls();
    part();
    bench.device.calls() - before
}

#[test]
fn where_a_wake_may_take_no_more_it_maps_free_memory_elsewhere_and_makes_none() {
    let bench = Bench::new(32, PoolConfig::default().with_ceiling(6 * SMALL));
    bench.handle.fill_host_reserve(8 * SMALL).unwrap();
    let block = bench.alloc(6 * SMALL);
    bench.write(&block, 1);
    bench.demote(&[&block], Contents::Kept);
    let other = bench.alloc(6 * SMALL);
    bench.free(other);
    // So that the pool has seen that the free is over.
    bench.handle.synchronize().unwrap();
    assert_eq!(bench.counters().reserved, 6 * SMALL, "what is free is held");
    let made = calls(&bench, || _ = bench.promote(&[&block]));
    assert_eq!((made.of(CallKind::Create), made.of(CallKind::Release)), (0, 0), "{made}");
    assert_eq!(bench.counters().reserved, 6 * SMALL);
    bench.check(&block, 1);
    bench.free(block);
    bench.finish();
}

#[test]
fn free_memory_of_larger_handles_makes_room_for_a_wake() {
    let bench = Bench::new(32, PoolConfig::default().with_ceiling(8 * SMALL));
    let block = bench.alloc(3 * SMALL);
    bench.write(&block, 1);
    bench.demote(&[&block], Contents::Kept);
    let other = bench.alloc(7 * SMALL);
    bench.free(other);
    // So that the pool has seen that the free is over.
    bench.handle.synchronize().unwrap();
    bench.promote(&[&block]);
    bench.check(&block, 1);
    assert!(bench.counters().reserved <= 8 * SMALL, "{:?}", bench.counters());
    bench.free(block);
    bench.finish();
}

#[test]
fn a_wake_gives_up_no_more_free_memory_than_it_needs() {
    // As much is held as may be, and a granule less.
    for held in [8, 7] {
        let bench = Bench::new(32, PoolConfig::default().with_ceiling(8 * SMALL));
        let block = bench.alloc(2 * SMALL);
        bench.demote(&[&block], Contents::Kept);
        let other = bench.alloc(held * SMALL);
        bench.free(other);
        // So that the pool has seen that the free is over.
        bench.handle.synchronize().unwrap();
        assert_eq!(bench.counters().reserved, held * SMALL);
        bench.promote(&[&block]);
        assert_eq!(bench.counters().reserved, 8 * SMALL);
        bench.free(block);
        bench.finish();
    }
}

#[test]
fn what_several_blocks_lack_on_the_device_is_told_together() {
    let bench = Bench::new(8, PoolConfig::default());
    let blocks = [(); 2].map(|()| bench.alloc(3 * SMALL));
    let both = blocks.each_ref();
    bench.demote(&both, Contents::Kept);
    let foreign = bench.device.allocate(6 * SMALL).unwrap();
    // SAFETY: nothing is pending.
    let error = unsafe { bench.handle.promote(&raw(&both)) }.unwrap_err();
    assert_eq!((error.kind(), error.missing()), (ResidencyErrorKind::DeviceFull, Some(4 * SMALL)));
    // SAFETY: contract, devices/handles: an allocation of the test's own, which nothing uses.
    unsafe { bench.device.free(foreign) }.unwrap();
    bench.promote(&both);
    blocks.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn what_is_missing_on_the_device_is_told() {
    let bench = Bench::new(32, PoolConfig::default().with_ceiling(8 * SMALL));
    let blocks = [3, 3].map(|granules| bench.alloc(granules * SMALL));
    let both = blocks.each_ref();
    bench.demote(&both, Contents::Kept);
    let other = bench.alloc(4 * SMALL);
    let room = 8 * SMALL - bench.counters().reserved;
    let refused = || {
        // SAFETY: nothing is pending.
        let error = unsafe { bench.handle.promote(&raw(&both)) }.unwrap_err();
        assert_eq!(error.kind(), ResidencyErrorKind::DeviceFull);
        error.missing()
    };
    assert_eq!(refused(), Some(6 * SMALL - room));
    // Where the pool may hold more, but the device has no more.
    bench.free(other);
    // So that the pool has seen that the free is over.
    bench.handle.synchronize().unwrap();
    bench.promote(&both);
    blocks.into_iter().for_each(|block| bench.free(block));
    bench.finish();
    let bench = Bench::new(8, PoolConfig::default());
    let block = bench.alloc(6 * SMALL);
    bench.demote(&[&block], Contents::Kept);
    let foreign = bench.device.allocate(4 * SMALL).unwrap();
    // SAFETY: nothing is pending.
    let error = unsafe { bench.handle.promote(&raw(&[&block])) }.unwrap_err();
    assert_eq!((error.kind(), error.missing()), (ResidencyErrorKind::DeviceFull, Some(2 * SMALL)));
    // SAFETY: contract, devices/handles: an allocation of the test's own, which nothing uses.
    unsafe { bench.device.free(foreign) }.unwrap();
    bench.promote(&[&block]);
    bench.free(block);
    bench.finish();
}

#[test]
fn memory_of_the_host_that_is_used_again_is_mapped_at_the_block_only() {
    let bench = Bench::new(32, PoolConfig::default());
    bench.handle.fill_host_reserve(8 * SMALL).unwrap();
    let block = bench.alloc(8 * SMALL);
    bench.write(&block, 1);
    let demoted = calls(&bench, || _ = bench.demote(&[&block], Contents::Kept));
    // What leaves the device is mapped nowhere else, and of the host's memory access is set once.
    let made = [CallKind::Reserve, CallKind::Map, CallKind::SetAccess].map(|kind| demoted.of(kind));
    assert_eq!(made, [0, 8, 8], "{demoted}");
    let promoted = calls(&bench, || _ = bench.promote(&[&block]));
    let made =
        [CallKind::Reserve, CallKind::Map, CallKind::SetAccess].map(|kind| promoted.of(kind));
    assert_eq!(made, [0, 1, 1], "{promoted}");
    bench.check(&block, 1);
    bench.free(block);
    bench.finish();
}

#[test]
fn the_calls_for_one_handle_are_made_while_the_next_is_copied() {
    let piece_ns = 1_000_000;
    let costs = CostTable {
        link_bytes_per_us: SMALL * 1000 / piece_ns,
        host_set_access_handle_ns: piece_ns,
        ..CostTable::FREE
    };
    let (capacity, granularity) = (32 * SMALL, SMALL);
    let config = SimConfig { capacity, granularity, costs, ..SimConfig::default() };
    let device = SimDevice::with_config(config).unwrap();
    let front: Arc<dyn Device> = device.clone();
    let bench = Bench::over(device, front, PoolConfig::default());
    // One handle for each granule.
    bench.handle.fill_host_reserve(8 * SMALL).unwrap();
    let block = bench.alloc(8 * SMALL);
    bench.write(&block, 1);
    bench.stream.synchronize().unwrap();
    let before = bench.device.virtual_time();
    bench.demote(&[&block], Contents::Kept);
    let taken = (bench.device.virtual_time() - before).as_nanos();
    // Eight copies and eight calls; one after the other that is sixteen.
    assert!(taken <= u128::from(10 * piece_ns), "{taken} ns");
    assert!(taken >= u128::from(8 * piece_ns), "{taken} ns");
    bench.check(&block, 1);
    bench.free(block);
    bench.finish();
}

#[test]
fn memory_for_a_block_that_may_rest_is_one_handle_but_for_a_granule_that_it_does_not_fill() {
    let bench = Bench::new(32, PoolConfig::default().with_resting(Resting::Planned));
    for (size, handles) in [(8 * SMALL, 1), (7 * SMALL + 256, 2)] {
        let before = bench.device.calls();
        let block = bench.alloc(size);
        assert_eq!((bench.device.calls() - before).of(CallKind::Create), handles, "{size}");
        // So that the next one is of new memory too.
        bench.free(block);
        bench.handle.trim_to(0).unwrap();
    }
    bench.finish();
}

#[test]
fn a_reserve_on_the_host_is_of_handles_of_a_sixty_fourth_of_what_was_missing() {
    let bench = Bench::new(8, PoolConfig::default());
    let made = |granules: u64| {
        let filled = calls(&bench, || bench.handle.fill_host_reserve(granules * SMALL).unwrap());
        assert_eq!(bench.counters().host_reserve, granules * SMALL);
        filled.of(CallKind::CreateOnHost)
    };
    // The first has ten granules, the last 127 one each.
    let handles = made(640);
    assert!(handles > 64 && handles < 320, "{handles}");
    assert_eq!(made(704), 64);
    assert_eq!((made(96), made(32)), (0, 0), "what is more goes back");
    bench.handle.fill_host_reserve(0).unwrap();
    bench.finish();
}

#[test]
fn no_more_than_was_asked_for_is_kept_ready_on_the_host() {
    let bench = Bench::new(64, PoolConfig::default());
    bench.handle.fill_host_reserve(SMALL).unwrap();
    let [a, b] = [SMALL, 8 * SMALL].map(|size| bench.alloc(size));
    bench.demote(&[&a], Contents::Kept);
    bench.demote(&[&b], Contents::Kept);
    bench.promote(&[&b]);
    assert_eq!(bench.counters().host_reserve, 0, "a handle of eight granules is not kept for one");
    bench.promote(&[&a]);
    assert_eq!(bench.counters().host_reserve, SMALL);
    // Nor when less is asked for than before.
    bench.handle.fill_host_reserve(640 * SMALL).unwrap();
    bench.handle.fill_host_reserve(SMALL).unwrap();
    assert_eq!(bench.counters().host_reserve, SMALL);
    [a, b].into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn a_reserve_of_more_than_can_be_counted_in_granules_is_refused() {
    let bench = Bench::new(64, PoolConfig::default().with_host_ceiling(4 * SMALL));
    let filled = bench.handle.fill_host_reserve(u64::MAX);
    assert_eq!(filled.unwrap_err().kind(), ResidencyErrorKind::HostFull);
    bench.finish();
}

#[test]
fn small_blocks_that_share_a_handle_wake_in_one_handle_again() {
    let config = SimConfig { capacity: 80 << 30, ..SimConfig::default() };
    let sim = SimDevice::with_config(config).unwrap();
    let bench = Bench::over(sim.clone(), sim, PoolConfig::default());
    let made = calls(&bench, || bench.free(bench.alloc(8 << 20)));
    assert_eq!(made.of(CallKind::Create), 1);
    let blocks: Vec<_> = (0..16).map(|_| bench.alloc(512 << 10)).collect();
    let all: Vec<&_> = blocks.iter().collect();
    bench.demote(&all, Contents::Kept);
    let made = calls(&bench, || _ = bench.promote(&all));
    assert_eq!(made.of(CallKind::Create), 1);
    blocks.into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn where_a_wake_may_take_no_more_a_free_handle_larger_than_a_block_does_for_it() {
    let bench = Bench::new(32, PoolConfig::default().with_ceiling(5 * SMALL));
    let block = bench.alloc(SMALL + SMALL / 2);
    bench.demote(&[&block], Contents::Kept);
    let [other, rest] = [2 * SMALL, 3 * SMALL].map(|size| bench.alloc(size));
    bench.free(other);
    bench.handle.synchronize().unwrap();
    assert_eq!(bench.counters().reserved, 5 * SMALL);
    let made = calls(&bench, || _ = bench.promote(&[&block]));
    assert_eq!((made.of(CallKind::Create), bench.counters().reserved), (0, 5 * SMALL));
    [block, rest].into_iter().for_each(|block| bench.free(block));
    bench.finish();
}
