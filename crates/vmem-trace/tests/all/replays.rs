use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vmem_core::{
    AllocError, AllocErrorKind, Block, Capabilities, Device, DeviceMemory, DriverCode,
    ExhaustionReport, FreeError, FreeErrorKind, MemoryResource, Request, Stream,
};
use vmem_sim::{CallKind, Checker};
use vmem_trace::{Event, LoggedFailures, Mark, ReplayOptions, Trace, Workload, read, replay};

use crate::support::{device, generate, plain, stack_of};

const QUIET: ReplayOptions = ReplayOptions { timing: None, failures: LoggedFailures::Skipped };
const TIMED: ReplayOptions = ReplayOptions { timing: Some(Duration::ZERO), ..QUIET };
const ASKING: ReplayOptions = ReplayOptions { failures: LoggedFailures::AskedAgain, ..TIMED };

#[test]
fn a_replay_reports_what_the_trace_says_and_leaves_nothing_allocated() {
    for workload in Workload::ALL {
        let trace = generate(workload, "2k");
        let device = device(8 << 30, Checker::On);
        let report = replay(&trace, &plain(&device), &QUIET).unwrap();
        assert!(report.passed(), "{workload}: {:?}", report.failure);
        assert_eq!(report.trace, workload.name());
        assert_eq!(report.allocations, trace.allocations());
        assert_eq!(report.peak_live, trace.peak_live());
        assert!(report.peak_reserved >= trace.peak_live());
        assert!(report.virtual_time.unwrap() > Duration::ZERO);
        assert_eq!(report.ns_per_pair, None);
        assert_eq!(device.used(), 0);
        assert_eq!(device.base().drop_failures().first(), None);
    }
}

#[test]
fn driver_calls_are_those_of_the_stack_and_steady_ones_those_from_the_second_pass_on() {
    for workload in [Workload::Overlay, Workload::OverlayTwoStreams] {
        let trace = generate(workload, "1k");
        let device = device(4 << 30, Checker::Off);
        let report = replay(&trace, &plain(&device), &QUIET).unwrap();
        let (total, steady) = (report.driver_calls, report.driver_calls_steady);
        // Every block costs the leaf the same calls, and every pass has the same blocks. Creating
        // streams and ordering one behind another would disturb that.
        let (total, steady) = (total.unwrap(), steady.unwrap());
        assert_eq!(total % trace.allocations(), 0, "{workload}: {total}");
        assert_eq!(steady * 3, total * 2, "{workload}");
        assert!(device.calls().total() > total);
    }
}

#[test]
fn one_pass_has_no_steady_state() {
    let trace = generate(Workload::Overlay, "100").repeated(1).unwrap();
    let device = device(1 << 30, Checker::Off);
    let once = read("one", b"id,lower,upper,size\n0,0,1,8\n").unwrap().trace;
    for trace in [once, trace.repeated(1).unwrap()] {
        let report = replay(&trace, &plain(&device), &QUIET).unwrap();
        assert_eq!(report.driver_calls_steady, None);
    }
}

/// The index of the first allocation that makes more than `bytes` live, and what was live before.
fn first_above(trace: &Trace, bytes: u64) -> (usize, u64) {
    let mut sizes = vec![0; usize::try_from(trace.slots()).unwrap()];
    let mut live = 0;
    for (at, event) in trace.events().iter().enumerate() {
        match *event {
            Event::Allocate { slot, size, .. } => {
                if live + size > bytes {
                    return (at, live);
                }
                sizes[usize::try_from(slot).unwrap()] = size;
                live += size;
            }
            Event::Free { slot, .. } => live -= sizes[usize::try_from(slot).unwrap()],
            _ => {}
        }
    }
    panic!("never");
}

/// Refuses what would exceed so many requested bytes, or what comes after so many requests.
#[derive(Debug)]
struct Refusing {
    upstream: DeviceMemory,
    most_live: u64,
    live: AtomicU64,
    requests_left: AtomicU64,
}

impl Refusing {
    fn new(upstream: DeviceMemory, most_live: u64, requests: u64) -> Self {
        Self {
            upstream,
            most_live,
            live: AtomicU64::new(0),
            requests_left: AtomicU64::new(requests),
        }
    }
}

