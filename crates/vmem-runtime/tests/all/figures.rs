//! What a runtime says of itself, on every tier.

use std::num::NonZeroU64;

use vmem_core::{AllocErrorKind, DriverCode, Label, ResourceExt, Stream, label};
use vmem_runtime::{PoolLimit, RuntimeCapacity, RuntimeStats, Size, Tier};
use vmem_sim::CallKind;

use crate::support::{CAPACITY, KINDS, MIB, alloc, config, device, free, layout, runtime};

/// "Stats of an unbuilt runtime are empty, not an error. Trim and free never raise."
#[test]
fn an_unbuilt_runtime_is_empty_and_builds_nothing_to_say_so() {
    let device = device();
    let runtime = runtime(config(), &device);
    assert_eq!(runtime.stats(), RuntimeStats::default());
    assert_eq!(runtime.capacity(), RuntimeCapacity::default());
    assert_eq!((runtime.growth_left(), runtime.budget_left()), (None, None));
    assert_eq!((runtime.trim(), runtime.free_pool_memory()), (0, 0));
    runtime.reset_peaks();
    assert_eq!(runtime.stats().tier, None);
    assert_eq!(device.calls().total(), 0);
}

#[test]
fn every_tier_counts_alike_and_does_not_know_what_it_cannot() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let kept = alloc(&memory, 3 * MIB, &stream);
        let freed = {
            let _scope = label("figures/freed");
            alloc(&memory, MIB, &stream)
        };
        free(&memory, freed, &stream);
        assert!(memory.allocate_on(layout(1 << 50), &stream).is_err());

        let stats = runtime.stats();
        assert_eq!(stats.tier, Some(kind.tier));
        assert_eq!(stats.bytes.current, 3 * MIB.cast_signed());
        assert_eq!((stats.bytes.peak, stats.bytes.total), (4 * MIB, 4 * MIB));
        assert_eq!((stats.blocks.current, stats.blocks.peak, stats.blocks.total), (1, 2, 2));
        assert_eq!(stats.failures, 1);
        let has_pool = kind.tier != Tier::C;
        assert_eq!(stats.reserved.is_some(), has_pool, "{kind:?}");
        assert_eq!(stats.peak_reserved.is_some(), has_pool);
        assert_eq!(stats.trimmed.is_some(), has_pool);
        assert_eq!(stats.recovery.is_some(), kind.oom_safety);
        assert_eq!(stats.hints.is_some(), kind.tier == Tier::C);
        let handle = &runtime.ensure_ready().unwrap().stats;
        assert_eq!(handle.label(Label::intern("figures/freed")).unwrap().bytes.peak, MIB);

        runtime.reset_peaks();
        assert_eq!(runtime.stats().bytes.peak, 3 * MIB);
        free(&memory, kept, &stream);
    }
}

#[test]
fn trimming_returns_to_the_device_what_a_pool_does_not_need() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let expected = if kind.tier == Tier::C { 0 } else { 4 * MIB };
        let use_memory = || {
            let block = alloc(&memory, 4 * MIB, &stream);
            free(&memory, block, &stream);
            assert_eq!(runtime.stats().reserved.unwrap_or(0), expected);
        };
        use_memory();
        assert_eq!(runtime.free_pool_memory(), expected, "{kind:?}");
        assert_eq!((runtime.stats().reserved.unwrap_or(0), device.used()), (0, 0));
        // Without waiting, what is marked by one call and completes is returned by the next.
        use_memory();
        let at_once = runtime.trim();
        stream.synchronize().unwrap();
        assert_eq!(at_once + runtime.trim(), expected, "{kind:?}");
        assert_eq!((runtime.stats().reserved.unwrap_or(0), device.used()), (0, 0));
        assert_eq!((runtime.trim(), runtime.free_pool_memory()), (0, 0));
    }
}

#[test]
fn a_trim_that_fails_half_way_says_what_it_returned() {
    let device = device();
    let runtime = runtime(config(), &device);
    let memory = runtime.resource().unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let blocks = [1, 2, 3].map(|_| alloc(&memory, 4 * MIB, &stream));
    for block in blocks {
        free(&memory, block, &stream);
    }
    let held = device.used();
    device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    let returned = runtime.free_pool_memory();
    assert_eq!(returned, held - device.used());
    assert!(0 < returned && returned < held, "{returned} of {held}");
    assert_eq!(returned + runtime.free_pool_memory(), held);
}

/// "Growth left: ceiling − reserved; for managed memory what the driver has free."
#[test]
fn growth_left_is_the_ceiling_less_what_is_reserved_or_what_the_driver_has_free() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(&memory, 4 * MIB, &stream);
        let held = if kind.tier == Tier::C { device.used() } else { 4 * MIB };
        assert_eq!(runtime.growth_left(), Some(CAPACITY - held), "{kind:?}");
        assert_eq!(runtime.capacity().growth_left, Some(CAPACITY - held));
        assert_eq!(runtime.capacity().live, Some(4 * MIB));
        free(&memory, block, &stream);
    }
}

#[test]
fn without_a_ceiling_growth_left_is_what_the_driver_has_free() {
    let device = device();
    let config = config().with_pool_limit(PoolLimit::Unlimited);
    let runtime = runtime(config, &device);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = runtime.resource().unwrap();
    let block = alloc(&memory, 8 * MIB, &stream);
    assert_eq!(runtime.capacity().ceiling, None);
    assert_eq!(runtime.growth_left(), Some(CAPACITY - 8 * MIB));
    assert_eq!(runtime.budget_left(), Some(CAPACITY - 8 * MIB));
    free(&memory, block, &stream);
    // What is held and free is not the driver's, but new work can count on it.
    assert_eq!(runtime.growth_left(), Some(CAPACITY - 8 * MIB));
    assert_eq!(runtime.budget_left(), Some(CAPACITY));
}

