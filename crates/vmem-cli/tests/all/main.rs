//! The program by its library entry: arguments in, exit code, text and files out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod bench;
mod browser;
mod completions;
mod convert;
mod costs;
mod ending;
mod hardware;
mod inspect;
mod interrupted;
mod json;
mod memory_viz;
#[cfg(target_os = "linux")]
mod no_driver;
mod process;
mod replay;
mod report;
mod scenarios;
mod spill;
mod support;

use vmem_cli::{run, run_on};

/// Says that something is not tested, past the capture of tests' output, so that it is seen.
fn skip(what: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}