impl std::fmt::Display for Refusing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refusing<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged from a resource that keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for Refusing {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let size = request.layout.size();
        let live = self.live.load(Ordering::Relaxed);
        let left = self.requests_left.load(Ordering::Relaxed);
        if live + size > self.most_live || left == 0 {
            let mut report = ExhaustionReport::new(size);
            report.largest_free = self.most_live - live;
            let kind = AllocErrorKind::Limit;
            return Err(AllocError::new(kind, request.layout, "Refusing").with_report(report));
        }
        self.live.store(live + size, Ordering::Relaxed);
        self.requests_left.store(left - 1, Ordering::Relaxed);
        self.upstream.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        self.live.fetch_sub(block.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}

#[test]
fn a_replay_stops_at_the_first_request_that_fails_and_says_where() {
    for workload in [Workload::Overlay, Workload::OverlayTwoStreams] {
        let trace = generate(workload, "1k");
        let most = trace.peak_live() - 1;
        let device = device(4 << 30, Checker::Off);
        let stack = stack_of(&device, |memory| Arc::new(Refusing::new(memory, most, u64::MAX)));
        let report = replay(&trace, &stack, &TIMED).unwrap();
        let (index, live) = first_above(&trace, most);
        let failure = report.failure.as_ref().unwrap();
        assert!(!report.passed());
        assert_eq!((failure.index, failure.live_bytes), (index, live));
        assert_eq!(failure.largest_free, Some(most - live));
        assert_eq!(failure.kind, AllocErrorKind::Limit);
        assert!(failure.to_string().contains("Refusing: the limit is reached"));
        assert!(report.peak_live <= most);
        assert_eq!(report.ns_per_pair, None);
        assert_eq!(device.used(), 0, "what was live is freed");
    }
}

#[test]
fn a_driver_that_is_out_of_memory_is_a_failure_with_its_cause() {
    let trace = generate(Workload::Dissolve, "10k");
    let device = device(trace.peak_live() / 2, Checker::Off);
    let report = replay(&trace, &plain(&device), &QUIET).unwrap();
    let failure = report.failure.unwrap();
    assert_eq!(failure.kind, AllocErrorKind::OutOfMemory);
    assert_eq!(failure.largest_free, None, "plain memory does not know");
    assert!(failure.message.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{failure}");
    assert_eq!(device.used(), 0);
}

#[test]
fn timing_repeats_the_trace_without_changing_the_rest_of_the_report() {
    let trace = generate(Workload::OverlayTwoStreams, "1k");
    let quiet = replay(&trace, &plain(&device(4 << 30, Checker::Off)), &QUIET).unwrap();
    let mut timed = replay(&trace, &plain(&device(4 << 30, Checker::Off)), &TIMED).unwrap();
    assert!(timed.ns_per_pair.unwrap() > 0.0);
    timed.ns_per_pair = None;
    assert_eq!(timed, quiet);
}

#[test]
fn a_request_that_fails_only_in_a_repetition_is_reported() {
    let trace = generate(Workload::OverlayCore, "1k");
    let device = device(4 << 30, Checker::Off);
    let stack = stack_of(&device, |memory| {
        Arc::new(Refusing::new(memory, u64::MAX, trace.allocations() + 10))
    });
    let report = replay(&trace, &stack, &TIMED).unwrap();
    assert!(report.failure.is_some());
    assert_eq!(report.ns_per_pair, None);
    assert_eq!(device.used(), 0);
}

#[test]
fn marks_do_not_disturb_a_replay() {
    let trace = generate(Workload::OverlayPaged, "4k");
    let pages = trace.events().iter();
    assert_eq!(pages.filter(|e| **e == Event::Mark(Mark::Page)).count(), 3 * 4);
    let device = device(4 << 30, Checker::Off);
    assert!(replay(&trace, &plain(&device), &QUIET).unwrap().passed());
}

/// Blocks that are freed on another stream, without allocations between them, behind one wait.
#[test]
fn a_free_on_another_stream_waits_for_the_allocating_one_first() {
    let pairs = [("overlay", 0), ("overlay-2s", 2)];
    for (name, waits) in pairs {
        let trace = generate(name.parse().unwrap(), "1k");
        let device = device(4 << 30, Checker::On);
        replay(&trace, &plain(&device), &QUIET).unwrap();
        let calls = device.calls();
        let made = |kind| calls.of(kind);
        assert!(made(CallKind::WaitEvent) >= waits && made(CallKind::WaitEvent) <= 2 * waits);
        assert_eq!(made(CallKind::RecordEvent) > 0, waits > 0, "{name}");
        device.assert_clean();
    }
}

#[test]
fn streams_that_cannot_be_made_or_ordered_are_errors_that_leave_nothing_allocated() {
    let trace = generate(Workload::OverlayTwoStreams, "1k");
    for (kind, nth, what) in [
        (CallKind::CreateStream, 1, "creating the streams"),
        (CallKind::CreateStream, 2, "creating the streams"),
        (CallKind::RecordEvent, 1, "ordering two streams"),
        (CallKind::WaitEvent, 2, "ordering two streams"),
    ] {
        let device = device(4 << 30, Checker::Off);
        device.fail_call(Some(kind), nth, DriverCode::LAUNCH_FAILED);
        let error = replay(&trace, &plain(&device), &QUIET).unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
        assert!(error.contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
        assert_eq!(device.used(), 0, "{kind} {nth}");
    }
}

/// Takes no block back.
#[derive(Debug)]
struct Keeping(DeviceMemory);

impl std::fmt::Display for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeping<{}>", self.0)
    }
}

// SAFETY: contract, implementing: blocks come from a resource that keeps it and stay live.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for Keeping {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.0.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, _: &Stream) -> Result<(), FreeError> {
        Err(FreeError::new(FreeErrorKind::Foreign, block, "Keeping"))
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.0.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

#[test]
fn a_block_that_is_not_taken_back_is_an_error() {
    let trace = generate(Workload::OverlayCore, "100");
    let device = device(1 << 30, Checker::Off);
    let stack = stack_of(&device, |memory| Arc::new(Keeping(memory)));
    let error = replay(&trace, &stack, &QUIET).unwrap_err().to_string();
    assert!(error.starts_with("freeing a block: Keeping"), "{error}");
}

#[test]
fn a_trace_of_nothing_costs_nothing() {
    let trace = vmem_trace::TraceBuilder::new().finish("nothing");
    let device = device(1 << 20, Checker::Off);
    let report = replay(&trace, &plain(&device), &TIMED).unwrap();
    assert!(report.passed());
    assert_eq!((report.driver_calls, report.ns_per_pair), (Some(0), None));
}

#[cfg(feature = "serde")]
#[test]
fn a_report_serialises_with_its_failure() {
    let trace = generate(Workload::OverlayCore, "1k");
    let device = device(1 << 20, Checker::Off);
    let report = replay(&trace, &plain(&device), &QUIET).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["trace"], "overlay-core");
    assert_eq!(json["failure"]["kind"], "OutOfMemory");
    assert_eq!(json["ns_per_pair"], serde_json::Value::Null);
}

