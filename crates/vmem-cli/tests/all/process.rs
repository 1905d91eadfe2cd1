//! The program as a process: its standard input, signals and pipes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::Folder;

fn start(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vmem"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_trace_is_read_from_standard_input() {
    let mut child = start(&["replay", "-", "--tier", "plain", "--json", "-"]);
    let log = "Thread,Time,Action,Pointer,Size,Stream\n1,t,allocate,0x10,1000,0\n";
    child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["rows"][0]["workload"], "stdin");
    assert_eq!(document["rows"][0]["peak_live_bytes"], 1000);
}

/// The matrix says which cell it is at, so that the signal comes while it runs.
#[cfg(unix)]
#[test]
fn an_interrupt_signal_ends_a_run_with_its_document() {
    let mut child = start(&["matrix", "--announce", "--json", "-"]);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    assert!(line.contains(" on a"), "{line}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // Both ends are read at once by one who waits for the exit.
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        err.read_to_string(&mut rest).unwrap();
        rest
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["interrupted"], true);
    assert!(rest.join().unwrap().contains("again to end at once"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", "id,lower,upper,size\n0,0,2,1000\n");
    let mut child = start(&["replay", &trace, "--tier", "plain"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
