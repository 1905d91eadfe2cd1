//! The CUDA device over the driver of the machine: NVIDIA's, or the software driver under `cargo xtask
//! driver`. Without one the tests are skipped by name, as is over NVIDIA's what only the software
//! driver can be made to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod callback;
mod capture;
mod conformance;
mod context;
#[cfg(feature = "cust")]
mod cust;
mod environment;
mod errors;
// With the feature, the tests link the driver: the process has one before anything is loaded.
#[cfg(all(target_os = "linux", not(feature = "cust")))]
mod loading;
mod open;
mod parts;
mod residency;
mod streams;
mod support;
mod sweep;
mod tiers;
mod typed;
