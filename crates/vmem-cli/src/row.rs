//! What one run of one trace on one stack came to.

use serde::Serialize;
use vmem_core::DeviceFacts;
use vmem_trace::ReplayReport;

/// The version of the JSON document's layout. Fields may be added under one version.
pub const SCHEMA: &str = "vmem-report/1";

/// The rows of a run, as the JSON document has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The reason why nothing ran; `None` if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The device; nothing if it is not there.
    pub device: Option<DeviceFacts>,
    /// True if it was ended early, so that rows are missing; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// One for each trace on each stack, in the order they ran.
    pub rows: Vec<Row>,
}

/// One trace on one stack. What is not known is `None`, never zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The workload's name, or the trace file's.
    pub workload: String,
    /// The size of the workload, in its own unit; `None` for a recorded trace.
    pub scale: Option<u64>,
    /// The number of repetitions of the pattern.
    pub passes: u32,
    /// The name of the stack, as on the command line.
    pub tier: &'static str,
    /// The stack, outermost resource first; nothing if it could not be built.
    pub stack: Option<String>,
    /// The device's memory, in bytes.
    pub capacity_bytes: u64,
    /// The seed of whatever is random.
    pub seed: u64,
    /// True for a device without hardware.
    pub simulated: bool,
    /// True if every request was served.
    pub passed: bool,
    /// The index in the trace of the event that failed.
    pub failed_index: Option<u64>,
    /// Requests served.
    pub allocations: u64,
    /// The largest sum of the requested sizes of live blocks, in bytes, as far as the run got.
    pub peak_live_bytes: u64,
    /// The most that was held of the device's memory, in bytes; nothing if none ever was, as with
    /// managed memory that no kernel touches.
    pub peak_reserved_bytes: Option<u64>,
    /// The smallest device that the trace passes on, in bytes, if it was looked for and found.
    pub min_device_bytes: Option<u64>,
    /// Calls to the driver by the stack, from its building to the trace's end.
    pub driver_calls: Option<u64>,
    /// Those from the second pass on; nothing if there is no second pass.
    pub driver_calls_steady: Option<u64>,
    /// Host time in the stack's calls per allocate and free, in nanoseconds.
    pub ns_per_pair: Option<f64>,
    /// Requests refused.
    pub failures: u64,
    /// Requests that a failure hook had tried again; nothing without one in the stack.
    pub retries: Option<u64>,
    /// Bytes moved between host and device; nothing for memory that does not migrate.
    pub migrated_bytes: Option<u64>,
    /// Time on the simulated device's clock, in milliseconds.
    pub virtual_ms: Option<f64>,
    /// Time on the simulated device's clock over that of the same run on a device that holds all of
    /// it; nothing where there was no such run.
    pub slowdown: Option<f64>,
    /// Bytes of arrays that kernels used in the host's memory; left out, as the next three, where
    /// nothing spills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_on_host_bytes: Option<u64>,
    /// The bytes that would have moved if what is used again the latest were always what goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_moved_bytes: Option<u64>,
    /// Time on the simulated device's clock over that of the run on a device that holds all of it and
    /// of the bytes that moved or were used on the host, at 52 GB/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_link: Option<f64>,
    /// Time on the simulated device's clock over that of the same work on the host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_host: Option<f64>,
    /// The requests that failed where the trace was taken, as far as they were made again; left out if
    /// none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked_again: Vec<AskedAgain>,
    /// True if the scenario is there to show that this stack cannot serve it.
    #[serde(skip)]
    pub meant_to_fail: bool,
    /// The reason why it did not pass, as text.
    #[serde(skip)]
    pub failure: Option<String>,
}

/// A request that failed where a trace was taken, made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AskedAgain {
    /// The index in the trace of the event that it is.
    pub index: u64,
    /// The size asked for, in bytes.
    pub size_bytes: u64,
    /// The sum of the requested sizes of the blocks live then, in bytes.
    pub live_bytes: u64,
    /// True if it was served.
    pub served: bool,
}

impl Report {
    /// These rows, of no known device.
    pub fn new(rows: Vec<Row>) -> Self {
        Self { schema: SCHEMA, skipped: None, device: None, interrupted: false, rows }
    }

    /// Returns true if every row passed, or failed where it was meant to.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed != row.meant_to_fail)
    }
}

impl Row {
    /// A row of which nothing is known but what was asked for.
    pub fn blank(workload: &str, tier: &'static str, capacity: u64, seed: u64) -> Self {
        Self {
            workload: workload.to_owned(),
            scale: None,
            passes: 1,
            tier,
            stack: None,
            capacity_bytes: capacity,
            seed,
            simulated: true,
            passed: false,
            failed_index: None,
            allocations: 0,
            peak_live_bytes: 0,
            peak_reserved_bytes: None,
            min_device_bytes: None,
            driver_calls: None,
            driver_calls_steady: None,
            ns_per_pair: None,
            failures: 0,
            retries: None,
            migrated_bytes: None,
            virtual_ms: None,
            slowdown: None,
            used_on_host_bytes: None,
            least_moved_bytes: None,
            over_link: None,
            over_host: None,
            asked_again: Vec::new(),
            meant_to_fail: false,
            failure: None,
        }
    }

    /// Returns it with the results of a replay.
    pub fn with_report(self, report: ReplayReport) -> Self {
        let failed = report.failure.as_ref();
        let asked_again = report.asked_again.iter().map(|asked| AskedAgain {
            index: asked.index as u64,
            size_bytes: asked.size,
            live_bytes: asked.live_bytes,
            served: asked.failure.is_none(),
        });
        Self {
            stack: Some(report.stack),
            passed: failed.is_none(),
            failed_index: failed.and_then(|failure| u64::try_from(failure.index).ok()),
            allocations: report.allocations,
            peak_live_bytes: report.peak_live,
            // Managed memory that nothing touches is nowhere, which is not the same as held: 0 B.
            peak_reserved_bytes: Some(report.peak_reserved).filter(|&bytes| bytes > 0),
            asked_again: asked_again.collect(),
            driver_calls: report.driver_calls,
            driver_calls_steady: report.driver_calls_steady,
            ns_per_pair: report.ns_per_pair,
            failures: u64::from(failed.is_some()),
            retries: report.retries,
            migrated_bytes: report.migrated_bytes,
            virtual_ms: report.virtual_time.map(|time| time.as_secs_f64() * 1e3),
            failure: failed.map(ToString::to_string),
            ..self
        }
    }
}
