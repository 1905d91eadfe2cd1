//! Operation programs on the core's leaves, and on resources with bugs.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use vmem_core::{AsyncMemory, Device, DeviceMemory, DriverCode, MemoryResource, PinnedMemory};
use vmem_sim::{SimConfig, SimDevice};
use vmem_testkit::conformance::Subject;
use vmem_testkit::{Caller, Countdown, FAULT_CODES, Fault, Op, Pairs, Program, Shape, sweep};

use crate::broken::{Broken, Bug};
use crate::control::Control;

/// Runs random programs, each under a schedule of its own.
fn runs(make: impl Fn(Arc<SimDevice>) -> Box<dyn MemoryResource>) {
    let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
    let allocated = Cell::new(0);
    let cases = (any_with::<Program>(Shape::default()), any::<u64>());
    TestRunner::new(config)
        .run(&cases, |(program, seed)| {
            let config = SimConfig { seed, ..SimConfig::default() };
            let device = SimDevice::with_config(config).unwrap();
            let resource = make(device.clone());
            let control = Control::of(&device);
            let other = SimDevice::new(1 << 20);
            let subject = Subject {
                budget: 16 << 20,
                device_control: &control,
                other_device: Some(other.clone()),
                ..Subject::new(&resource)
            };
            let ran = program.run(&subject);
            prop_assert!(ran.is_ok(), "{}", ran.unwrap_err());
            allocated.set(allocated.get() + ran.unwrap().allocated);
            drop(resource);
            other.assert_clean();
            device.assert_clean();
            let lost = program.ops.last() == Some(&Op::Lose);
            prop_assert!(lost || device.leaks().is_empty(), "{}", device.leaks());
            Ok(())
        })
        .unwrap();
    assert!(allocated.get() > 1000, "{} blocks", allocated.get());
}

#[test]
fn programs_run_on_device_memory() {
    runs(|device| Box::new(DeviceMemory::new(device)));
}

#[test]
fn programs_run_on_pinned_memory() {
    runs(|device| Box::new(PinnedMemory::new(device).unwrap()));
}

#[test]
fn programs_run_on_async_memory() {
    runs(|device| Box::new(AsyncMemory::new(device).unwrap()));
}

#[test]
fn programs_run_on_the_cache_without_a_bug() {
    runs(|device| Box::new(Broken::new(device, Bug::None)));
}

/// Runs a program under a fault; whatever fails, nothing may leak unsaid.
fn run_with_fault(
    program: &Program,
    fault: Fault,
    make: impl Fn(Arc<Countdown>) -> Box<dyn MemoryResource>,
) -> Arc<Countdown> {
    let device = SimDevice::new(1 << 30);
    let countdown = Countdown::new(device.clone());
    let resource = make(countdown.clone());
    let control = Control::of(&device);
    let other = SimDevice::new(1 << 20);
    fault.arm(&countdown);
    let subject = Subject {
        device_control: &control,
        other_device: Some(other.clone()),
        ..Subject::new(&resource)
    };
    let ran = program.run_with_fault(&subject, &countdown);
    countdown.disarm();
    let failed = countdown.failed();
    if let Err(divergence) = ran {
        panic!("{fault:?} in {failed:?}: {divergence}");
    }
    drop(resource);
    other.assert_clean();
    device.assert_clean();
    let leaks = device.leaks();
    let memory = leaks.plain.count + leaks.pinned.count + leaks.stream_ordered.count;
    if program.ops.last() != Some(&Op::Lose) && device.base().drop_failures().count() == 0 {
        assert_eq!(memory, 0, "{fault:?} in {failed:?}: {leaks}");
    }
    countdown
}

/// Fails each driver call of short random programs in turn, with each code, and pairs of them.
fn runs_with_faults(make: impl Fn(Arc<Countdown>) -> Box<dyn MemoryResource>) {
    let config = Config { cases: 8, failure_persistence: None, ..Config::default() };
    let shape = Shape { max_ops: 16, max_size: 64 << 10, streams: 4, ..Shape::default() };
    TestRunner::new(config)
        .run(&(any_with::<Program>(shape), any::<u64>()), |(program, seed)| {
            sweep(&FAULT_CODES, 2000, |fault| run_with_fault(&program, fault, &make));
            let pairs = Pairs { most: 200, seed, ..Pairs::default() };
            pairs.sweep(|fault| run_with_fault(&program, fault, &make));
            Ok(())
        })
        .unwrap();
}

#[test]
fn programs_survive_every_fault_in_device_memory() {
    runs_with_faults(|device| Box::new(DeviceMemory::new(device)));
}

#[test]
fn programs_survive_every_fault_in_pinned_memory() {
    runs_with_faults(|device| Box::new(PinnedMemory::new(device).unwrap()));
}

#[test]
fn programs_survive_every_fault_in_async_memory() {
    runs_with_faults(|device| Box::new(AsyncMemory::new(device).unwrap()));
}

#[test]
fn programs_survive_every_fault_in_the_cache_without_a_bug() {
    runs_with_faults(|device| Box::new(Broken::new(device, Bug::None)));
}

