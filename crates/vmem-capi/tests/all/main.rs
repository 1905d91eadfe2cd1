//! The C ABI over the driver of the machine: the software driver under `cargo xtask driver`. Without one the
//! tests that need a driver are skipped by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod header;
mod programs;
mod rmm;
mod support;
