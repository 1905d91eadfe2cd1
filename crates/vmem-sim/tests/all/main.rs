//! What the simulated device promises: each rule of its model, and that breaking it is noticed.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bytes;
mod capture;
mod capture_modes;
mod common;
#[cfg(unix)]
mod fork;
mod host_handles;
mod managed;
mod memory;
mod order;
mod programs;
mod script;
#[cfg(feature = "serde")]
mod serialised;
mod stream_ordered;
mod streams;
mod strictness;
mod time;
mod virtual_memory;
