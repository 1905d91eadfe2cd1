//! Proof that the checker would see a pool break its own rules: over a device that does not do what it
//! says, the same programs show a race, wrong bytes, or an address unmapped under pending work. What no
//! device can fake is in `xtask/src/mutants.rs`.

use std::sync::Arc;

use vmem_core::{Block, BlockLayout, Device, DeviceMemory, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Batch, Chunks, Footprint, Pool, PoolConfig, VirtualArena};
use vmem_sim::{Kernel, SimConfig, SimDevice, ViolationKind};
use vmem_testkit::{Carelessness, Countdown};

/// The device's granule: small, so that patterns are quickly written and compared.
const GRANULE: u64 = 32 << 10;

/// What a run on the simulator saw.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    race: bool,
    wrong_bytes: bool,
    pending: bool,
}

/// A stream that writes a pattern into a block, checks it and frees it.
fn use_and_free(
    device: &SimDevice,
    pool: &dyn MemoryResource,
    block: Block,
    stream: &Stream,
    tag: u64,
) {
    let (ptr, size) = (block.ptr(), block.size());
    for kernel in [Kernel::write_pattern(ptr, size, tag), Kernel::check_pattern(ptr, size, tag)] {
        // SAFETY: contract, devices/handles and devices/ranges: a live block of the device, and a
        // live stream.
        unsafe { device.launch(stream, kernel) }.unwrap();
    }
    // SAFETY: contract, freeing: its only uses were queued on this stream just now.
    unsafe { pool.deallocate(block, stream) }.unwrap();
}

/// Two streams hand memory back and forth, whole and in halves, with work pending all the time.
fn ping_pong(device: &SimDevice, pool: &dyn MemoryResource) {
    let streams = [(); 2].map(|()| Stream::new(pool.device().clone()).unwrap());
    let layout = |size| BlockLayout::new(size).unwrap();
    for round in 0..12_u64 {
        let turn = usize::from(round % 2 == 1);
        let (here, there) = (&streams[turn], &streams[1 - turn]);
        let whole = pool.allocate_on(layout(4 * GRANULE), here).unwrap();
        use_and_free(device, pool, whole, here, 100 + round);
        let left = pool.allocate_on(layout(2 * GRANULE), there).unwrap();
        let right = pool.allocate_on(layout(2 * GRANULE), here).unwrap();
        use_and_free(device, pool, right, here, 300 + round);
        use_and_free(device, pool, left, there, 200 + round);
    }
    streams.iter().for_each(|stream| stream.synchronize().unwrap());
}

