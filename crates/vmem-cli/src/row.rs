//! What one run of one trace on one stack came to.

use serde::Serialize;

/// The version of the JSON document's layout. Fields may be added under one version.
pub const SCHEMA: &str = "vmem-report/1";

/// The rows of a run, as the JSON document has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// One for each trace on each stack, in the order they ran.
    pub rows: Vec<Row>,
}

/// One trace on one stack. What is not known is `None`, never zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The workload's name, or the trace file's.
    pub workload: String,
    /// How large the workload is, in its own unit; nothing for a recorded trace.
    pub scale: Option<u64>,
    /// How often the pattern was repeated.
    pub passes: u32,
    /// The name of the stack, as on the command line.
    pub tier: &'static str,
    /// The stack, outermost resource first; nothing if it could not be built.
    pub stack: Option<String>,
    /// The device's memory, in bytes.
    pub capacity_bytes: u64,
    /// The seed of whatever is random.
    pub seed: u64,
    /// Whether no hardware was behind it.
    pub simulated: bool,
    /// Whether every request was served.
    pub passed: bool,
    /// The index in the trace of the event that failed.
    pub failed_index: Option<u64>,
    /// Requests served.
    pub allocations: u64,
    /// The largest sum of the requested sizes of live blocks, in bytes, as far as the run got.
    pub peak_live_bytes: u64,
    /// The most that was held of the device's memory, in bytes.
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
    /// Why it did not pass, for people.
    #[serde(skip)]
    pub failure: Option<String>,
}

impl Report {
    /// These rows.
    pub fn new(rows: Vec<Row>) -> Self {
        Self { schema: SCHEMA, rows }
    }

    /// Whether every row passed.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }
}
