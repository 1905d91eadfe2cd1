//! What goes in and out.

#![forbid(unsafe_code)]

use super::figures::{Tally, Usage};

/// Bytes and blocks that were handed out and taken back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flows {
    bytes: Flow,
    blocks: Flow,
}

impl Flows {
    #[inline]
    pub(super) fn allocated(&mut self, size: u64) {
        self.bytes.enter(size);
        self.blocks.enter(1);
    }

    #[inline]
    pub(super) fn freed(&mut self, size: u64) {
        self.bytes.leave(size);
        self.blocks.leave(1);
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { bytes: self.bytes.tally(), blocks: self.blocks.tally() }
    }

    pub(super) fn reset_peaks(&mut self) {
        self.bytes.reset_peak();
        self.blocks.reset_peak();
    }
}

/// One of the two. Sums instead of a [`Tally`], because a free is then one addition.
///
/// Sums wrap: one that grew beyond 64 bits still differs from the other by what is in use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Flow {
    inward: u64,
    outward: u64,
    /// At least zero.
    peak: i64,
}

impl Flow {
    #[inline]
    fn enter(&mut self, by: u64) {
        self.inward = self.inward.wrapping_add(by);
        let current = self.current();
        if current > self.peak {
            self.peak = current;
        }
    }

    #[inline]
    fn leave(&mut self, by: u64) {
        self.outward = self.outward.wrapping_add(by);
    }

    #[inline]
    fn current(&self) -> i64 {
        self.inward.wrapping_sub(self.outward).cast_signed()
    }

    fn tally(&self) -> Tally {
        Tally { current: self.current(), peak: self.peak.unsigned_abs(), total: self.inward }
    }

    fn reset_peak(&mut self) {
        self.peak = self.current().max(0);
    }
}
