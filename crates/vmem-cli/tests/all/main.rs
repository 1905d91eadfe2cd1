//! The program by its library entry: arguments in, exit code, text and files out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod bench;
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
mod scenarios;
mod support;

use vmem_cli::{run, run_on};
