//! What a hit and a free need to know of their lane. Read and written without the pool's lock.

use std::sync::Arc;

use crate::Batch;
use crate::space::Tag;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// For how many frees a lane keeps closing its batches after another lane looked at it.
const CONTENDED_FREES: u32 = 1024;

/// How a thread found a shard's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Free,
    Taken,
}

/// The side of a lane that faces its threads.
///
/// Whoever uses it holds the lock of some shard, and whoever ends the lane or moves it to another
/// shard holds all of them: under its lock a thread sees the lane as it is.
///
/// Whoever closes the open epoch holds all locks too, so that a free sees an epoch that is open until
/// its range is tagged. What is only counted may be counted by several threads at once: two frees at
/// once may count as one towards the batch, and batches are a bound on how often the driver
/// is called, not on what is covered.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Front {
    lane: u32,
    batch: Batch,
    /// Ranges are reused only after the host observed that the work on them completed.
    observed: bool,
    /// Only the stream's own thread can close the lane, or a call that vouches for the stream.
    bound: bool,
    /// The shard in which the lane looks for free memory.
    shard: AtomicUsize,
    /// The epoch of frees from now on.
    open: AtomicU64,
    /// The epoch of the latest free.
    last_freed: AtomicU64,
    /// Since the batch was opened.
    frees: AtomicU32,
    bytes: AtomicU64,
    /// Frees left for which the lane counts as contended.
    contended: AtomicU32,
    /// Its next caller is to close it.
    wanted: AtomicBool,
    /// There are other streams. Shared by all lanes.
    company: Arc<AtomicBool>,
    ended: AtomicBool,
    /// How much its threads had to wait for others' locks lately.
    friction: AtomicU32,
    /// With so much friction it looks for a shard of its own.
    patience: AtomicU32,
}

/// How much a lock that was found taken adds to a lane's friction; one that was not takes one away.
const COLLISION: u32 = 64;

/// With so much friction a lane first looks for a shard of its own: after sixteen collisions at once, or
/// lasting ones on more than one call in sixty-four.
const TOO_MUCH: u32 = 16 * COLLISION;

impl Front {
    pub(super) fn new(
        lane: u32,
        open: u64,
        batch: Batch,
        observed: bool,
        bound: bool,
        company: Arc<AtomicBool>,
    ) -> Self {
        Self {
            lane,
            batch,
            observed,
            bound,
            shard: AtomicUsize::new(0),
            open: AtomicU64::new(open),
            last_freed: AtomicU64::new(0),
            frees: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            contended: AtomicU32::new(0),
            wanted: AtomicBool::new(false),
            company,
            ended: AtomicBool::new(false),
            friction: AtomicU32::new(0),
            patience: AtomicU32::new(TOO_MUCH),
        }
    }

    #[inline]
    pub(crate) fn lane(&self) -> u32 {
        self.lane
    }

    /// The shard in which the lane looks for free memory first.
    #[inline]
    pub(crate) fn shard(&self) -> usize {
        self.shard.load(Ordering::Relaxed)
    }

    pub(super) fn set_shard(&self, shard: usize) {
        self.shard.store(shard, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the next caller is to close the lane.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Counts a free of so many bytes; returns its tag, and whether to close the batch.
    #[inline]
    pub(crate) fn note_free(&self, bytes: u64) -> (Tag, bool) {
        let tag = Tag { lane: self.lane, epoch: self.use_open_epoch() };
        let heard = self.observed || self.company.load(Ordering::Relaxed);
        (tag, heard && self.count_free(bytes))
    }

    /// Counts a free that others may be interested in. Returns whether to close the batch.
    fn count_free(&self, bytes: u64) -> bool {
        let accompanied = self.company.load(Ordering::Relaxed);
        let frees = self.frees.load(Ordering::Relaxed).saturating_add(1);
        self.frees.store(frees, Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        let contended = self.contended.load(Ordering::Relaxed).saturating_sub(1);
        self.contended.store(contended, Ordering::Relaxed);
        // A thief cannot close a bound lane: once somebody wanted its memory, each free is marked.
        let strict = accompanied && (self.batch == Batch::STRICT || (self.bound && contended > 0));
        let due = frees >= self.batch.frees || bytes >= self.batch.bytes;
        let heard = (accompanied && contended > 0) || self.observed;
        let close = strict || self.is_wanted() || (heard && due);
        close && !self.has_ended()
    }

    /// The open epoch, in which something becomes free.
    #[inline]
    pub(super) fn use_open_epoch(&self) -> u64 {
        let epoch = self.open.load(Ordering::SeqCst);
        if self.last_freed.load(Ordering::Relaxed) < epoch {
            self.last_freed.fetch_max(epoch, Ordering::Relaxed);
        }
        epoch
    }

    /// The epoch of the latest free.
    pub(super) fn last_freed(&self) -> u64 {
        self.last_freed.load(Ordering::Relaxed)
    }

    /// Closes the open epoch and returns it.
    pub(super) fn close(&self) -> u64 {
        let epoch = self.open.fetch_add(1, Ordering::SeqCst);
        self.frees.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        epoch
    }

    /// Another lane looked at what this one freed. If only some calls can close the open epoch, the
    /// next of them is to do so when it next calls the pool.
    pub(super) fn contend(&self) {
        self.contended.store(CONTENDED_FREES, Ordering::Relaxed);
        if self.bound {
            self.want();
        }
    }

    /// The next caller is to close the open epoch.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// There was no better shard to be had: looks for one half as often.
    pub(crate) fn endure(&self) {
        let patience = self.patience.load(Ordering::Relaxed);
        self.patience.store(patience.saturating_mul(2).min(u32::MAX / 2), Ordering::Relaxed);
    }

    /// Notes how a shard's lock was found. Returns whether the lane should look for a shard
    /// of its own.
    #[inline]
    pub(crate) fn note_lock(&self, found: Found) -> bool {
        let friction = self.friction.load(Ordering::Relaxed);
        if found == Found::Free && friction == 0 {
            return false;
        }
        let friction = match found {
            Found::Taken => friction + COLLISION,
            Found::Free => friction - 1,
        };
        let too_much = friction >= self.patience.load(Ordering::Relaxed);
        self.friction.store(if too_much { 0 } else { friction }, Ordering::Relaxed);
        too_much
    }
}
