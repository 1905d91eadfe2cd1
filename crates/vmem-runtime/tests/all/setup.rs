//! When a stack is built, what is built if that fails, and what is left behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use vmem_core::{
    AllocErrorKind, BoxedError, Device, DriverCode, ResidencyErrorKind, ResourceExt, Stream, chain,
};
use vmem_runtime::{
    ConfigError, FailurePolicy, PoolLimit, Runtime, RuntimeConfig, SetupError, SetupErrorKind,
    Size, Status, Tier,
};
use vmem_sim::{CallKind, Parts, SimConfig, SimDevice};

use crate::support::{
    CAPACITY, MIB, Warnings, alloc, config, device, device_without, fail_address_ranges, finish,
    free, layout, runtime,
};

#[test]
fn making_a_runtime_touches_no_device() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let runtime = Runtime::new(config(), move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(device())
    });
    assert_eq!(runtime.status(), Status::NotBuilt);
    let _ = (runtime.stats(), runtime.capacity(), runtime.growth_left(), runtime.trim());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    runtime.ensure_ready().unwrap();
    runtime.resource().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn the_default_configuration_suits_a_small_device() {
    for mib in [1, 2, 64, 100, 512, 1024, 1025] {
        let device = SimDevice::new(mib * MIB);
        let stream = Stream::new(device.clone()).unwrap();
        let runtime = runtime(RuntimeConfig::default(), &device);
        let memory = runtime.resource().unwrap();
        free(&memory, alloc(&memory, mib * MIB / 4, &stream), &stream);
        drop((memory, stream, runtime));
        finish(&device);
    }
}

#[test]
fn building_the_default_tier_holds_no_memory() {
    let device = device();
    let runtime = runtime(config(), &device);
    runtime.ensure_ready().unwrap();
    assert_eq!(device.used(), 0);
    assert_eq!(runtime.stats().reserved, Some(0));
}

#[test]
fn four_threads_that_come_first_build_once() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let runtime = Runtime::new(config(), move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(device())
    });
    let barrier = Barrier::new(4);
    let resources: Vec<_> = std::thread::scope(|scope| {
        let first = |_| {
            scope.spawn(|| {
                barrier.wait();
                runtime.resource().unwrap()
            })
        };
        let threads: Vec<_> = (0..4).map(first).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(resources.iter().all(|resource| Arc::ptr_eq(resource, &resources[0])));
}

#[test]
fn a_scripted_failure_lands_on_the_fallback_with_one_warning_that_names_the_cause() {
    for oom_safety in [false, true] {
        let device = device();
        fail_address_ranges(&device);
        let runtime = runtime(config().with_oom_safety(oom_safety), &device);
        let warnings = Warnings::during(|| {
            for _ in 0..3 {
                runtime.ensure_ready().unwrap();
            }
        });
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("cuMemAddressReserve answered 999"), "{warnings:?}");
        let Status::Ready { tier, description, cause: Some(cause), .. } = runtime.status() else {
            panic!("{}", runtime.status());
        };
        assert_eq!(tier, Tier::Fallback);
        assert!(cause.contains("cuMemAddressReserve answered 999"), "{cause}");
        assert_eq!(description.contains("OnFailure<BinningPool<DeviceMemory>>"), oom_safety);
        device.clear_failures();
        let stream = Stream::new(device.clone()).unwrap();
        let memory = runtime.resource().unwrap();
        let block = alloc(&memory, 3 * MIB, &stream);
        assert_eq!(runtime.stats().reserved, Some(4 * MIB));
        free(&memory, block, &stream);
        drop((memory, stream, runtime));
        finish(&device);
    }
}

#[test]
fn a_refused_initial_size_leaves_nothing_of_the_pool_behind() {
    let device = device();
    let config = config().with_initial_pool_size(Size::Bytes(32 * MIB));
    let runtime = runtime(config, &device);
    device.fail_call(Some(CallKind::Map), 1, DriverCode::UNKNOWN);
    let warnings = Warnings::during(|| {
        runtime.ensure_ready().unwrap();
    });
    assert_eq!(warnings.len(), 1);
    assert_eq!(runtime.stats().tier, Some(Tier::Fallback));
    assert_eq!(runtime.stats().reserved, Some(0), "the fallback takes nothing from the start");
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}

