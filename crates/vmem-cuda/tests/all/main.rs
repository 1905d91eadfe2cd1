//! The CUDA device over whichever driver is loaded: NVIDIA's on a machine that has one, else the
//! software driver. What only the software driver can be made to do is skipped, by name, over
//! NVIDIA's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod callback;
mod capture;
mod conformance;
mod context;
mod environment;
mod errors;
mod open;
mod parts;
mod streams;
mod support;
mod sweep;
mod tiers;
