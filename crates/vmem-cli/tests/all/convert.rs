//! `vmem convert`.

use std::fs;

use vmem_core::Label;
use vmem_trace::{Event, Frames, ReadOptions, Trace, read_path, write_rmm_log};

use crate::support::{Folder, Outcome, assert_refused, ran};

/// Two threads and streams, a failure, times; a block that is never freed.
const LOG: &str = "\
Thread,Time,Action,Pointer,Size,Stream
7,10:00:00.000001,allocate,0x100,1000000,0
8,10:00:00.000500,allocate,0x900,500,5
7,10:00:01.000000,allocate failure,0x0,99999999999,0
7,10:00:02.000000,free,0x100,1000000,0
8,10:00:03.000000,allocate,0x100,70000,5
";

const SITES: &str = "\
Time,Pointer,Bytes,Site
10:00:00.0001,0x100,1000000,0
10:00:00.0002,0x0,0,2
10:00:03.0001,0x100,70000,12
10:00:03.0002,0x900,500,1
";

const NAMES: &str = "Site,Place,Function\n0,a/b.py:7,grow\n1,a/b.py:9,shrink\n";

#[track_caller]
fn converted(args: &[&str]) -> Outcome {
    let outcome = ran(&[&["convert"], args].concat());
    assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.err);
    outcome
}

fn labels(trace: &Trace) -> Vec<&'static str> {
    let of = |event: &Event| match event {
        Event::Allocate { label, .. } => Some(label.as_str()),
        _ => None,
    };
    trace.events().iter().filter_map(of).collect()
}

/// The events without what tells threads apart, and labels.
fn bare(trace: &Trace) -> Vec<Event> {
    let one_thread = |event: &Event| {
        let mut event = *event;
        match &mut event {
            Event::Allocate { origin, label, .. } => {
                origin.thread = 0;
                *label = Label::NONE;
            }
            Event::Free { origin, .. } | Event::Failure { origin, .. } => origin.thread = 0,
            _ => {}
        }
        event
    };
    trace.events().iter().map(one_thread).collect()
}

#[test]
fn an_rmm_log_goes_through_a_recording_and_comes_back_as_it_was() {
    let folder = Folder::new();
    let log = folder.file("log.csv", LOG);
    let (recording, back) = (folder.path("log.vmem"), folder.path("back.csv"));
    converted(&[&log, "-o", &recording]);
    let outcome = converted(&[&recording, "-o", &back]);
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("", ""));
    let (first, again) = (read_path(&log).unwrap().trace, read_path(&back).unwrap().trace);
    assert_eq!((first.events(), first.times()), (again.events(), again.times()));
    // What was written is what would have been without the recording.
    let mut direct = Vec::new();
    write_rmm_log(&first, &mut direct).unwrap();
    assert_eq!(fs::read(&back).unwrap(), direct);
    assert!(String::from_utf8(direct).unwrap().contains("00:00:00.999999,allocate failure"));
}

#[test]
fn lifetimes_go_through_every_other_format_and_come_back_with_the_same_blocks() {
    let folder = Folder::new();
    let text = "id,lower,upper,size\n0,0,2,3145728\n1,1,2,1048576\n2,2,3,2097152\n";
    let first = folder.file("lives.csv", text);
    let whole = read_path(&first).unwrap().trace;
    for between in ["lives.vmem", "lives.pickle", "log.csv"] {
        let (between, back) = (folder.path(between), folder.path("back.csv"));
        converted(&[&first, "-o", &between, "--at", "end"]);
        converted(&[&between, "--to", "lifetimes", "-o", &back]);
        let again = read_path(&back).unwrap().trace;
        assert_eq!(again.events(), whole.events(), "{between}");
    }
}

#[test]
fn labels_come_from_a_file_beside_a_log_and_stay_with_recordings_and_snapshots() {
    let folder = Folder::new();
    let log = folder.file("log.csv", LOG);
    let (sites, names) = (folder.file("sites.csv", SITES), folder.file("names.csv", NAMES));
    let (recording, snapshot) = (folder.path("log.vmem"), folder.path("log.pickle"));
    let with = ["--labels", &sites, "--label-names", &names];
    let outcome = converted(&[&[&log, "-o", &recording][..], &with].concat());
    assert_eq!(outcome.err, "", "a row of no bytes is no block's");
    // A site without a name is called what the file calls it.
    let expected = ["a/b.py:7:grow", "a/b.py:9:shrink", "12"];
    assert_eq!(labels(&read_path(&recording).unwrap().trace), expected);
    converted(&[&recording, "-o", &snapshot, "--at", "end"]);
    let mut options = ReadOptions::default();
    options.frames = Frames::All;
    assert_eq!(labels(&options.read_path(&snapshot).unwrap().trace), expected);
    // Rows of blocks that the log does not have are counted.
    let more =
        folder.file("more.csv", &format!("{SITES}10:00:04,0x900,501,1\n10:00:05,0xabc,8,1\n"));
    let said = converted(&[&log, "-o", &recording, "--labels", &more]).err;
    assert!(
        said.contains("labels of blocks that are not in the log, left out: 2; first"),
        "{said}"
    );
}

