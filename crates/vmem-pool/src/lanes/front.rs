//! What a hit and a free change of their lane.

use crate::Batch;
use crate::space::Tag;

/// For how many frees a lane keeps closing its batches after another lane looked at it.
const CONTENDED_FREES: u32 = 1024;

/// The most frees that a lane marks at once because thieves came.
const MOST_MARKED: u32 = 64;

/// A lane's open epoch, and when to close it.
#[derive(Debug)]
pub(crate) struct Front {
    lane: u32,
    batch: Batch,
    /// Ranges are reused only after the host observed that the work on them completed.
    observed: bool,
    /// Only the stream's own thread can close the lane, or a call that vouches for the stream.
    bound: bool,
    /// The epoch of frees from now on.
    open: u64,
    /// The epoch of the latest free.
    last_freed: u64,
    /// Each free, or each batch that is due, is marked, whoever comes.
    always: bool,
    /// Since the batch was opened.
    frees: u64,
    bytes: u64,
    /// Frees left for which the lane counts as contended.
    contended: u32,
    /// Its next caller is to close it.
    wanted: bool,
    /// Frees left that are marked at once, because others took what this lane freed and came early.
    marked_at_once: u32,
    ended: bool,
}

/// Whether a pool has several streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    No,
    Yes,
}

impl Front {
    pub(super) fn new(lane: u32, open: u64, batch: Batch, observed: bool, bound: bool) -> Self {
        Self {
            lane,
            batch,
            observed,
            bound,
            open,
            last_freed: 0,
            always: observed || batch == Batch::STRICT,
            frees: 0,
            bytes: 0,
            contended: 0,
            wanted: false,
            marked_at_once: 0,
            ended: false,
        }
    }

    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the next caller is to close the lane.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Counts a free of so many bytes; returns its tag, and whether to close the batch.
    #[inline]
    pub(super) fn note_free(&mut self, bytes: u64, company: Company) -> (Tag, bool) {
        let tag = Tag { lane: self.lane, epoch: self.use_open_epoch() };
        let heard = self.observed || company == Company::Yes;
        (tag, heard && self.count_free(bytes, company))
    }

    /// Counts a free that others may be interested in. Returns whether to close the batch.
    #[inline]
    fn count_free(&mut self, bytes: u64, company: Company) -> bool {
        self.frees += 1;
        self.bytes = self.bytes.wrapping_add(bytes);
        let asked = self.contended | self.marked_at_once != 0;
        (asked || self.wanted || self.always) && self.is_due(company)
    }

    /// Whether a free that somebody has asked for closes the batch.
    fn is_due(&mut self, company: Company) -> bool {
        let accompanied = company == Company::Yes;
        self.contended = self.contended.saturating_sub(1);
        let at_once = self.marked_at_once > 0;
        self.marked_at_once = self.marked_at_once.saturating_sub(1);
        // A thief cannot close a bound lane: once somebody wanted its memory, each free is marked.
        let bound = self.bound && self.contended > 0;
        let strict = accompanied && (self.batch == Batch::STRICT || bound || at_once);
        let due = self.frees >= u64::from(self.batch.frees) || self.bytes >= self.batch.bytes;
        let heard = (accompanied && self.contended > 0) || self.observed;
        let close = strict || self.is_wanted() || (heard && due);
        close && !self.has_ended()
    }

    /// The open epoch, in which something becomes free.
    #[inline]
    pub(super) fn use_open_epoch(&mut self) -> u64 {
        self.last_freed = self.open;
        self.open
    }

    /// The epoch of the latest free.
    pub(super) fn last_freed(&self) -> u64 {
        self.last_freed
    }

    /// Closes the open epoch and returns it.
    pub(super) fn close(&mut self) -> u64 {
        let epoch = self.open;
        self.open += 1;
        self.frees = 0;
        self.bytes = 0;
        self.wanted = false;
        epoch
    }

    /// Another lane looked at what this one freed. If only some calls can close the open epoch, the
    /// next of them is to do so when it next calls the pool.
    pub(super) fn contend(&mut self) {
        self.contended = CONTENDED_FREES;
        if self.bound {
            self.want();
        }
    }

    /// Another lane takes what this one freed: so many more frees are marked at once. A marker that is
    /// there already saves the thief from recording it.
    pub(super) fn note_theft(&mut self, frees: u32) {
        self.marked_at_once = (self.marked_at_once + frees).min(MOST_MARKED);
    }

    /// Whether frees are marked at once.
    pub(super) fn marks_at_once(&self) -> bool {
        self.marked_at_once > 0
    }

    /// The next caller is to close the open epoch.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }
}
