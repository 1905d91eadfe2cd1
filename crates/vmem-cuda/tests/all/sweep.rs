//! Every driver call of every tier fails in turn: the error is of the right kind, nothing leaks
//! unsaid, nothing aborts, and the stack works afterwards.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::error::Error;

use vmem_core::{
    AllocError, AllocErrorKind, BoxedError, Device, DriverCode, DriverError, MemoryResource,
    Request, Stream,
};
use vmem_cuda::CudaDevice;
use vmem_runtime::{Recovery, Stack, Tier};
use vmem_testkit::{FailedFree, Fault, Fired, Pairs, TrackedBlock, sweep};

use crate::support::{MIB, config, control, layout, turn, wants_control};

/// Exhaustion, a fault, and a code that no version of the driver's headers has.
const CODES: [u32; 3] = [2, 999, 9999];

/// A tier's stack, and the device it is built on.
#[derive(Debug, Clone, Copy)]
struct Kind {
    tier: Tier,
    oom_safety: bool,
    settings: &'static str,
    /// Functions that its memory comes from; a sweep that does not reach them shows little.
    memory: &'static [&'static str],
}

const ARENA: &[&str] = &[
    "cuMemAddressFree",
    "cuMemAddressReserve",
    "cuMemCreate",
    "cuMemMap",
    "cuMemRelease",
    "cuMemSetAccess",
    "cuMemUnmap",
];
const PLAIN: &[&str] = &["cuMemAlloc_v2", "cuMemFree_v2"];
const MANAGED: &[&str] = &["cuMemAllocManaged", "cuMemFree_v2"];

/// What every stack's sweep reaches.
const EVERYWHERE: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuMemcpyDtoHAsync_v2",
    "cuMemsetD8Async",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuThreadExchangeStreamCaptureMode",
];

/// What one use of a stack came to.
#[derive(Debug, Default)]
struct Outcome {
    /// Blocks whose free failed.
    kept: Vec<TrackedBlock>,
    errors: Vec<BoxedError>,
}

impl Outcome {
    /// Takes an error down. After one it is not known what is queued on blocks, so the host waits.
    fn note<T, E: Error + Send + Sync + 'static>(
        &mut self,
        device: &dyn Device,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|error| {
                self.errors.push(Box::new(error));
                // Faults may strike here; there are two at most.
                for _ in 0..2 {
                    match device.synchronize() {
                        Ok(()) => return,
                        Err(error) => self.errors.push(Box::new(error)),
                    }
                }
                let _ = device.synchronize();
            })
            .ok()
    }

    fn free(&mut self, memory: &dyn MemoryResource, block: TrackedBlock, stream: &Stream) {
        if let Err(failed) = block.free(memory, stream) {
            self.kept.push(failed.into_block());
        }
    }
}

/// Growth, work with verified bytes, frees on another stream than the work's, reuse across streams,
/// a trim: with whatever fails left where it is.
fn use_stack(stack: &Stack, streams: &[Stream; 2]) -> Outcome {
    let device = &*stack.device;
    let memory = &*stack.resource;
    let mut outcome = Outcome::default();
    let mut blocks: Vec<TrackedBlock> = Vec::new();
    for (i, size) in [3 * MIB, 5000, 2 * MIB, 700].into_iter().enumerate() {
        let stream = &streams[i % 2];
        let block = TrackedBlock::allocate(memory, &Request::new(layout(size), stream));
        if let Some(mut block) = outcome.note(device, block) {
            // Large blocks make the stack grow; their bytes would only take time.
            if size < MIB {
                let written = block.write(stream);
                outcome.note(device, written);
            }
            blocks.push(block);
        }
    }
    for block in &mut blocks {
        let verified = block.verify(&streams[1]);
        outcome.note(device, verified);
    }
    for block in blocks {
        outcome.free(memory, block, &streams[0]);
    }
    // What the first stream freed serves the second.
    for size in [2 * MIB, 5000] {
        let reused = TrackedBlock::allocate(memory, &Request::new(layout(size), &streams[1]));
        if let Some(mut block) = outcome.note(device, reused) {
            if size < MIB {
                let written = block.write(&streams[1]);
                outcome.note(device, written);
                let verified = block.verify(&streams[1]);
                outcome.note(device, verified);
            }
            outcome.free(memory, block, &streams[1]);
        }
    }
    if let Some(pool) = &stack.pool {
        let trimmed = pool.trim_to(0);
        outcome.note(device, trimmed);
        pool.check_invariants();
    }
    outcome
}

