//! The irregularities that a reader skipped or repaired, counted by kind.

use std::fmt;

use super::ReadError;

/// Something in a file that is not as it should be. A reader skips or repairs it, unless it is told to
/// [refuse](super::Strictness::Strict).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Irregularity {
    /// Allocations and frees of no bytes; left out.
    ZeroSize,
    /// Lines that are no rows, such as what another program wrote in between; left out.
    ForeignLine,
    /// Rows or entries with a field that is not understood; left out.
    BadField,
    /// The file ends within a row, an entry or its compressed data; what is incomplete is left out.
    CutEnd,
    /// The file is damaged; what comes after is left out.
    Damaged,
    /// Blocks allocated before the log begins, because they are freed or listed as live in it; live
    /// from its start.
    EarlierBlock,
    /// Frees where nothing is live; left out.
    NotLive,
    /// Allocations where a block was still live; that one ends there.
    StillLive,
    /// Frees of another size than was allocated; the block is freed.
    WrongSize,
    /// Another log begins in the same file; what was live ends there.
    NewRun,
    /// Rows without a header; the columns are told from their contents.
    NoHeader,
    /// Events of devices other than the one that has most; left out.
    OtherDevice,
    /// Labels in a [side file](crate::Sites) of blocks that the log does not have; left out.
    UnusedLabel,
}

/// An [`Irregularity`] of a file, and how often it occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The kind of irregularity.
    pub what: Irregularity,
    /// The number of occurrences; at least 1.
    pub count: u64,
    /// The first of them: where it is and what is wrong, in words.
    pub first: String,
}

/// Notes irregularities, or refuses them.
#[derive(Debug, Clone, Default)]
pub(super) struct Judge {
    pub(super) refuses: bool,
    pub(super) notes: Vec<Note>,
}

impl Judge {
    pub(super) fn new(refuses: bool) -> Self {
        Self { refuses, notes: Vec::new() }
    }

    /// Counts an irregularity, which `error` describes.
    ///
    /// # Errors
    /// That error, if irregularities are refused.
    pub(super) fn note(
        &mut self,
        what: Irregularity,
        error: impl FnOnce() -> ReadError,
    ) -> Result<(), ReadError> {
        self.note_many(what, 1, error)
    }

    /// The same for as many as `count`.
    pub(super) fn note_many(
        &mut self,
        what: Irregularity,
        count: u64,
        error: impl FnOnce() -> ReadError,
    ) -> Result<(), ReadError> {
        if self.refuses {
            return Err(error());
        }
        match self.notes.iter_mut().find(|note| note.what == what) {
            Some(note) => note.count += count,
            None => self.notes.push(Note { what, count, first: error().without_file() }),
        }
        Ok(())
    }
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroSize => "allocations and frees of no bytes, left out",
            Self::ForeignLine => "lines that are no rows, left out",
            Self::BadField => "rows with a field that is not understood, left out",
            Self::CutEnd => "an end that is cut off, left out",
            Self::Damaged => "damage, after which nothing was read",
            Self::EarlierBlock => "blocks from before the log begins, live from its start",
            Self::NotLive => "frees where nothing is live, left out",
            Self::StillLive => "allocations where a block was still live, which ends there",
            Self::WrongSize => "frees of another size than was allocated, of the whole block",
            Self::NewRun => "further logs in the same file, at which what was live ends",
            Self::NoHeader => "no header; the columns are told from their contents",
            Self::OtherDevice => "events of other devices, left out",
            Self::UnusedLabel => "labels of blocks that are not in the log, left out",
        })
    }
}

impl fmt::Display for Note {
    /// In one line: what, how often, and the first place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; first: {}", self.what, self.count, self.first)
    }
}
