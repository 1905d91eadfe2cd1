//! Every tier's stack on the device.

use vmem_core::{AccessClass, AllocErrorKind, MemoryResource, Request, ResourceExt};
use vmem_runtime::{Recovery, Runtime, Stack, Tier};
use vmem_testkit::Probe;
use vmem_testkit::conformance::{self, Subject};

use crate::conformance::check_managed;
use crate::support::{
    Bench, MIB, bench, bench_with, calls, config, control, free, layout, wants_control,
};

/// Waits for the device on a stack's behalf.
#[derive(Debug)]
struct StackProbe(Stack);

impl Probe for StackProbe {
    fn synchronize(&self) {
        self.0.synchronize().unwrap();
    }
}

fn conforms(bench: Option<Bench>, tier: Tier, oom_safety: bool) {
    let Some(bench) = bench else { return };
    let config = config().with_oom_safety(oom_safety);
    let stack = Stack::build(tier, bench.device(), &config, &Recovery::default()).unwrap();
    {
        let probe = StackProbe(stack.clone());
        let subject = Subject::new(&stack.resource);
        let subject = Subject { budget: 16 * MIB, probe: &probe, ..subject };
        match tier {
            Tier::C => check_managed(&subject),
            _ => conformance::check(&subject),
        }
    }
    if let Some(pool) = &stack.pool {
        pool.check_invariants();
    }
    assert_eq!(stack.stats.stats().unwrap().bytes.current, 0);
    drop(stack);
    bench.finish();
}

#[test]
fn tier_a_conforms() {
    conforms(bench(), Tier::A, false);
}

#[test]
fn tier_a_without_virtual_memory_conforms() {
    conforms(bench_with("VIRTUAL_MEMORY=off"), Tier::A, false);
}

#[test]
fn tier_b_conforms() {
    conforms(bench(), Tier::B, true);
}

#[test]
fn tier_c_conforms() {
    conforms(bench(), Tier::C, false);
}

#[test]
fn the_fallback_conforms() {
    conforms(bench(), Tier::Fallback, false);
}

#[test]
fn the_fallback_with_recovery_conforms() {
    conforms(bench(), Tier::Fallback, true);
}

#[test]
fn a_runtime_opens_the_device_when_it_is_first_used() {
    let Some(bench) = bench() else { return };
    let runtime = Runtime::new(config(), || Ok(vmem_cuda::CudaDevice::open(0)?));
    let stack = runtime.ensure_ready().unwrap();
    assert_eq!(stack.tier, Tier::A);
    let stream = bench.stream();
    let buffer = stack.resource.buffer(MIB, &stream).unwrap();
    assert_eq!(stack.stats.stats().unwrap().bytes.current, 1 << 20);
    drop((buffer, stream));
    drop(runtime);
    bench.finish();
}

#[test]
fn a_device_without_managed_memory_has_no_tier_c() {
    let Some(bench) = bench_with("MANAGED=off") else { return };
    let built = Stack::build(Tier::C, bench.device(), &config(), &Recovery::default());
    let error = built.unwrap_err().to_string();
    assert!(error.contains("managed"), "{error}");
    bench.finish();
}

#[test]
fn an_access_class_on_tier_c_reaches_the_driver_as_advice_which_it_may_refuse() {
    if !wants_control() {
        return;
    }
    let Some(bench) = bench() else { return };
    let stack = Stack::build(Tier::C, bench.device(), &config(), &Recovery::default()).unwrap();
    let stream = bench.stream();
    let advised = |access| {
        let before = calls(Some("cuMemAdvise"));
        let request = Request::new(layout(4 * MIB), &stream).with_access(access);
        free(&stack.resource, stack.resource.allocate(&request).unwrap(), &stream);
        calls(Some("cuMemAdvise")) - before
    };
    assert_eq!(advised(AccessClass::Unknown), 0);
    let classes = [AccessClass::Streaming, AccessClass::RandomReuse, AccessClass::WriteOnce];
    for access in classes {
        assert_eq!(advised(access), 1, "{access:?}");
    }
    for access in classes {
        control("fail 1 801 cuMemAdvise");
        assert_eq!(advised(access), 1, "{access:?}");
    }
    let hints = stack.managed.as_ref().unwrap().hints().unwrap();
    assert_eq!((hints.taken, hints.refused), (3, 3));
    drop((stack, stream));
    bench.finish();
}

#[test]
fn a_device_without_concurrent_access_has_no_tier_c_and_is_given_no_advice() {
    let Some(bench) = bench_with("CONCURRENT_MANAGED=off") else { return };
    let built = Stack::build(Tier::C, bench.device(), &config(), &Recovery::default());
    let error = built.unwrap_err().to_string();
    assert!(error.contains("at the same time"), "{error}");
    assert_eq!(calls(Some("cuMemAdvise")), 0);
    bench.finish();
}

#[test]
fn exhaustion_is_an_error_that_passes() {
    let Some(bench) = bench_with("CAPACITY=64MiB") else { return };
    let config = config().with_pool_limit(vmem_runtime::PoolLimit::Unlimited);
    let stack = Stack::build(Tier::A, bench.device(), &config, &Recovery::default()).unwrap();
    let stream = bench.stream();
    let half = stack.resource.buffer(32 * MIB, &stream).unwrap();
    let refused = stack.resource.allocate_on(layout(40 * MIB), &stream).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::OutOfMemory, "{refused}");
    drop(half);
    drop(stack.resource.buffer(40 * MIB, &stream).unwrap());
    drop((stack, stream));
    bench.finish();
}
