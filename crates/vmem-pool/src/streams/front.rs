//! What a hit and a free change of their lane.

use crate::Batch;
use crate::space::{StreamIx, Tag};

/// For how many frees a lane keeps closing its batches after another lane looked at it.
const CONTENDED_FREES: u32 = 1024;

/// So many bytes are marked although there is no other stream yet, if only a call that vouches can: the first
/// one that comes may ask for all there is.
const LARGE: u64 = 1 << 20;

/// Who can close a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closer {
    Anybody,
    /// The thread whose default stream it is.
    Thread,
    /// A call that vouches for the stream.
    Voucher,
}

/// The most frees that a lane marks at once because thieves came.
const MOST_MARKED: u32 = 64;

/// A lane's open epoch, and when to close it.
#[derive(Debug)]
pub(crate) struct Front {
    lane: StreamIx,
    batch: Batch,
    /// Ranges are reused only after the host observed that the work on them completed.
    observed: bool,
    closer: Closer,
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
    /// Bytes of ranges taken for it that are not free again; below zero where another lane had its number.
    live: i64,
    ended: bool,
}

impl Front {
    pub(super) fn new(
        lane: StreamIx,
        open: u64,
        batch: Batch,
        observed: bool,
        closer: Closer,
    ) -> Self {
        Self {
            lane,
            batch,
            observed,
            closer,
            open,
            last_freed: 0,
            always: observed || batch == Batch::STRICT || closer != Closer::Anybody,
            frees: 0,
            bytes: 0,
            contended: 0,
            wanted: false,
            marked_at_once: 0,
            live: 0,
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

    /// Bytes in blocks that are at home on the lane.
    pub(super) fn live(&self) -> u64 {
        u64::try_from(self.live).unwrap_or(0)
    }

    /// A range of so many bytes was taken for it.
    #[inline]
    pub(super) const fn note_taken(&mut self, bytes: u64) {
        self.live = self.live.wrapping_add(bytes.cast_signed());
    }

    /// Whether the next caller is to close the lane.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Counts a free of so many bytes; returns its tag, and whether to close the batch.
    #[inline]
    pub(super) fn note_free(&mut self, bytes: u64, accompanied: bool) -> (Tag, bool) {
        self.note_taken(bytes.wrapping_neg());
        let tag = Tag { lane: self.lane, epoch: self.use_open_epoch() };
        let heard = self.observed || self.needs_marks(accompanied);
        (tag, heard && self.count_free(bytes, accompanied))
    }

    /// Counts a free that others may be interested in. Returns whether to close the batch.
    #[inline]
    fn count_free(&mut self, bytes: u64, accompanied: bool) -> bool {
        self.frees += 1;
        self.bytes = self.bytes.wrapping_add(bytes);
        let asked = self.contended | self.marked_at_once != 0;
        (asked || self.wanted || self.always) && self.is_due(accompanied)
    }

    /// Whether a free that somebody has asked for closes the batch.
    fn is_due(&mut self, accompanied: bool) -> bool {
        self.contended = self.contended.saturating_sub(1);
        let contended = self.contended > 0;
        let at_once = self.marked_at_once > 0;
        self.marked_at_once = self.marked_at_once.saturating_sub(1);
        // A thief cannot close a bound lane: its batches are closed before anybody wants them, and each free
        // is marked once somebody did. Of a stream that may be gone by then each is, by a caller who vouches.
        let bound = match self.closer {
            Closer::Anybody => false,
            Closer::Thread => contended,
            Closer::Voucher => true,
        };
        let strict = accompanied && (self.batch == Batch::STRICT || bound || at_once);
        let sought = accompanied && (contended || self.closer == Closer::Thread);
        let heard = sought || self.closer == Closer::Voucher || self.observed;
        let most = match self.closer {
            Closer::Voucher => self.batch.bytes.min(LARGE),
            Closer::Anybody | Closer::Thread => self.batch.bytes,
        };
        let due = self.frees >= u64::from(self.batch.frees) || self.bytes >= most;
        let close = strict || self.is_wanted() || (heard && due);
        close && !self.has_ended()
    }

    /// Whether others may come for what the lane frees who cannot close it, or are there already.
    pub(super) fn needs_marks(&self, accompanied: bool) -> bool {
        self.closer == Closer::Voucher || accompanied
    }

    /// A free that was to close the batch could not. Once the batch is full, the next caller who can is to.
    pub(super) fn leave_open(&mut self) {
        if self.frees >= u64::from(self.batch.frees) || self.bytes >= self.batch.bytes {
            self.want();
        }
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
        if self.closer != Closer::Anybody {
            self.want();
        }
    }

    /// Another lane takes what this one freed: so many more frees are marked at once. A marker that is
    /// there already saves the thief from recording it.
    pub(super) fn note_theft(&mut self, frees: u32) {
        self.marked_at_once = (self.marked_at_once + frees).min(MOST_MARKED);
    }

    /// Whether frees are marked at once.
    pub(crate) fn marks_at_once(&self) -> bool {
        self.marked_at_once > 0
    }

    /// The next caller is to close the open epoch.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }
}
