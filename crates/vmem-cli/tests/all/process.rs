//! The program as a process: its standard input, signals and pipes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::Folder;

const LOG: &str = "Thread,Time,Action,Pointer,Size,Stream\n1,t,allocate,0x10,1000,0\n";

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
    child.stdin.take().unwrap().write_all(LOG.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["rows"][0]["workload"], "stdin");
    assert_eq!(document["rows"][0]["peak_live_bytes"], 1000);
}

/// What is odd about the first trace is said before the second is read, so that the signal comes
/// meanwhile.
#[cfg(unix)]
#[test]
fn an_interrupt_signal_ends_a_run_with_its_document() {
    let folder = Folder::new();
    let noisy = folder.file("noisy.csv", &format!("{LOG}noise\n"));
    let mut child = start(&["replay", &noisy, "-", "--tier", "plain", "--json", "-"]);
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(err.next().unwrap().starts_with("note: "));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(err.any(|line| line.contains("again to end at once")));
    child.stdin.take().unwrap().write_all(LOG.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["interrupted"], true);
    assert_eq!(document["rows"].as_array().unwrap().len(), 0);
    assert!(err.any(|line| line == "interrupted: 0 of 2 done"));
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
