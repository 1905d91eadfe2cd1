//! The program by its library entry: arguments in, exit code, text and files out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod compare;
#[path = "../../../vmem-cli/tests/all/ending.rs"]
mod ending;
mod interrupted;
mod matrix;
mod micro;
mod misuse;
#[cfg(unix)]
mod process;
mod soak;
#[path = "../../../vmem-cli/tests/all/support.rs"]
mod support;

use vmem_lab::{run, run_on};