#[test]
fn a_snapshot_that_is_read_and_written_again_shows_the_same() {
    let folder = Folder::new();
    let frame = |name: &str, line: u64| {
        format!(r#"{{"filename":"/opt/model/train.py","line":{line},"name":"{name}"}}"#)
    };
    let (inner, outer) = (frame("step", 7), frame("main", 99));
    let text = format!(
        r#"{{"segments":[],"device_traces":[[
        {{"action":"alloc","addr":4096,"size":1000,"stream":0,"time_us":5,"frames":[{inner},{outer}]}},
        {{"action":"alloc","addr":8192,"size":500,"stream":77,"time_us":8,"frames":[{outer}]}},
        {{"action":"oom","addr":0,"size":9999999,"stream":0,"time_us":9,"device_free":5,"frames":[]}},
        {{"action":"free_requested","addr":4096,"size":1000,"stream":0,"time_us":20,"frames":[]}},
        {{"action":"free_completed","addr":4096,"size":1000,"stream":0,"time_us":20,"frames":[]}}]]}}"#
    );
    let json = folder.file("first.json", &text);
    let (first, second) = (folder.path("first.pickle"), folder.path("second.pickle"));
    converted(&[&json, "-o", &first, "--at", "end"]);
    converted(&[&first, "-o", &second, "--at", "end"]);
    let mut options = ReadOptions::default();
    options.frames = Frames::All;
    let traces = [&json, &first, &second].map(|path| options.read_path(path).unwrap());
    for reading in &traces {
        let (trace, given) = (&reading.trace, &traces[0].trace);
        assert_eq!(reading.notes, []);
        assert_eq!((trace.events(), trace.times()), (given.events(), given.times()));
    }
    let stack = "/opt/model/train.py:7:step\n/opt/model/train.py:99:main";
    assert_eq!(labels(&traces[2].trace), [stack, "/opt/model/train.py:99:main"]);
    // Addresses are another device's; all else is the same.
    let lengths = [&first, &second].map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(lengths[0], lengths[1]);
}

#[test]
fn a_snapshot_is_taken_when_it_is_asked_for() {
    let folder = Folder::new();
    let log = folder.file("log.csv", LOG);
    let snapshot = folder.path("log.pickle");
    for (at, events) in [("peak", 2), ("end", 5), ("0", 1), ("3", 4)] {
        let said = converted(&[&log, "-o", &snapshot, "--at", at]).err;
        assert!(said.contains(&format!("after {events} events")), "{said}");
        let trace = read_path(&snapshot).unwrap().trace;
        let whole = read_path(&log).unwrap().trace;
        assert_eq!(bare(&trace), bare(&whole)[..events], "{at}");
    }
    assert_refused(&["convert", &log, "-o", &snapshot, "--at", "5"], &["no event 5", "0 to 4"]);
    assert_refused(&["convert", &log, "-o", &snapshot, "--at", "noon"], &["accepted: peak, end"]);
    let args = ["convert", &log, "-o", &snapshot, "--tier", "plain"];
    assert_refused(&args, &["plain has no pool", "accepted: a, b"]);
}

#[test]
fn trace_events_have_live_bytes_and_a_span_for_each_block() {
    let folder = Folder::new();
    let log = folder.file("log.csv", LOG);
    let outcome = converted(&[&log, "--to", "chrome", "-o", "-"]);
    let document: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    let events = document["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|e| e["ph"] == phase).collect::<Vec<_>>();
    let counted: Vec<_> =
        of("C").iter().map(|event| event["args"]["bytes"].as_u64().unwrap()).collect();
    assert_eq!(counted, [1_000_000, 1_000_500, 500, 70_500]);
    assert_eq!((of("b").len(), of("e").len(), of("i").len()), (3, 3, 1));
    assert_eq!(of("b")[1]["ts"], 499.0);
    assert_eq!(of("i")[0]["args"]["size"], 99_999_999_999_u64);
}

#[test]
fn what_a_format_has_no_place_for_is_said() {
    let folder = Folder::new();
    let log = folder.file("log.csv", LOG);
    let said = converted(&[&log, "--to", "lifetimes", "-o", "-"]).err;
    assert_eq!(said, "note: lifetimes has no place for failed requests, streams, threads, times\n");
    let said = converted(&[&log, "--to", "torch", "-o", &folder.path("s")]).err;
    assert!(said.starts_with("note: torch has no place for threads\n"), "{said}");
    assert_eq!(converted(&[&log, "--to", "recording", "-o", &folder.path("r")]).err, "");
}

#[test]
fn outputs_and_options_that_are_not_accepted_are_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let log = folder.file("log.csv", LOG);
    let names = folder.names();
    let nowhere = folder.path("no/such/folder/o.vmem");
    assert_refused(&["convert", &log, "-o", &nowhere], &["no/such/folder", "--output accepts"]);
    let odd = folder.path("o.bin");
    assert_refused(&["convert", &log, "-o", &odd], &["o.bin", "--to says which", "recording"]);
    let args = ["convert", &log, "-o", &odd, "--to", "xml"];
    assert_refused(&args, &["\"xml\" is not a format", "accepted: rmm, lifetimes"]);
    let fine = folder.path("o.vmem");
    let missing = folder.path("missing.csv");
    assert_refused(&["convert", &missing, "-o", &fine], &["missing.csv"]);
    let args = ["convert", &log, "-o", &fine, "--labels", &missing];
    assert_refused(&args, &["missing.csv", "cannot be read"]);
    let args = ["convert", &log, "-o", &fine, "--labels", &log];
    assert_refused(&args, &["log.csv, line 1", "it has not the columns pointer, bytes, site"]);
    let text = "id,lower,upper,size\n0,0,2,64\n";
    let lives = folder.file("lives.csv", text);
    let sites = folder.file("sites.csv", "Pointer,Bytes,Site\n0x1,8,x\n");
    let args = ["convert", &lives, "-o", &fine, "--labels", &sites];
    assert_refused(&args, &["labels from another file are for logs of RMM"]);
    fs::remove_file(lives).unwrap();
    fs::remove_file(sites).unwrap();
    assert_eq!(folder.names(), names);
}
