//! Slices over the driver of the machine: NVIDIA's, or the software driver under `cargo xtask driver`.
//! Without one the tests are skipped by name, as is over NVIDIA's what only the software driver can be
//! made to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod captures;
mod conformance;
mod convert;
mod ends;
mod failures;
mod loading;
mod ordering;
mod slices;
mod support;
mod surface;
