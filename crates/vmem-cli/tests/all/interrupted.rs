//! A run that is asked to end early, and an output that nobody reads.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use vmem_cli::{Backend, Console, OpenError, Progress, Stop, run, run_on};
use vmem_core::Device;
use vmem_sim::SimDevice;

use crate::support::{Folder, Outcome};

/// A card that asks for an end when it is opened for the so-manyth time.
#[derive(Debug)]
struct Stopping {
    opened: AtomicU32,
    ends_at: u32,
    stop: Stop,
}

impl Backend for Stopping {
    fn name(&self) -> &'static str {
        "card"
    }

    fn open(&self, _: u32) -> Result<Arc<dyn Device>, OpenError> {
        if self.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.ends_at {
            self.stop.request();
        }
        Ok(SimDevice::new(4 << 30))
    }
}

/// Runs `vmem` with a device that asks for an end at that opening.
fn ended_at(ends_at: u32, args: &[&str]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stop = Stop::default();
    let backend = Stopping { opened: AtomicU32::new(0), ends_at, stop: stop.clone() };
    let console = Console { out: &mut out, err: &mut err, progress: Progress::Hidden, stop };
    let code = run_on(
        ["vmem"].iter().chain(args).chain(&["--device", "card"]),
        console,
        Arc::new(backend),
    );
    Outcome { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[test]
fn bench_and_replay_give_the_rows_that_are_done_as_a_table_and_as_a_document() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", "id,lower,upper,size\n0,0,2,1000\n");
    let bench = &["bench", "--workload", "overlay-core", "--scale", "1k"][..];
    for command in [bench, &["replay", &trace]] {
        let args = [command, &["--tier", "plain,a-bare,a-chunks,a-tight"]].concat();
        // The device is opened once to look at it, then for each row.
        let outcome = ended_at(3, &args);
        assert_eq!(outcome.code, 130, "{outcome:?}");
        assert_eq!(outcome.out.lines().last(), Some("interrupted: 2 of 4 done"));
        assert!(outcome.out.contains(" plain ") && outcome.out.contains(" a-bare "));
        assert!(!outcome.out.contains(" a-chunks "));

        let path = folder.path("rows.json");
        assert_eq!(ended_at(3, &[&args[..], &["--json", &path]].concat()).code, 130);
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["interrupted"], true);
        assert_eq!(document["rows"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn the_matrix_gives_the_cells_that_are_done() {
    let outcome = ended_at(3, &["matrix", "--tier", "plain", "--check", "copies/", "--json", "-"]);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(document["interrupted"], true);
    assert_eq!(document["cells"].as_array().unwrap().len(), 2);
    assert!(outcome.err.contains("interrupted: 2 of 3 done"), "{}", outcome.err);
}

#[test]
fn micro_writes_no_table_of_costs_that_are_not_all_measured() {
    let folder = Folder::new();
    let table = folder.file("costs.json", "old");
    let outcome = ended_at(1, &["micro", "--table", &table, "--json", "-"]);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(document["interrupted"], true);
    assert!(document["table"].is_null());
    assert_eq!(std::fs::read_to_string(table).unwrap(), "old");
}

#[test]
fn a_soak_says_what_it_did() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (progress, stop) = (Progress::Hidden, Stop::default());
    stop.request();
    let console = Console { out: &mut out, err: &mut err, progress, stop };
    assert_eq!(run(["vmem", "soak", "--minutes", "60"], console), 130);
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("interrupted: 0 programs"), "{out}");
}

/// Answers every write with this error.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_nobody_reads_any_more_is_no_error_and_a_full_one_is() {
    for args in [
        &["vmem", "bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"][..],
        &["vmem", "matrix", "--tier", "plain", "--check", "copies/"],
        &["vmem", "soak", "--programs", "1"],
        &["vmem", "bench", "--help"],
    ] {
        for (kind, expected) in [(io::ErrorKind::BrokenPipe, 0), (io::ErrorKind::StorageFull, 1)] {
            let mut err = Vec::new();
            let (progress, stop) = (Progress::Hidden, Stop::default());
            let console = Console { out: &mut Broken(kind), err: &mut err, progress, stop };
            assert_eq!(run(args, console), expected, "{args:?}");
            assert!(expected == 1 || err.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&err));
        }
    }
}
