//! The result of running a program.

use std::fmt;

use super::Op;
use crate::Finding;

/// Figures of a program's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Steps made.
    pub steps: u64,
    /// Blocks handed out.
    pub allocated: u64,
    /// Requests refused, all of them rightly.
    pub refused: u64,
    /// The most requested bytes live at once, buffers aside.
    pub peak_live_bytes: u64,
    /// Bytes copied to the host and compared.
    pub verified_bytes: u64,
}

/// The first difference between a resource and the model, or a failure.
#[derive(Debug)]
#[non_exhaustive]
pub struct Divergence {
    /// The step's index in the program, and the step; `None` if it showed at the end.
    pub step: Option<(usize, Op)>,
    /// The difference or failure.
    pub finding: Finding,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some((i, op)) => write!(f, "step {i}, {op:?}: {}", self.finding),
            None => write!(f, "at the end: {}", self.finding),
        }
    }
}

impl std::error::Error for Divergence {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.finding)
    }
}
