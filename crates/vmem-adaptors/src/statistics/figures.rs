//! The figures that statistics are read as.

#![forbid(unsafe_code)]

use std::fmt;

use vmem_core::Label;

use crate::words;

/// One quantity: in use now, at its peak, and in total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Tally {
    /// In use now. Negative if blocks allocated past the adaptor were freed through it.
    pub current: i64,
    /// The most that was in use at once since the last reset.
    pub peak: u64,
    /// Handed out since the start.
    pub total: u64,
}

/// Use of memory in bytes, as asked for, and in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Usage {
    /// Bytes.
    pub bytes: Tally,
    /// Blocks.
    pub blocks: Tally,
}

/// The figures of a [`Statistics`](crate::Statistics) adaptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Bytes, as asked for.
    pub bytes: Tally,
    /// Blocks.
    pub blocks: Tally,
    /// Requests that were refused.
    pub failures: u64,
    /// Frees that were refused; their blocks still count as in use.
    pub refused_frees: u64,
}

/// Use of memory under one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LabelUsage {
    /// The label.
    pub label: Label,
    /// The label's figures.
    pub usage: Usage,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, blocks } = self;
        write!(f, "{} B in {}, ", bytes.current, words::blocks(blocks.current))?;
        write!(f, "at most {} B and {}, ", bytes.peak, words::blocks(blocks.peak))?;
        write!(f, "{} B in {} in all", bytes.total, words::blocks(blocks.total))
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, blocks, .. } = *self;
        let (usage, failures) = (Usage { bytes, blocks }, self.failures);
        write!(f, "{usage}, {failures} requests refused")
    }
}
