//! The adaptors' behaviour, one module per adaptor. `RMM n` names the item of RMM's own tests that
//! a test corresponds to.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod bookkeeping;
mod fake;
mod forks;
mod handles;
mod limit;
mod on_failure;
mod panics;
mod reclaimers;
mod scrub;
mod spill;
mod stacks;
mod statistics;
mod threads;
mod track;