#[test]
fn a_resource_that_miscounts_after_a_fault_diverges() {
    let allocate =
        Op::Allocate { size: 100, alignment: 256, stream: 0, label: 0, caller: Caller::Runner };
    let program = Program { streams: 1, ops: vec![allocate.clone(), allocate] };
    let run = |bug| {
        let countdown = Countdown::new(SimDevice::new(1 << 30));
        let resource = Broken::new(countdown.clone(), bug);
        let subject = Subject { probe: &resource, ..Subject::new(&resource) };
        // The stream's creation comes first, the first block's memory second.
        countdown.arm(2, DriverCode::UNKNOWN);
        let ran = program.run_with_fault(&subject, &countdown);
        assert_eq!(countdown.fired(), Some("Device::allocate"));
        ran.map_err(|divergence| divergence.to_string())
    };
    assert_eq!(run(Bug::None).unwrap().allocated, 1);
    let text = run(Bug::KeepsFailures).unwrap_err();
    assert!(text.starts_with("step 0") && text.ends_with("100 B live instead of 0 B"), "{text}");
}

#[test]
fn a_failure_that_no_fault_explains_diverges() {
    let device = SimDevice::new(1 << 30);
    let countdown = Countdown::new(device.clone());
    let resource = Broken::new(countdown.clone(), Bug::None);
    let program = Program { streams: 1, ops: vec![Op::Trim, Op::Synchronize { stream: 0 }] };
    countdown.arm(1000, DriverCode::UNKNOWN);
    device.fail_call(None, 2, DriverCode::UNKNOWN);
    let subject = Subject::new(&resource);
    let divergence = program.run_with_fault(&subject, &countdown).unwrap_err();
    assert_eq!(divergence.step, Some((1, Op::Synchronize { stream: 0 })));
}

/// The smallest failing program that shrinking finds.
fn minimal_failure(bug: Bug) -> Program {
    let config = Config { failure_persistence: None, ..Config::default() };
    let shape = Shape { max_size: 64 << 10, ..Shape::default() };
    let failed = TestRunner::new_with_rng(
        config.clone(),
        proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm),
    )
    .run(&any_with::<Program>(shape), |program| {
        let device = SimDevice::new(1 << 30);
        let resource = Broken::new(device.clone(), bug);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            program.run(&Subject::new(&resource))
        }));
        prop_assert!(matches!(ran, Ok(Ok(_))));
        prop_assert!(device.violations().is_empty());
        Ok(())
    });
    match failed {
        Err(TestError::Fail(_, program)) => program,
        other => panic!("no program finds {bug:?}: {other:?}"),
    }
}

#[test]
fn programs_find_overlapping_blocks_in_two_steps() {
    let program = minimal_failure(Bug::Overlaps);
    assert_eq!(program.ops.len(), 2, "{program:?}");
}

#[test]
fn programs_find_misaligned_blocks_in_one_step() {
    assert_eq!(minimal_failure(Bug::Misaligns).ops.len(), 1);
}

#[test]
fn programs_find_reuse_without_waiting() {
    let program = minimal_failure(Bug::ReusesWithoutWaiting);
    assert!(program.ops.iter().any(|op| matches!(op, Op::Free { .. } | Op::DropBuffer { .. })));
}

#[test]
fn programs_find_memory_of_ended_streams_reused_too_early() {
    let program = minimal_failure(Bug::ForgetsEndedStreams);
    let ends = |op: &Op| matches!(op, Op::Retire { .. } | Op::Drop { .. });
    assert!(program.ops.iter().any(ends), "{program:?}");
}

#[test]
fn programs_find_panics_on_huge_sizes() {
    let program = minimal_failure(Bug::PanicsOnHuge);
    assert!(matches!(program.ops[..], [Op::Refuse { .. }]), "{program:?}");
}

#[test]
fn a_divergence_names_its_step() {
    let device = SimDevice::new(1 << 30);
    let resource = Broken::new(device.clone(), Bug::DropsLabels);
    let program = Program {
        streams: 1,
        ops: vec![
            Op::Trim,
            Op::Allocate { size: 1, alignment: 1, stream: 7, label: 1, caller: Caller::Runner },
        ],
    };
    let divergence = program.run(&Subject::new(&resource)).unwrap_err();
    let text = divergence.to_string();
    assert!(text.starts_with("step 1, Allocate"), "{text}");
    assert!(text.ends_with("asked under \"a\", got \"\""), "{text}");
}

#[test]
fn a_resource_that_miscounts_diverges() {
    let device = SimDevice::new(1 << 30);
    let resource = Broken::new(device.clone(), Bug::KeepsRefusals);
    let program = Program { streams: 1, ops: vec![Op::Refuse { stream: 0 }] };
    let subject = Subject { probe: &resource, ..Subject::new(&resource) };
    let text = program.run(&subject).unwrap_err().to_string();
    assert!(text.ends_with("B live instead of 0 B"), "{text}");
}
