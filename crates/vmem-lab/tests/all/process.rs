//! The program as a process that is sent a signal.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The matrix says which cell it is at, so that the signal comes while it runs.
#[cfg(unix)]
#[test]
fn an_interrupt_signal_ends_a_run_with_its_document() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_vmem-lab"));
    program.args(["matrix", "--announce", "--json", "-"]);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
