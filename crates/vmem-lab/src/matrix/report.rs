//! What a run of the matrix came to.

use std::fmt;

use serde::Serialize;
use vmem_core::DeviceFacts;

/// The version of the document's layout. Fields may be added under one version.
pub const MATRIX_SCHEMA: &str = "vmem-matrix/1";

/// Every check on every stack, as the JSON document has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatrixReport {
    /// [`MATRIX_SCHEMA`].
    pub schema: &'static str,
    /// The device; nothing if it is not there.
    pub device: Option<DeviceFacts>,
    /// Whether it was ended early, so that cells are missing; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// The seed of whatever is random.
    pub seed: u64,
    /// How many cells passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// The cells, in the order they ran.
    pub cells: Vec<MatrixCell>,
}

/// One check on one stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatrixCell {
    /// What was checked.
    pub check: String,
    /// The name of the stack, as on the command line.
    pub tier: &'static str,
    /// The device, as on the command line.
    pub device: String,
    /// What it came to.
    pub result: CellResult,
    /// Why it failed or was skipped; of a check that passed, what it found, if it says.
    pub reason: Option<String>,
}

/// What a cell came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CellResult {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It does not apply, or nothing is there to try it on.
    Skip,
}

impl MatrixReport {
    /// These cells.
    pub fn new(device: Option<DeviceFacts>, seed: u64, cells: Vec<MatrixCell>) -> Self {
        let count = |result| cells.iter().filter(|cell| cell.result == result).count();
        Self {
            schema: MATRIX_SCHEMA,
            device,
            interrupted: false,
            seed,
            passed: count(CellResult::Pass),
            failed: count(CellResult::Fail),
            skipped: count(CellResult::Skip),
            cells,
        }
    }
}

impl fmt::Display for CellResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        })
    }
}