/// An error that faults of `codes` may lead to, and no other.
fn check_error(error: &BoxedError, codes: [Option<u32>; 2], at: &str) {
    let mut next: Option<&(dyn Error + 'static)> = Some(&**error);
    let mut text = String::new();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DriverError>() {
            assert!(codes.contains(&Some(error.code().0)), "{at}: {error}");
        }
        text += &format!("{error}: ");
        next = error.source();
    }
    match error.downcast_ref::<AllocError>() {
        Some(error) => {
            let exhausted = error.kind() == AllocErrorKind::OutOfMemory;
            assert!(exhausted || error.kind() == AllocErrorKind::DeviceFault, "{at}: {text}");
            let expected = codes.into_iter().flatten().any(|code| exhausted == (code == 2));
            assert!(expected, "{at}: {text}");
        }
        // A pool whose upstream took a chunk not back keeps the reason as a text.
        None => {
            let codes = || codes.into_iter().flatten();
            let names_it = codes().any(|code| text.contains(&code.to_string()))
                || text.contains("the driver failed");
            assert!(names_it, "{at}: {text}");
        }
    }
}

/// Where calls fail.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// While the stack is built and used.
    Use,
    /// While it, and the streams, are dropped after use.
    End,
}

/// One run with calls of a phase failing. Returns the functions that failed, and those called since
/// the first.
fn run(kind: Kind, phase: Phase, fault: Fault) -> Fired {
    let settings = format!("CAPACITY=128MiB {}", kind.settings);
    let _turn = turn(&settings).expect("the software driver is loaded");
    let device = CudaDevice::open(0).unwrap();
    let streams = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let config = config().with_oom_safety(kind.oom_safety);
    let build = || Stack::build(kind.tier, device.clone(), &config, &Recovery::default());
    let codes = [Some(fault.code), fault.then.map(|(_, code)| code)].map(|c| c.map(|code| code.0));
    let order = || {
        control(&format!("fail {} {}", fault.n, fault.code.0));
        if let Some((later, code)) = fault.then {
            control(&format!("then {later} {}", code.0));
        }
    };
    let fired = || Fired { failed: lines("failed"), since: lines("since") };
    let at = |fired: &Fired| format!("{kind:?}, {phase:?}: {fault:?}: {:?} failed", fired.failed);

    let fired = match phase {
        Phase::Use => {
            order();
            let built = build();
            let mut first = built
                .as_ref()
                .map_or_else(|_| Outcome::default(), |stack| use_stack(stack, &streams));
            let fired = fired();
            control("clear");
            let at = at(&fired);
            match built {
                Ok(stack) => {
                    assert!(!fired.failed.is_empty() || first.errors.is_empty(), "{at}: {first:?}");
                    first.errors.iter().for_each(|error| check_error(error, codes, &at));
                    finish(&stack, std::mem::take(&mut first.kept), &streams, &at);
                }
                Err(error) => check_error(&error, codes, &at),
            }
            drop(streams);
            fired
        }
        Phase::End => {
            let stack = build().unwrap();
            let used = use_stack(&stack, &streams);
            assert!(used.errors.is_empty(), "{used:?}");
            let held = TrackedBlock::allocate(
                &*stack.resource,
                &Request::new(layout(3 * MIB), &streams[0]),
            );
            held.unwrap().free(&*stack.resource, &streams[0]).unwrap();
            order();
            drop(stack);
            drop(streams);
            let fired = fired();
            control("clear");
            fired
        }
    };
    let at = at(&fired);
    let said = device.base().drop_failures().count();
    drop(device);
    assert_eq!(control("contexts"), "", "{at}");
    assert_eq!(control("violations"), "", "{at}");
    let leaks = control("leaks");
    assert!(leaks.is_empty() || said != 0, "{at}, and unsaid: {leaks}");
    let undone = fired.failed.iter().any(|name| GIVE_BACK.contains(&&**name));
    let gives_back = matches!(phase, Phase::End) || undone;
    assert!(leaks.is_empty() || gives_back, "{at}, which gives nothing back, and leaks: {leaks}");
    fired
}