#[test]
fn every_failing_call_of_a_set_up_leads_to_a_clean_fallback() {
    let config = config().with_initial_pool_size(Size::Bytes(8 * MIB));
    let ready = device();
    let calls = {
        let runtime = runtime(config.clone(), &ready);
        runtime.ensure_ready().unwrap();
        ready.calls().total()
    };
    let mut fell_back = 0;
    for nth in 1..=calls {
        let device = device();
        device.fail_call(None, nth, DriverCode::UNKNOWN);
        let runtime = runtime(config.clone(), &device);
        let stack = runtime.ensure_ready().unwrap();
        fell_back += u64::from(stack.tier == Tier::Fallback);
        let stream = Stream::new(device.clone()).unwrap();
        drop(stack.resource.buffer(MIB, &stream).unwrap());
        drop((stream, runtime));
        device.assert_clean();
    }
    assert!(fell_back > 0 && calls > 4, "{fell_back} of {calls}");
}

#[test]
fn a_closed_policy_returns_the_error_and_the_next_try_starts_clean() {
    let device = device();
    let config = config().with_on_failed_setup(FailurePolicy::Closed);
    let runtime = runtime(config, &device);
    fail_address_ranges(&device);
    let warnings = Warnings::during(|| {
        let error = runtime.ensure_ready().unwrap_err();
        assert_eq!(error.kind(), SetupErrorKind::Stack);
        assert!(error.to_string().contains("cuMemAddressReserve answered 999"), "{error}");
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(matches!(runtime.status(), Status::Failed { cause } if cause.contains("999")));
    assert_eq!(runtime.stats().tier, None);
    assert!(device.leaks().is_empty());
    device.clear_failures();
    assert_eq!(runtime.ensure_ready().unwrap().tier, Tier::A);
    assert!(matches!(runtime.status(), Status::Ready { tier: Tier::A, cause: None, .. }));
    drop(runtime);
    finish(&device);
}

#[test]
fn a_missing_device_is_an_error_under_every_policy_and_the_next_try_starts_clean() {
    for on_failed_setup in [FailurePolicy::FallBack, FailurePolicy::Closed] {
        let tries = AtomicU64::new(0);
        let config = config().with_on_failed_setup(on_failed_setup);
        let runtime = Runtime::new(config, move || match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err(BoxedError::from("no such card")),
            _ => Ok(device()),
        });
        let error = runtime.ensure_ready().unwrap_err();
        assert_eq!(error.kind(), SetupErrorKind::Device);
        assert!(error.to_string().contains("no such card"), "{error}");
        assert_eq!(runtime.ensure_ready().unwrap().tier, Tier::A);
    }
}

#[test]
fn a_provider_that_panics_leaves_a_runtime_that_can_be_tried_again() {
    let tries = AtomicU64::new(0);
    let runtime = Runtime::new(config(), move || {
        assert_ne!(tries.fetch_add(1, Ordering::Relaxed), 0, "the first try panics");
        Ok(device())
    });
    let first = std::panic::AssertUnwindSafe(|| runtime.ensure_ready().map(|_| ()));
    assert!(std::panic::catch_unwind(first).is_err());
    assert_eq!(runtime.ensure_ready().unwrap().tier, Tier::A);
}

#[test]
fn a_configuration_that_the_device_cannot_satisfy_is_an_error_not_a_fallback() {
    let device = device();
    let cases = [
        RuntimeConfig::default().with_memory_reserve(Size::Percent(100)),
        config().with_pool_limit(PoolLimit::AtMost(Size::Bytes(255))),
        config().with_initial_pool_size(Size::Bytes(CAPACITY + 256)),
    ];
    for config in cases {
        let error = runtime(config, &device).ensure_ready().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), SetupErrorKind::Configuration);
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.is::<ConfigError>(), "{error}");
    }
    assert_eq!(device.calls().total(), 0);
}

#[test]
fn a_lost_device_is_an_error_where_even_the_fallback_could_not_be_used() {
    let device = device();
    device.lose();
    let runtime = runtime(config(), &device);
    let error = runtime.ensure_ready().unwrap_err();
    assert_eq!(error.kind(), SetupErrorKind::Device);
    let device: Arc<dyn Device> = device;
    let error = runtime.reserve(MIB, &Stream::legacy_default(device.clone())).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::SetupFailed);
    assert!(std::error::Error::source(&error).unwrap().is::<SetupError>());
}

#[test]
fn managed_memory_without_concurrent_access_falls_back_and_says_so() {
    for parts in [Parts::CONCURRENT_MANAGED, Parts::MANAGED | Parts::CONCURRENT_MANAGED] {
        let device = device_without(parts);
        let runtime = runtime(config().with_managed_memory(true), &device);
        let warnings = Warnings::during(|| {
            runtime.ensure_ready().unwrap();
        });
        assert_eq!(warnings.len(), 1);
        assert_eq!(runtime.stats().tier, Some(Tier::Fallback));
        assert!(warnings[0].contains("managed memory"), "{warnings:?}");
    }
}

