//! What the handles, buffers and leaves of this crate promise, on the simulated device.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bare;
mod borrowed;
mod buffer;
mod captures;
mod captures_meanwhile;
mod common;
mod debug;
mod devices;
mod event;
mod leaf;
mod pinned;
mod protection;
mod quarantine;
mod stream;
mod stream_end;
mod stream_thread;
mod typed;
mod typed_faults;
mod typed_programs;
mod uses;
