//! What a run of the microbenchmarks came to.

use serde::Serialize;
use vmem_core::DeviceFacts;
use vmem_sim::MeasuredCosts;

/// The version of the document's layout. Fields may be added under one version.
pub const MICRO_SCHEMA: &str = "vmem-micro/1";

/// What the device's calls cost, as the JSON document has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MicroReport {
    /// [`MICRO_SCHEMA`].
    pub schema: &'static str,
    /// Why nothing ran; nothing if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The device; nothing if it is not there.
    pub device: Option<DeviceFacts>,
    /// Whether it was ended early, so that parts and the table are missing; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// What told the time.
    pub clock: MicroClock,
    /// What was measured.
    pub rows: Vec<MicroRow>,
    /// What was not, because the device has no such part or too little memory.
    pub left_out: Vec<MicroNote>,
    /// What failed.
    pub failures: Vec<MicroNote>,
    /// The same as costs of a simulated device, for `--costs`.
    pub table: Option<MeasuredCosts>,
}

/// Some call, measured several times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MicroRow {
    /// What was done.
    pub operation: &'static str,
    /// On how many bytes, where that matters.
    pub bytes: Option<u64>,
    /// What went on meanwhile.
    pub beside: Beside,
    /// How often it was measured.
    pub calls: u64,
    /// The median, in nanoseconds.
    pub median_ns: u64,
    /// A tenth of the times are at most this, in nanoseconds.
    pub p10_ns: u64,
    /// Nine tenths of the times are at most this, in nanoseconds.
    pub p90_ns: u64,
    /// The shortest, in nanoseconds.
    pub min_ns: u64,
    /// The longest, in nanoseconds.
    pub max_ns: u64,
}

/// What tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MicroClock {
    /// The host's.
    Host,
    /// The simulated device's, but for what a pool costs the host.
    Virtual,
}

/// What goes on while something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// Work is pending on a stream.
    BusyStream,
    /// Another thread keeps queuing work.
    LaunchingThread,
}

/// Something that was not measured, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MicroNote {
    /// What was to be measured.
    pub what: String,
    /// Why it was not.
    pub reason: String,
}

impl Beside {
    pub(super) const ALL: [Self; 3] = [Self::Nothing, Self::BusyStream, Self::LaunchingThread];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "-",
            Self::BusyStream => "busy stream",
            Self::LaunchingThread => "launching thread",
        }
    }
}
