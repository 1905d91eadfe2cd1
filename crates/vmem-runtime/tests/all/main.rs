//! The runtime over the simulated device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod figures;
#[cfg(unix)]
mod fork;
mod pending;
mod recovery;
mod registry;
mod reservations;
mod retired;
mod setup;
mod spill;
mod stacked;
mod support;
mod tiers;