/// An answer of the control's, by line.
fn lines(question: &str) -> Vec<Cow<'static, str>> {
    control(question).lines().map(|line| Cow::Owned(line.to_owned())).collect()
}

/// The functions on the way of giving something back while a stack is used: where one fails, what
/// was to be given back may not be, and that it was not is reported.
const GIVE_BACK: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxPushCurrent_v2",
    "cuThreadExchangeStreamCaptureMode",
    "cuEventDestroy_v2",
    "cuMemAddressFree",
    "cuMemFree_v2",
    "cuMemRelease",
    "cuMemUnmap",
    "cuStreamDestroy_v2",
];

/// After the fault the stack takes back what it had refused, works, and holds nothing at its end.
fn finish(stack: &Stack, kept: Vec<TrackedBlock>, streams: &[Stream; 2], at: &str) {
    for block in kept {
        let freed = block.free(&*stack.resource, &streams[0]);
        freed.map_err(FailedFree::into_block).unwrap_or_else(|_| panic!("{at}: not freed"));
    }
    let second = use_stack(stack, streams);
    assert!(second.errors.is_empty(), "{at}: does not work: {:?}", second.errors);
    assert!(second.kept.is_empty(), "{at}: frees nothing");
    assert_eq!(stack.stats.stats().unwrap().bytes.current, 0, "{at}");
    if let Some(pool) = &stack.pool {
        pool.trim_to(0).unwrap();
        pool.check_invariants();
        assert_eq!(pool.counters().unwrap().reserved, 0, "{at}");
    }
}

fn survives(kind: Kind) {
    if !wants_control() {
        return;
    }
    for code in CODES {
        let mut failed = BTreeSet::new();
        for phase in [Phase::Use, Phase::End] {
            sweep(&[DriverCode(code)], 5000, |fault| {
                let fired = run(kind, phase, fault);
                failed.extend(fired.failed.iter().map(ToString::to_string));
                fired
            });
        }
        let expected = EVERYWHERE.iter().chain(kind.memory);
        let missed: Vec<_> = expected.filter(|name| !failed.contains(**name)).collect();
        assert!(missed.is_empty(), "{kind:?}: never failed: {missed:?}");
    }
    // What undoes a failure may fail too.
    for phase in [Phase::Use, Phase::End] {
        let (oom, fault) = (DriverCode(2), DriverCode(999));
        let codes = vec![[oom, fault], [fault, fault]];
        let pairs = Pairs { codes, cap: 5000, most: 400, seed: 0 };
        pairs.sweep(|fault| run(kind, phase, fault));
    }
}

macro_rules! surviving {
    ($($test:ident = $tier:ident $settings:literal $oom_safety:literal $memory:ident;)*) => {$(
        #[test]
        fn $test() {
            let (tier, oom_safety, settings) = (Tier::$tier, $oom_safety, $settings);
            survives(Kind { tier, oom_safety, settings, memory: $memory });
        }
    )*};
}

surviving! {
    tier_a_survives_any_failing_call = A "" false ARENA;
    tier_a_without_virtual_memory_survives_any_failing_call = A "VIRTUAL_MEMORY=off" false PLAIN;
    tier_b_survives_any_failing_call = B "" true ARENA;
    tier_c_survives_any_failing_call = C "" false MANAGED;
    the_fallback_survives_any_failing_call = Fallback "" false PLAIN;
    the_fallback_with_recovery_survives_any_failing_call = Fallback "" true PLAIN;
}
