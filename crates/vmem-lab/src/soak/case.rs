//! One program on one stack, with one fault, two or none.

use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use vmem_core::{Device, DriverCode, DriverError, Stream};
use vmem_sim::{CaptureMode, SimDevice};
use vmem_testkit::conformance::Subject;
use vmem_testkit::{Countdown, DeviceControl, FAULT_CODES, Fault, Op, Probe, Program, Shape};

use super::cache::HookBehavior;
use super::runner;
use super::shape::StackShape;
use super::stack::{RandomStack, Wrap};
use super::tally::Tally;

/// How large programs are.
const SHAPE: Shape = Shape { max_ops: 120, max_size: 512 << 10, streams: 6, rests: true };

/// The value that a seed stands for.
fn drawn<T: Debug>(strategy: impl Strategy<Value = T>, seed: u64) -> T {
    let tree = strategy.new_tree(&mut runner(seed, 0));
    tree.expect("nothing that is drawn is rejected for ever").current()
}

/// What is run.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) stack: StackShape,
    /// Counted from the program's first driver call.
    pub(super) fault: Option<Fault>,
    pub(super) program: Program,
}

impl Case {
    pub(super) fn strategy() -> impl Strategy<Value = Self> + use<> {
        (StackShape::strategy(), faults(), any_with::<Program>(SHAPE), lent()).prop_map(
            |(stack, fault, mut program, lent)| {
                for (at, step) in lent {
                    // Before another: a loss of the device stays the last.
                    program.ops.insert(at % program.ops.len(), step);
                }
                Self { stack, fault, program }
            },
        )
    }

    /// What the bytes of a fuzzer stand for: eight for the stack, eight for the fault, and eight for
    /// each step, so that what is done to the bytes is done to single steps. The last bytes, if they
    /// are fewer, stand for nothing.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (eights, _) = bytes.as_chunks::<8>();
        let mut seeds = eights.iter().map(|&eight| u64::from_le_bytes(eight));
        let mut seed = || seeds.next().unwrap_or_default();
        let (stack, fault) = (drawn(StackShape::strategy(), seed()), drawn(faults(), seed()));
        let step = any_with::<Op>(SHAPE);
        let ops = seeds.take(SHAPE.max_ops).map(|seed| drawn(&step, seed)).collect();
        Self { stack, fault, program: Program { streams: SHAPE.streams, ops } }
    }

    /// Runs the program beside the model.
    ///
    /// # Errors
    /// What was wrong, in words.
    pub(super) fn run(&self, wrap: &Wrap) -> Result<Tally, String> {
        let sim = SimDevice::with_config(self.stack.device()).map_err(|e| e.to_string())?;
        let device = Countdown::new(sim.clone());
        let stack = RandomStack::build(&self.stack, device.clone(), HookBehavior::Allocates, wrap)
            .map_err(|error| format!("the stack could not be built: {error}"))?;
        let control = Control(sim.clone());
        let subject = Subject {
            budget: self.stack.budget(),
            probe: &stack,
            device_control: &control,
            other_device: Some(SimDevice::new(1 << 20)),
            ..Subject::new(&stack.resource)
        };
        let ran = match self.fault {
            None => self.program.run(&subject),
            Some(fault) => {
                fault.arm(&device);
                self.program.run_with_fault(&subject, &device)
            }
        };
        device.disarm();
        let ran = ran.map_err(|divergence| divergence.to_string())?;
        stack.give_up_cache();
        if self.program.ops.last() != Some(&Op::Lose) {
            // What could not be cleared until now.
            stack.synchronize();
        }
        let counters = stack.counters();
        drop(stack);
        let failed = device.failed();
        let lost = self.program.ops.last() == Some(&Op::Lose);
        rules_kept(&sim)?;
        if !lost {
            nothing_leaked(&sim, &failed)?;
        }
        Ok(Tally {
            programs: 1,
            operations: ran.steps,
            faults: failed.len() as u64,
            pairs: u64::from(failed.len() > 1),
            losses: u64::from(lost),
            refusals: ran.refused,
            verified: ran.verified_bytes,
            moves: counters.moves + counters.returns,
            waits: counters.waits,
            demoted: counters.bytes_demoted,
            ..Tally::default()
        })
    }
}

