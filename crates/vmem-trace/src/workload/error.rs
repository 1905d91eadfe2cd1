//! What can go wrong with workloads.

use std::fmt;

use super::Workload;
use super::expression::FormulaError;
use crate::TraceError;

/// A workload could not be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateError {
    workload: Workload,
    reason: String,
}

impl GenerateError {
    /// The workload.
    pub fn workload(&self) -> Workload {
        self.workload
    }

    /// The fault, and what is accepted instead, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workload {}: {}", self.workload, self.reason)
    }
}

impl std::error::Error for GenerateError {}

/// What is wrong, before it is known of which workload.
#[derive(Debug)]
pub(super) struct Reason(pub(super) String);

impl Reason {
    pub(super) fn of(self, workload: Workload) -> GenerateError {
        GenerateError { workload, reason: self.0 }
    }
}

impl From<FormulaError> for Reason {
    fn from(error: FormulaError) -> Self {
        Self(error.to_string())
    }
}

impl From<TraceError> for Reason {
    fn from(error: TraceError) -> Self {
        Self(match error {
            TraceError::TooManyEvents => {
                format!("{error}; ask for a smaller scale, fewer passes or larger pages")
            }
            TraceError::Size(_) | TraceError::LiveOverflow => {
                format!("{error}; ask for a smaller scale")
            }
            _ => error.to_string(),
        })
    }
}

/// A text that names no workload or scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    what: &'static str,
    given: String,
    accepted: String,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, given: &str, accepted: impl Into<String>) -> Self {
        Self { what, given: given.to_owned(), accepted: accepted.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, given, accepted } = self;
        write!(f, "{given:?} is not a {what}; accepted: {accepted}")
    }
}

impl std::error::Error for ParseError {}
