//! The result of a replay.

use std::fmt;
use std::time::Duration;

use vmem_core::{AllocError, AllocErrorKind, BoxedError, chain};

/// The result of a replay. All sizes are in bytes; `None` stands for what cannot be known.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ReplayReport {
    /// The trace's name.
    pub trace: String,
    /// The stack in words.
    pub stack: String,
    /// Allocations that succeeded.
    pub allocations: u64,
    /// The largest sum of the sizes of live blocks that was reached.
    pub peak_live: u64,
    /// The most that was held from the device after any allocation, or during one if the meter sees
    /// that.
    pub peak_reserved: u64,
    /// Driver calls, from building the stack to freeing the last block.
    pub driver_calls: Option<u64>,
    /// Driver calls from the second pass on; `None` also if the trace marks no second pass.
    pub driver_calls_steady: Option<u64>,
    /// Simulated time, from building the stack to freeing the last block.
    pub virtual_time: Option<Duration>,
    /// The number of times that a failed request was tried again.
    pub retries: Option<u64>,
    /// Bytes that moved between host and device because memory was short.
    pub migrated_bytes: Option<u64>,
    /// Nanoseconds per allocation and free, if timed and nothing failed.
    pub ns_per_pair: Option<f64>,
    /// The request that failed, if one did.
    pub failure: Option<Failure>,
    /// The requests that failed where the trace was taken, and what became of them here; none unless
    /// [asked](crate::LoggedFailures::AskedAgain).
    pub asked_again: Vec<AskedAgain>,
}

impl ReplayReport {
    /// Returns true if every request was satisfied.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// A request that failed where the trace was taken, asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AskedAgain {
    /// The event's place in the trace, counted from 0.
    pub index: usize,
    /// The size asked for, in bytes.
    pub size: u64,
    /// The sum of the sizes of the blocks live then, in bytes.
    pub live_bytes: u64,
    /// How it failed here too; `None` if it was served.
    pub failure: Option<Failure>,
}

/// A request that a stack could not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Failure {
    /// The event's place in the trace, counted from 0.
    pub index: usize,
    /// The size asked for, in bytes.
    pub size: u64,
    /// The sum of the sizes of the blocks live then, in bytes.
    pub live_bytes: u64,
    /// The largest request that would have been satisfied then, in bytes, if the resource said.
    pub largest_free: Option<u64>,
    /// The kind of failure.
    pub kind: AllocErrorKind,
    /// The resource's report and what caused it.
    pub message: String,
}

impl Failure {
    pub(super) fn new(index: usize, size: u64, live_bytes: u64, error: &AllocError) -> Self {
        Self {
            index,
            size,
            live_bytes,
            largest_free: error.report().map(|report| report.largest_free),
            kind: error.kind(),
            message: chain(error).to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} failed: {} B asked for with {} B live",
            self.index, self.size, self.live_bytes
        )?;
        if let Some(largest) = self.largest_free {
            write!(f, ", largest free block {largest} B")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A replay that could not be carried out, as opposed to one in which a request failed.
#[derive(Debug)]
pub struct ReplayError {
    what: String,
    source: BoxedError,
}

impl ReplayError {
    pub(super) fn new(what: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, chain(&*self.source))
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
