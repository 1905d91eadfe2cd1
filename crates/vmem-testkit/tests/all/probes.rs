//! What programs do through a probe and a device's control, and that they notice what these show.

use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::{BlockLayout, DeviceMemory};
use vmem_sim::SimDevice;
use vmem_testkit::conformance::Subject;
use vmem_testkit::{Caller, Finding, Ledger, Op, Probe, Program};

use crate::control::Control;

use crate::broken::{Broken, Bug};

fn allocate(size: u64) -> Op {
    Op::Allocate { size, alignment: 256, stream: 0, label: 0, caller: Caller::Runner }
}

fn program(ops: impl Into<Vec<Op>>) -> Program {
    Program { streams: 5, ops: ops.into() }
}

/// Notes the last ledger, and finds fault with one of a number of live blocks.
#[derive(Debug, Default)]
struct Auditor {
    dislikes: Option<u64>,
    most_bytes: AtomicU64,
}

impl Probe for Auditor {
    fn check_figures(&self, expected: &Ledger) -> Result<(), Finding> {
        self.most_bytes.fetch_max(expected.bytes, Ordering::Relaxed);
        match self.dislikes {
            Some(blocks) if blocks == expected.blocks => Err(Finding::new("the figures differ")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_probe_is_told_what_must_be_live_and_its_objection_ends_the_program() {
    let device = SimDevice::new(1 << 30);
    let memory = DeviceMemory::new(device.clone());
    let run = |probe: &Auditor| {
        let subject = Subject { probe, ..Subject::new(&memory) };
        let thread = Op::Thread { size: 50, block: 0 };
        program([allocate(100), thread, allocate(30)]).run(&subject)
    };
    let content = Auditor::default();
    // The thread frees the first block.
    assert_eq!(run(&content).unwrap().steps, 3);
    assert_eq!(content.most_bytes.into_inner(), 100);
    let divergence = run(&Auditor { dislikes: Some(2), ..Auditor::default() }).unwrap_err();
    assert_eq!(divergence.step, Some((2, allocate(30))));
}

/// Says that there is room for anything.
#[derive(Debug)]
struct Boaster;

impl Probe for Boaster {
    fn has_room_for(&self, _: BlockLayout) -> bool {
        true
    }
}

#[test]
fn a_refusal_although_there_is_room_diverges() {
    let device = SimDevice::new(1 << 20);
    let memory = DeviceMemory::new(device.clone());
    let subject = Subject { budget: 0, ..Subject::new(&memory) };
    let too_much = program([allocate(2 << 20)]);
    assert_eq!(too_much.run(&subject).unwrap().refused, 1);
    let subject = Subject { probe: &Boaster, ..subject };
    assert!(too_much.run(&subject).unwrap_err().to_string().contains("out of memory"));
}

/// Has a limit that it ignores.
#[derive(Debug, Default)]
struct Lax(AtomicU64);

impl Probe for Lax {
    fn set_limit(&self, bytes: u64) -> bool {
        self.0.store(bytes, Ordering::Relaxed);
        true
    }
}

#[test]
fn what_is_live_above_a_changed_limit_diverges() {
    let device = SimDevice::new(1 << 30);
    let memory = DeviceMemory::new(device.clone());
    let lax = Lax::default();
    let subject = Subject { probe: &lax, budget: 1000, ..Subject::new(&memory) };
    let divergence = program([Op::Limit { percent: 50 }, allocate(501)]).run(&subject).unwrap_err();
    assert_eq!(lax.0.into_inner(), 500);
    assert_eq!(divergence.step, Some((1, allocate(501))));
}

/// The cache has a block to reuse, and with this bug it reuses it without a driver call, which a
/// capture would not allow. All is on one stream, so that there is nothing to wait for.
#[test]
fn what_is_captured_is_launched_and_its_bytes_are_right() {
    let device = SimDevice::new(1 << 30);
    let cache = Broken::new(device.clone(), Bug::ReusesWithoutWaiting);
    let control = Control::of(&device);
    let subject = Subject { device_control: &control, ..Subject::new(&cache) };
    let ops = [
        allocate(4096),
        allocate(100),
        Op::Free { block: 1, stream: 0, caller: Caller::Runner },
        Op::Synchronize { stream: 0 },
        Op::Capture { stream: 0, block: 0, size: 100 },
        Op::Verify { block: 0, stream: 1 },
    ];
    let ran = program(ops).run(&subject).unwrap();
    assert!(ran.verified_bytes >= 4096, "{ran:?}");
    assert_ne!(control.captured.into_inner(), 0);
    drop(cache);
    device.assert_clean();
}

#[test]
fn a_program_ends_with_the_device() {
    let device = SimDevice::new(1 << 30);
    let memory = DeviceMemory::new(device.clone());
    let control = Control::of(&device);
    let subject = Subject { device_control: &control, ..Subject::new(&memory) };
    let ran = program([allocate(100), Op::Lose, allocate(100)]).run(&subject).unwrap();
    assert_eq!((ran.steps, ran.allocated), (2, 1));
}