/// "Admission: 1,000 B for 100 units with 600 B left → refused, 10 B a unit, 60 units", in KiB.
#[test]
fn work_that_does_not_fit_is_refused_with_how_much_of_it_would() {
    let limit = PoolLimit::AtMost(Size::Bytes(1000 << 10));
    let runtime = runtime(config().with_pool_limit(limit), &device());
    let stream = Stream::new(runtime.device().unwrap()).unwrap();
    let memory = runtime.resource().unwrap();
    let block = alloc(&memory, 400 << 10, &stream);
    let units = NonZeroU64::new(100).unwrap();
    let admission = runtime.admit(1000 << 10, units).unwrap();
    assert!(!admission.is_admitted());
    assert_eq!((admission.left, admission.bytes_per_unit), (600 << 10, 10 << 10));
    assert_eq!(admission.units_that_fit, 60);
    assert!(runtime.admit(600 << 10, units).unwrap().is_admitted());
    free(&memory, block, &stream);
    assert!(runtime.admit(1000 << 10, units).unwrap().is_admitted());
}

#[test]
fn tier_cs_budget_is_a_multiple_of_the_device() {
    let device = device();
    let config = config().with_managed_memory(true).with_managed_percent(150);
    let runtime = runtime(config, &device);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = runtime.resource().unwrap();
    assert_eq!(runtime.budget_left(), Some(CAPACITY / 2 * 3));
    let block = alloc(&memory, CAPACITY, &stream);
    assert_eq!(runtime.budget_left(), Some(CAPACITY / 2));
    let units = NonZeroU64::new(4).unwrap();
    assert!(!runtime.admit(CAPACITY, units).unwrap().is_admitted());
    assert_eq!(runtime.admit(CAPACITY, units).unwrap().units_that_fit, 2);
    free(&memory, block, &stream);
}

#[test]
fn after_device_loss_every_call_answers() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(&memory, 3 * MIB, &stream);
        let freed = alloc(&memory, 2 * MIB, &stream);
        free(&memory, freed, &stream);
        let reservation = runtime.reserve(MIB, &stream).unwrap();
        device.lose();

        let error = memory.allocate_on(layout(64 * MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::DeviceFault, "{kind:?}: {error}");
        let error = runtime.reserve(64 * MIB, &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::DeviceFault, "{kind:?}: {error}");
        assert_eq!((runtime.trim(), runtime.free_pool_memory()), (0, 0), "{kind:?}");
        assert_eq!(runtime.stats().bytes.current, 3 * MIB.cast_signed());
        let growth_left = runtime.growth_left();
        assert_eq!(growth_left.is_some(), kind.tier != Tier::C, "{kind:?}");
        let _ = (runtime.capacity(), runtime.status());
        let admission = runtime.admit(CAPACITY * 2, NonZeroU64::MIN).unwrap();
        assert!(!admission.is_admitted(), "{kind:?}: {admission}");
        // SAFETY: contract, freeing: no work was queued on the block.
        let freed = unsafe { vmem_core::MemoryResource::deallocate(&memory, block, &stream) };
        if let Err(error) = freed {
            assert_eq!(error.kind(), vmem_core::FreeErrorKind::DeviceFault, "{kind:?}");
        }
        drop((reservation, memory, stream, runtime));
    }
}

#[cfg(feature = "serde")]
#[test]
fn what_is_unknown_is_null_not_zero() {
    let (runtime, _) = KINDS[3].runtime();
    let stats = serde_json::to_value(runtime.stats()).unwrap();
    assert_eq!(stats["tier"], "C");
    assert!(stats["reserved"].is_null());
    assert_eq!(stats["bytes"]["current"], 0);
}

/// The pool's own is the pool's to keep short.
#[test]
fn whatever_the_runtime_hands_out_prints_a_line_for_debugging() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "printed")]
    struct Column {
        memory: std::sync::Arc<dyn vmem_core::MemoryResource>,
    }
    let prints_little = |what: &dyn std::fmt::Debug| {
        let (line, lines) = (format!("{what:?}"), format!("{what:#?}"));
        assert!(line.len() < 1500 && lines.lines().count() < 80, "{lines}");
    };
    let (managed, device) = KINDS.into_iter().find(|kind| kind.tier == Tier::C).unwrap().runtime();
    let stack = managed.ensure_ready().unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let memory = stack.resource.clone();
    let reservation = managed.reserve(MIB, &stream).unwrap();
    let request = vmem_core::Request::new(layout(256), &stream).with_reservation(reservation.id());
    let drawn = (0..100).map(|_| memory.allocate(&request).unwrap());
    let blocks: Vec<_> = drawn.chain((0..100).map(|_| alloc(&memory, 1, &stream))).collect();
    let registry = vmem_runtime::Registry::new();
    registry.set(memory.clone());
    prints_little(stack);
    prints_little(&managed);
    prints_little(managed.recovery());
    prints_little(&managed.stats());
    prints_little(&managed.capacity());
    prints_little(&managed.status());
    prints_little(&stack.reservations);
    prints_little(&reservation);
    prints_little(&registry);
    prints_little(&Column { memory: memory.clone() });
    for block in blocks {
        free(&memory, block, &stream);
    }
}
