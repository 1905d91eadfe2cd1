//! The baselines come to what the peers that they stand for came to.

#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod contract;
mod cupy;
mod footprint;
mod offset;
mod peers;
mod rmm;
mod support;
mod torch;
mod two_streams;
