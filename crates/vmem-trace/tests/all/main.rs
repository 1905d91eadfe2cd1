//! What the crate does as a whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod compressed;
mod frames;
mod heap;
mod hostile;
mod irregular;
mod logs;
mod min_device;
mod public_traces;
mod readers;
mod recordings;
mod replays;
mod snapshots;
mod support;
mod watched;
mod workloads;
mod writers;