#[test]
fn what_failed_where_the_trace_was_taken_is_asked_for_again_and_counts_as_nothing_live() {
    let log = b"Thread,Time,Action,Pointer,Size,Stream\n\
        1,0,allocate,0x10,100,0\n\
        1,1,allocate failure,(nil),60,0\n\
        1,2,allocate failure,(nil),50,1\n\
        1,3,free,0x10,100,0\n";
    let trace = read("log", log).unwrap().trace;
    let run = |options: &ReplayOptions, requests| {
        let device = device(1 << 20, Checker::On);
        let wrap =
            |memory| -> Arc<dyn MemoryResource> { Arc::new(Refusing::new(memory, 150, requests)) };
        let report = replay(&trace, &stack_of(&device, wrap), options).unwrap();
        assert!(report.passed(), "{:?}", report.failure);
        assert_eq!((report.allocations, report.peak_live, device.used()), (1, 100, 0));
        report.asked_again
    };
    assert_eq!(run(&QUIET, 1), []);
    // The run that is timed asks for no more than the first block again.
    let asked = run(&ReplayOptions { timing: None, ..ASKING }, 2);
    let outcomes: Vec<_> =
        asked.iter().map(|a| (a.index, a.size, a.live_bytes, a.failure.is_none())).collect();
    assert_eq!(outcomes, [(1, 60, 100, false), (2, 50, 100, true)]);
    assert_eq!(asked[0].failure.as_ref().unwrap().largest_free, Some(50));
    assert_eq!(run(&ASKING, u64::MAX), asked);
}
