//! The program by its library entry: arguments in, exit code, text and files out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod bench;
#[path = "../../../vmem-lab/tests/all/compare.rs"]
mod compare;
mod hardware;
mod interrupted;
mod json;
#[path = "../../../vmem-lab/tests/all/matrix.rs"]
mod matrix;
#[path = "../../../vmem-lab/tests/all/micro.rs"]
mod micro;
#[path = "../../../vmem-lab/tests/all/misuse.rs"]
mod misuse;
#[cfg(target_os = "linux")]
mod no_driver;
mod process;
mod replay;
mod scenarios;
#[path = "../../../vmem-lab/tests/all/soak.rs"]
mod soak;
mod support;
