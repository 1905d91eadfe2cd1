//! Every tier's stack, held to the contract and to what its users expect of all of them.

use vmem_core::{DeviceMemory, Features, MemoryResource, ResourceExt, Stream};
use vmem_managed::ManagedMemory;
use vmem_pool::{Chunks, Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_runtime::{Stack, Tier};
use vmem_testkit::Probe;
use vmem_testkit::conformance::{self, Subject};

use crate::support::{KINDS, Kind, MIB, alloc, device, device_without, finish, free};

/// Waits for the device on a stack's behalf.
#[derive(Debug)]
struct StackProbe(Stack);

impl Probe for StackProbe {
    fn synchronize(&self) {
        self.0.synchronize().unwrap();
    }
}

/// The same on a pool's.
#[derive(Debug)]
struct PoolProbe(PoolHandle);

impl Probe for PoolProbe {
    fn synchronize(&self) {
        self.0.synchronize().unwrap();
    }
}

fn conforms(kind: Kind) {
    let device = device_without(kind.without);
    let stack = kind.stack(&device);
    let other = crate::support::device();
    let probe = StackProbe(stack.clone());
    let subject = Subject::new(&stack.resource);
    let subject = Subject { other_device: Some(other), probe: &probe, ..subject };
    conformance::check(&subject);
    if let Some(pool) = &stack.pool {
        pool.check_invariants();
    }
    assert_eq!(stack.stats.stats().unwrap().bytes.current, 0);
    drop((probe, stack));
    finish(&device);
}

macro_rules! conforming {
    ($($test:ident = $index:literal;)*) => {$(
        #[test]
        fn $test() {
            conforms(KINDS[$index]);
        }
    )*};
}

conforming! {
    tier_a_on_virtual_memory_conforms = 0;
    tier_a_on_chunks_conforms = 1;
    tier_b_conforms = 2;
    tier_c_conforms = 3;
    the_fallback_conforms = 4;
    the_fallback_with_recovery_conforms = 5;
}

#[test]
fn a_pool_on_each_tiers_stack_conforms() {
    for kind in KINDS {
        let device = device_without(kind.without);
        let stack = kind.stack(&device);
        let chunks = Chunks::new(stack.resource.clone());
        let pool = Pool::new(chunks, PoolConfig::default()).unwrap();
        let probe = PoolProbe(pool.handle());
        conformance::check(&Subject { probe: &probe, ..Subject::new(&pool) });
        drop((pool, stack));
        finish(&device);
    }
}

/// "Three rounds of 1/7/2/5/3 MiB, alternate ones freed, then 4/6 MiB: live returns to its start and
/// reserved doesn't pass its high-water mark."
#[test]
fn three_rounds_return_live_to_its_start_and_reserved_stays_under_its_high_water_mark() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let start = runtime.stats().bytes.current;
        let mut high_water = None;
        for round in 0..3 {
            let blocks = [1, 7, 2, 5, 3].map(|mib| alloc(&memory, mib * MIB, &stream));
            let mut kept = Vec::new();
            for (index, block) in blocks.into_iter().enumerate() {
                if index % 2 == 0 {
                    free(&memory, block, &stream);
                } else {
                    kept.push(block);
                }
            }
            kept.extend([4, 6].map(|mib| alloc(&memory, mib * MIB, &stream)));
            assert_eq!(runtime.stats().bytes.current, start + 22 * MIB.cast_signed());
            for block in kept {
                free(&memory, block, &stream);
            }
            let stats = runtime.stats();
            assert_eq!(stats.bytes.current, start, "{kind:?}");
            if round == 0 {
                high_water = stats.peak_reserved;
            }
            assert_eq!(stats.peak_reserved, high_water, "{kind:?}, round {round}");
        }
        assert_eq!(high_water.is_some(), kind.tier != Tier::C);
        drop((memory, stream, runtime));
        finish(&device);
    }
}

/// "Precedence C over B over A."
#[test]
fn a_runtime_comes_to_the_tier_that_was_asked_for() {
    for kind in KINDS {
        let (runtime, _) = kind.runtime();
        assert_eq!(runtime.stats().tier, Some(kind.tier));
    }
    let both = Kind { oom_safety: true, ..KINDS[3] };
    let (runtime, _) = both.runtime();
    assert_eq!(runtime.stats().tier, Some(Tier::C));
}

#[test]
fn a_stack_prints_its_nest() {
    let described = |kind: Kind| {
        let device = device_without(kind.without);
        kind.stack(&device).description
    };
    let ceiling = "(ceiling 268435456 B)";
    let expected = [
        format!("Statistics<Reservations<Pool<VirtualArena>{ceiling}>>"),
        format!("Statistics<Reservations<Pool<Chunks<DeviceMemory>>{ceiling}>>"),
        format!("Statistics<Reservations<OnFailure<Pool<VirtualArena>{ceiling}>>>"),
        "Statistics<Reservations<ManagedMemory>>".into(),
        "Statistics<Reservations<BinningPool<DeviceMemory>>>".into(),
        "Statistics<Reservations<OnFailure<BinningPool<DeviceMemory>>>>".into(),
    ];
    assert_eq!(KINDS.map(described), expected);
}

#[test]
fn capabilities_survive_stacking() {
    let device = device();
    let arena = Pool::new(VirtualArena::new(device.clone()).unwrap(), PoolConfig::default());
    let plain = DeviceMemory::new(device.clone());
    let chunks = Pool::new(Chunks::new(plain), PoolConfig::default()).unwrap();
    let (arena, chunks) = (arena.unwrap().capabilities(), chunks.capabilities());
    let managed = ManagedMemory::new(device).unwrap().capabilities();
    let expected = [arena, chunks, arena, managed, chunks, chunks];
    for (kind, expected) in KINDS.into_iter().zip(expected) {
        let device = device_without(kind.without);
        assert_eq!(kind.stack(&device).resource.capabilities(), expected, "{kind:?}");
    }
    assert!(managed.has(Features::MIGRATABLE) && arena.has(Features::TRIMS));
}

#[test]
fn tier_c_holds_more_than_the_device_has() {
    let (runtime, device) = KINDS[3].runtime();
    let memory = runtime.resource().unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let half = crate::support::CAPACITY / 2;
    let buffers: Vec<_> = (0..3).map(|_| memory.buffer(half, &stream).unwrap()).collect();
    assert_eq!(runtime.stats().bytes.current, (3 * half).cast_signed());
    drop(buffers);
    drop((memory, stream, runtime));
    finish(&device);
}