/// Whether the device saw nothing that its rules forbid.
pub(super) fn rules_kept(sim: &SimDevice) -> Result<(), String> {
    sim.settle();
    let lines: Vec<String> = sim.violations().iter().map(ToString::to_string).collect();
    if lines.is_empty() { Ok(()) } else { Err(format!("broken rules:\n{}", lines.join("\n"))) }
}

/// Whether all memory was returned, or what was not is known to the device. What failed calls were
/// to destroy is still there.
pub(super) fn nothing_leaked(sim: &SimDevice, failed: &[&str]) -> Result<(), String> {
    let leaks = sim.leaks();
    let failures = sim.base().drop_failures();
    let reported = failures.count() > 0;
    let memory = [
        leaks.plain,
        leaks.handles,
        leaks.mappings,
        leaks.ranges,
        leaks.managed,
        leaks.pinned,
        leaks.stream_ordered,
    ];
    let clean = if failed.is_empty() {
        leaks.is_empty() && !reported
    } else {
        reported || memory.iter().all(|kind| kind.count == 0)
    };
    let what = || {
        let reported = failures.first().map_or("nothing".to_owned(), |first| first.to_string());
        format!("{leaks}; failed calls: {failed:?}; reported: {reported}")
    };
    if clean { Ok(()) } else { Err(what()) }
}

/// Steps on streams of somebody else, and where they go.
fn lent() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let step = (1..=SHAPE.max_size, 0..64_usize, any::<bool>())
        .prop_map(|(size, block, ends)| Op::Lent { size, block, ends });
    proptest::collection::vec((0..SHAPE.max_ops, step), 0..=3)
}

/// Most faults fall into the first calls, because a program that makes few is soon over. Half of them
/// are followed by another, most often soon: while what the first broke is being undone.
fn faults() -> impl Strategy<Value = Option<Fault>> {
    let n = prop_oneof![2 => 1..=60_u64, 2 => 1..=400_u64, 1 => 1..=2000_u64];
    let later = prop_oneof![2 => 1..=4_u64, 2 => 1..=20_u64, 1 => 1..=400_u64];
    let then = prop_oneof![Just(None), (later, code()).prop_map(Some)];
    let fault = (n, code(), then).prop_map(|(n, code, then)| Some(Fault { n, code, then }));
    prop_oneof![2 => Just(None), 3 => fault]
}

/// What a failing call answers.
fn code() -> impl Strategy<Value = DriverCode> {
    prop_oneof![
        4 => select(FAULT_CODES.to_vec()),
        1 => (1..=999_u32)
            .prop_map(DriverCode)
            .prop_filter("no failure", |&code| code != DriverCode::NOT_READY),
    ]
}

/// What a simulated device can be told.
#[derive(Debug)]
struct Control(Arc<SimDevice>);

impl DeviceControl for Control {
    fn capture(
        &self,
        stream: &Stream,
        work: &mut dyn FnMut() -> Result<(), DriverError>,
    ) -> Option<Result<(), DriverError>> {
        Some(self.0.begin_capture(stream).and_then(|()| {
            // As vmem's CUDA device makes its calls.
            let mode = self.0.exchange_capture_mode(CaptureMode::Relaxed);
            let done = work();
            self.0.exchange_capture_mode(mode);
            // By its handle: what else the stream owes must not keep the capture from ending.
            #[expect(unsafe_code, reason = "the stream is the program's, and lives")]
            // SAFETY: contract, devices/handles and devices/threads: a live stream that this thread
            // may name.
            let ended = unsafe { self.0.end_capture_raw(stream.raw()) };
            let graph = ended?;
            done?;
            #[expect(unsafe_code, reason = "the device's safe calls launch no graph")]
            // SAFETY: contract, devices/ranges: the program keeps what it captured live until the
            // graph has run, which it is launched for once.
            let launched = unsafe { self.0.launch_graph(stream, &graph) };
            launched
        }))
    }

    fn lose(&self) -> bool {
        self.0.lose();
        true
    }
}