fn run(seed: u64, fault: Option<Carelessness>, make: &Make) -> Seen {
    let config =
        SimConfig { capacity: 64 * GRANULE, granularity: GRANULE, seed, ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let countdown = Countdown::new(device.clone());
    let pool = make(countdown.clone());
    countdown.set_carelessness(fault);
    ping_pong(&device, &*pool);
    countdown.set_carelessness(None);
    drop(pool);
    let violations = device.violations();
    let any = |kind| violations.iter().any(|violation| violation.kind == kind);
    Seen {
        race: any(ViolationKind::Race),
        wrong_bytes: any(ViolationKind::WrongBytes),
        pending: any(ViolationKind::PendingWork),
    }
}

type Make = dyn Fn(Arc<dyn Device>) -> Box<dyn MemoryResource>;

fn config() -> PoolConfig {
    let batch = Batch::new(1, 0);
    PoolConfig::default().with_ceiling(4 * GRANULE).with_batch(batch)
}

fn makes() -> [Box<Make>; 2] {
    [
        Box::new(|device| {
            Box::new(Pool::new(VirtualArena::new(device).unwrap(), config()).unwrap())
        }),
        Box::new(|device| {
            let upstream = DeviceMemory::new(device.clone());
            Box::new(Pool::new(Chunks::new(upstream), config()).unwrap())
        }),
    ]
}

fn is_caught(fault: Carelessness) {
    for make in makes() {
        let all = (0..24).map(|seed| run(seed, Some(fault), &*make));
        let seen = all.fold(Seen::default(), |sum, seen| Seen {
            race: sum.race || seen.race,
            wrong_bytes: sum.wrong_bytes || seen.wrong_bytes,
            pending: false,
        });
        assert_eq!(seen, Seen { race: true, wrong_bytes: true, pending: false }, "{fault:?}");
    }
}

/// Memory moves to and fro between two streams with work pending all the time, with as few
/// addresses for windows as memory.
fn moving(seed: u64, fault: Option<Carelessness>) -> Seen {
    let capacity = 8 * GRANULE;
    let config = SimConfig {
        capacity,
        granularity: GRANULE,
        seed,
        max_reservation: Some(2 * capacity),
        ..Default::default()
    };
    let device = SimDevice::with_config(config).unwrap();
    let tight = PoolConfig::default().with_footprint(Footprint::Tight);
    let countdown = Countdown::new(device.clone());
    let pool = Pool::new(VirtualArena::new(countdown.clone()).unwrap(), tight).unwrap();
    let streams = [(); 2].map(|()| Stream::new(countdown.clone()).unwrap());
    let layout = |granules| BlockLayout::new(granules * GRANULE).unwrap();
    let use_on = |block, stream, tag| use_and_free(&device, &pool, block, stream, tag);
    let whole: Vec<Block> =
        (0..8).map(|_| pool.allocate_on(layout(1), &streams[0]).unwrap()).collect();
    let mut kept = Vec::new();
    for (i, block) in (0..).zip(whole) {
        if i % 2 == 0 { use_on(block, &streams[0], i) } else { kept.push(block) }
    }
    countdown.set_carelessness(fault);
    for round in 0..6 {
        let (here, there) = (&streams[round % 2], &streams[(round + 1) % 2]);
        for granules in 2..=4 {
            let tag = 1000 * (round as u64 + 1) + granules;
            // A fault may leave too little; what matters is what the checker saw by then.
            if let Ok(large) = pool.allocate_on(layout(granules), here) {
                let small = pool.allocate_on(layout(1), there);
                use_on(large, here, tag);
                small.into_iter().for_each(|block| use_on(block, there, tag + 100));
            }
        }
        // With every granule taken there is no room for a window.
        let crowd: Vec<Block> =
            (0..4).map_while(|_| pool.allocate_on(layout(1), there).ok()).collect();
        if let Ok(large) = pool.allocate_on(layout(4), here) {
            use_on(large, here, 5000);
        }
        crowd.into_iter().for_each(|block| use_on(block, there, 6000));
    }
    countdown.set_carelessness(None);
    for block in kept {
        use_on(block, &streams[0], 7);
    }
    streams.iter().for_each(|stream| stream.synchronize().unwrap());
    drop(pool);
    let violations = device.violations();
    let any = |kind| violations.iter().any(|violation| violation.kind == kind);
    Seen {
        race: any(ViolationKind::Race),
        wrong_bytes: any(ViolationKind::WrongBytes),
        pending: any(ViolationKind::PendingWork),
    }
}

fn moving_with(fault: Option<Carelessness>) -> Seen {
    (0..24).map(|seed| moving(seed, fault)).fold(Seen::default(), |sum, seen| Seen {
        race: sum.race || seen.race,
        wrong_bytes: sum.wrong_bytes || seen.wrong_bytes,
        pending: sum.pending || seen.pending,
    })
}

#[test]
fn the_pool_as_it_is_shows_nothing() {
    for make in makes() {
        for seed in 0..24 {
            assert_eq!(run(seed, None, &*make), Seen::default(), "seed {seed}");
        }
    }
}

#[test]
fn moves_as_they_are_show_nothing() {
    assert_eq!(moving_with(None), Seen::default());
}

#[test]
fn a_move_that_does_not_wait_is_caught() {
    let seen = moving_with(Some(Carelessness::SkipWaits));
    assert!(seen.race && seen.wrong_bytes, "{seen:?}");
}

#[test]
fn an_unmapping_that_is_too_early_is_caught() {
    assert!(moving_with(Some(Carelessness::ClaimCompletion)).pending);
}

#[test]
fn access_set_over_a_range_in_use_is_caught() {
    assert!(moving_with(Some(Carelessness::WideAccess)).pending);
}

#[test]
fn a_skipped_wait_is_caught() {
    is_caught(Carelessness::SkipWaits);
}

#[test]
fn a_marker_that_covers_nothing_is_caught() {
    is_caught(Carelessness::SkipRecords);
}

#[test]
fn memory_taken_for_complete_too_early_is_caught() {
    is_caught(Carelessness::ClaimCompletion);
}
