//! Models of the real pool over the simulated device: loom runs each in every order of its threads'
//! locks, atomics and driver calls, with at most so many preemptions as the model says. Whatever an
//! order breaks, the device's happens-before checker, its list of leaks or the model's own
//! assertions notice.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vmem-pool --test loom --release`

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod can_fail;
mod growth;
mod home;
mod inbox;
mod residency;
mod retire;
mod steal;
mod support;
mod trim;