#[test]
fn a_host_with_too_few_addresses_gets_chunks_without_a_warning() {
    let config_of =
        SimConfig { capacity: CAPACITY, max_reservation: Some(MIB), ..Default::default() };
    let device = SimDevice::with_config(config_of).unwrap();
    let runtime = runtime(config(), &device);
    let warnings = Warnings::during(|| {
        runtime.ensure_ready().unwrap();
    });
    assert!(warnings.is_empty(), "{warnings:?}");
    let stack = runtime.ensure_ready().unwrap();
    assert_eq!(stack.tier, Tier::A);
    assert!(stack.description.contains("Chunks<DeviceMemory>"), "{stack}");
}

#[test]
fn a_low_limit_is_exact_to_256_bytes_because_it_is_held_on_chunks() {
    let device = device();
    let limit = PoolLimit::AtMost(Size::Bytes(10_000));
    let runtime = runtime(config().with_pool_limit(limit), &device);
    let stream = Stream::new(device).unwrap();
    let memory = runtime.resource().unwrap();
    assert_eq!(runtime.capacity().ceiling, Some(9984));
    let block = alloc(&memory, 9984, &stream);
    assert_eq!(memory.allocate_on(layout(1), &stream).unwrap_err().kind(), AllocErrorKind::Limit);
    free(&memory, block, &stream);
}

/// RMM 25.
#[test]
fn an_initial_size_at_the_maximum_is_held_from_the_start() {
    let device = device();
    let limit = PoolLimit::AtMost(Size::Bytes(65 * MIB));
    let initial_pool_size = Size::Bytes(65 * MIB);
    let config = config().with_pool_limit(limit).with_initial_pool_size(initial_pool_size);
    let runtime = runtime(config, &device);
    assert_eq!(runtime.ensure_ready().unwrap().tier, Tier::A);
    // Whole granules of 2 MiB.
    assert_eq!(runtime.stats().reserved, Some(64 * MIB));
    assert_eq!(runtime.growth_left(), Some(0));
}

/// RMM 20, 21.
#[test]
fn a_pool_may_start_with_most_of_the_device_and_serve_it_in_parts() {
    let device = device();
    let vars = [
        ("VMEM_MEMORY_RESERVE_BYTES", "0"),
        ("VMEM_POOL_LIMIT", "90%"),
        ("VMEM_INITIAL_POOL_SIZE", "90%"),
    ];
    let runtime = runtime(RuntimeConfig::from_vars("VMEM", vars).unwrap(), &device);
    let memory = runtime.resource().unwrap();
    assert!(runtime.stats().reserved.unwrap() > CAPACITY * 89 / 100);
    let stream = Stream::new(device.clone()).unwrap();
    let quarters = [(); 3].map(|()| alloc(&memory, CAPACITY / 4, &stream));
    assert!(memory.allocate_on(layout(CAPACITY / 4), &stream).is_err());
    for block in quarters {
        free(&memory, block, &stream);
    }
}

#[test]
fn a_runtime_prints_its_effective_configuration() {
    let device = device();
    let limit = PoolLimit::AtMost(Size::Percent(50));
    let runtime = runtime(config().with_pool_limit(limit), &device);
    assert!(runtime.to_string().ends_with("\nnot built yet"), "{runtime}");
    runtime.ensure_ready().unwrap();
    let text = runtime.to_string();
    for part in ["VMEM_POOL_LIMIT=50%", "tier A: ", "VirtualArena", "ceiling 134217728 B"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().all(|line| line.len() < 250), "{text}");
}

#[test]
fn filling_the_hosts_reserve_builds_the_stack_or_says_why_not() {
    let device = device();
    let filled = runtime(config(), &device);
    filled.fill_host_reserve(32 * MIB).unwrap();
    assert_eq!(filled.stats().tier, Some(Tier::A));
    assert_eq!(device.host_used(), 32 * MIB);
    drop(filled);
    let managed = runtime(config().with_managed_memory(true), &device);
    let error = managed.fill_host_reserve(32 * MIB).unwrap_err();
    assert_eq!(error.kind(), ResidencyErrorKind::Unsupported);
    drop(managed);
    let lacking = Runtime::new(config(), || Err("no device today".into()));
    let error = lacking.fill_host_reserve(32 * MIB).unwrap_err();
    assert_eq!(error.kind(), ResidencyErrorKind::Driver);
    assert!(chain(&error).to_string().contains("no device today"), "{error}");
    finish(&device);
}
