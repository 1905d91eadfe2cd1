//! Snapshots as PyTorch's own tools read them: `cargo xtask ci` fetches the one file of PyTorch that it takes.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use vmem_cli::parts::{BuiltStack, DeviceRequest, Target, Tier};
use vmem_core::MemoryResource;
use vmem_sim::MeasuredCosts;
use vmem_trace::{
    Event, ReplayOptions, ReplayStack, Trace, Workload, WorkloadOptions, replay, write_recording,
};

use crate::support::{Folder, Outcome, ran};

/// What names `_memory_viz.py`.
const VIEWER: &str = "VMEM_MEMORY_VIZ";

/// A label of the workload, as the viewer shows it.
const LABEL: &str = "label:0:in.left.x";

/// A stack that keeps what it held after each allocation.
#[derive(Debug)]
struct Sampled {
    stack: BuiltStack,
    reserved: RefCell<Vec<u64>>,
}

impl ReplayStack for Sampled {
    fn resource(&self) -> &Arc<dyn MemoryResource> {
        self.stack.resource()
    }

    fn description(&self) -> String {
        self.stack.description()
    }

    fn reserved(&self) -> u64 {
        let reserved = self.stack.reserved();
        self.reserved.borrow_mut().push(reserved);
        reserved
    }

    fn peak_reserved(&self) -> u64 {
        self.stack.peak_reserved()
    }
}

/// What a replay says of a moment: reserved and live bytes, and the most live up to it.
#[derive(Debug, PartialEq, Eq)]
struct Replayed {
    reserved: u64,
    live: u64,
    peak: u64,
}

/// Replays the first events of a trace, the last of which allocates.
fn replayed(trace: &Trace, events: usize, tier: &str) -> Replayed {
    let opened =
        Target::Simulated(Box::new(MeasuredCosts::h100())).open(&DeviceRequest::measuring(None, 0));
    let tier = Tier::find(tier, Tier::ours()).unwrap();
    let stack = tier.build_over(&opened.unwrap()).unwrap();
    let stack = Sampled { stack, reserved: RefCell::default() };
    assert!(replay(trace, &stack, &ReplayOptions::default()).unwrap().passed());
    let (mut live, mut peak) = (0, 0);
    let mut sizes = std::collections::HashMap::new();
    let mut allocations = 0;
    for event in &trace.events()[..events] {
        match *event {
            Event::Allocate { slot, size, .. } => {
                sizes.insert(slot, size);
                live += size;
                allocations += 1;
            }
            Event::Free { slot, .. } => live -= sizes.remove(&slot).unwrap(),
            _ => {}
        }
        peak = peak.max(live);
    }
    let reserved = stack.reserved.into_inner()[allocations - 1];
    Replayed { reserved, live, peak }
}

/// What PyTorch's tools make of a snapshot.
fn viewed(viewer: &Path, snapshot: &str) -> serde_json::Value {
    let program = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(program)
        .args(["-c", include_str!("memory_viz.py")])
        .arg(viewer)
        .arg(snapshot)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{snapshot}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The viewer; `None`, said, where nobody has fetched it.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn viewer() -> Option<std::path::PathBuf> {
    let path = std::env::var_os(VIEWER);
    if path.is_none() {
        eprintln!("skipped: {VIEWER} names no _memory_viz.py of PyTorch");
    }
    path.map(Into::into)
}

#[test]
fn pytorchs_tools_read_an_export_and_find_what_replay_says_to_the_byte() {
    let Some(viewer) = viewer() else { return };
    let folder = Folder::new();
    let workload = Workload::OverlayTwoStreams;
    let options = WorkloadOptions { scale: "2k".parse().unwrap(), ..workload.defaults() };
    let trace = workload.generate(&options).unwrap().repeated(2).unwrap();
    let recording = folder.path("overlay.vmem");
    write_recording(&trace, BufWriter::new(File::create(&recording).unwrap())).unwrap();
    let allocates = |event: &Event| matches!(event, Event::Allocate { .. });
    let last = trace.events().iter().rposition(allocates).unwrap();
    let some = trace.events()[..last / 2].iter().rposition(allocates).unwrap();
    for tier in ["a", "a-tight", "a-chunks", "b"] {
        for at in ["peak".to_owned(), some.to_string(), last.to_string()] {
            let snapshot = folder.path("overlay.pickle");
            let outcome =
                ran(&["convert", &recording, "-o", &snapshot, "--tier", tier, "--at", &at]);
            let Outcome { code, out, err } = &outcome;
            assert_eq!((*code, out.as_str()), (0, ""), "{err}");
            // The moment, as the program says it.
            let (_, after) = err.split_once(" after ").unwrap();
            let events: usize = after.split_once(" events").unwrap().0.parse().unwrap();
            let expected = replayed(&trace, events, tier);
            let viewed = viewed(&viewer, &snapshot);
            let figure = |name: &str| viewed[name].as_u64().unwrap();
            let found = Replayed {
                reserved: figure("reserved"),
                live: figure("live"),
                peak: figure("walked_peak"),
            };
            assert_eq!(found, expected, "{tier} at {at}");
            assert_eq!(figure("walked_live"), expected.live, "{tier} at {at}");
            assert_eq!(figure("walked_reserved"), expected.reserved, "{tier} at {at}");
            if at == "peak" {
                assert_eq!(expected.live, trace.peak_live());
            }
            assert!(figure("trace_lines") > 100);
            assert!(viewed["segsum"].as_str().unwrap().contains("total_reserved"));
            let stacks = viewed["stacks"].as_array().unwrap();
            assert!(stacks.iter().any(|stack| stack == LABEL), "{stacks:?}");
        }
    }
}

#[test]
fn pytorchs_tools_read_an_export_of_a_replay_that_failed_with_its_refusal() {
    let Some(viewer) = viewer() else { return };
    let folder = Folder::new();
    let trace = folder.file("lives.csv", "id,lower,upper,size\n0,0,2,3145728\n1,1,2,2097152\n");
    let snapshot = folder.path("lives.pickle");
    let outcome = ran(&["convert", &trace, "-o", &snapshot, "--capacity", "4MiB"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("FAILED: event 1 failed: 2097152 B asked for"), "{}", outcome.err);
    let viewed = viewed(&viewer, &snapshot);
    assert_eq!((&viewed["live"], &viewed["failed"]), (&3_145_728.into(), &1.into()));
    let said = format!("{} B", viewed["reserved"]);
    assert!(outcome.err.contains(&format!("after 2 events: {said}")), "{}", outcome.err);
}
