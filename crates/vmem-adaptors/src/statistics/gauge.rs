//! How much is in use, counted by every thread apart, and the most that ever was.

#![forbid(unsafe_code)]

use super::figures::{Tally, Usage};
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Bytes and blocks in use.
///
/// Every thread counts in a [`Cell`] of its own with plain loads and stores: the sum over the cells
/// is exact. The peak needs the sum at every allocation, so each thread also publishes its changes
/// to the levels here, but only once they exceed [`FLOOR_BYTES`] or [`FLOOR_BLOCKS`] and a share of
/// the peak. A thread knows its own unpublished change, so one thread alone sees the exact level,
/// and among N threads a level is off by at most N − 1 unpublished changes.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    bytes: Level,
    blocks: Level,
}

/// Changes up to this many bytes may stay unpublished.
pub(crate) const FLOOR_BYTES: i64 = 1 << 20;
/// Changes up to this many blocks may stay unpublished.
pub(crate) const FLOOR_BLOCKS: i64 = 32;
/// So may changes up to the peak divided by two to this power.
const PEAK_SHARE_LOG2: u32 = 6;

/// What one thread counted, in one cache line. Only one thread at a time writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Cell {
    bytes: Flow,
    blocks: Flow,
}

impl Cell {
    /// Whether nothing was ever counted in it.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        let Flow { inward, outward, .. } = &self.blocks;
        inward.load(Ordering::Relaxed) | outward.load(Ordering::Relaxed) == 0
    }
}

impl Gauge {
    /// Counts a block handed out in the calling thread's cell.
    #[inline]
    pub(crate) fn allocated(&self, cell: &Cell, size: u64) {
        bump(&cell.bytes.inward, size);
        bump(&cell.blocks.inward, 1);
        let Cell { bytes, blocks } = cell;
        self.bytes.raise(&bytes.unpublished, size.cast_signed(), FLOOR_BYTES);
        self.blocks.raise(&blocks.unpublished, 1, FLOOR_BLOCKS);
    }

    /// Counts a block taken back in the calling thread's cell.
    #[inline]
    pub(crate) fn freed(&self, cell: &Cell, size: u64) {
        bump(&cell.bytes.outward, size);
        bump(&cell.blocks.outward, 1);
        let Cell { bytes, blocks } = cell;
        self.bytes.lower(&bytes.unpublished, size.cast_signed(), FLOOR_BYTES);
        self.blocks.lower(&blocks.unpublished, 1, FLOOR_BLOCKS);
    }

    /// What all `cells` counted. Never a free without its allocation.
    pub(crate) fn usage<'a, I>(&self, cells: I) -> Usage
    where
        I: Iterator<Item = &'a Cell> + Clone,
    {
        Usage {
            bytes: self.bytes.tally(cells.clone().map(|cell| &cell.bytes)),
            blocks: self.blocks.tally(cells.map(|cell| &cell.blocks)),
        }
    }

    /// Makes what is in use now the peak.
    pub(crate) fn reset_peak<'a, I>(&self, cells: I)
    where
        I: Iterator<Item = &'a Cell> + Clone,
    {
        let usage = self.usage(cells);
        self.bytes.reset_peak(usage.bytes.current);
        self.blocks.reset_peak(usage.blocks.current);
    }
}

/// What one thread counted of one quantity.
#[derive(Debug, Default)]
struct Flow {
    inward: AtomicU64,
    outward: AtomicU64,
    /// The part of inward less outward that is not in the shared level yet.
    unpublished: AtomicI64,
}

/// The shared knowledge of one quantity.
#[derive(Debug, Default)]
struct Level {
    current: AtomicI64,
    peak: AtomicI64,
}

// Relaxed but where said otherwise: each number stands for itself.
impl Level {
    #[inline]
    fn raise(&self, unpublished: &AtomicI64, by: i64, floor: i64) {
        let mut mine = unpublished.load(Ordering::Relaxed).wrapping_add(by);
        let peak = self.peak.load(Ordering::Relaxed);
        let level = if mine > floor.max(peak >> PEAK_SHARE_LOG2) {
            let before = self.current.fetch_add(mine, Ordering::Relaxed);
            before.wrapping_add(std::mem::take(&mut mine))
        } else {
            self.current.load(Ordering::Relaxed).wrapping_add(mine)
        };
        unpublished.store(mine, Ordering::Relaxed);
        if level > peak {
            self.peak.fetch_max(level, Ordering::Relaxed);
        }
    }

    /// A level that goes down is no peak, so while the change stays small nothing here is looked at.
    #[inline]
    fn lower(&self, unpublished: &AtomicI64, by: i64, floor: i64) {
        let mut mine = unpublished.load(Ordering::Relaxed).wrapping_sub(by);
        if mine < -floor && mine < -(self.peak.load(Ordering::Relaxed) >> PEAK_SHARE_LOG2) {
            self.current.fetch_add(std::mem::take(&mut mine), Ordering::Relaxed);
        }
        unpublished.store(mine, Ordering::Relaxed);
    }

    fn tally<'a, I>(&self, flows: I) -> Tally
    where
        I: Iterator<Item = &'a Flow> + Clone,
    {
        // Acquire: having seen a free, the second sum also sees the allocation before it.
        let sum = |counts: &mut dyn Iterator<Item = &'a AtomicU64>| {
            counts.fold(0_u64, |sum, count| sum.wrapping_add(count.load(Ordering::Acquire)))
        };
        let outward = sum(&mut flows.clone().map(|flow| &flow.outward));
        let inward = sum(&mut flows.map(|flow| &flow.inward));
        let current = inward.wrapping_sub(outward).cast_signed();
        let peak = self.peak.load(Ordering::Relaxed).max(current);
        Tally { current, peak: u64::try_from(peak).unwrap_or(0), total: inward }
    }

    fn reset_peak(&self, current: i64) {
        self.peak.store(current.max(0), Ordering::Relaxed);
    }
}

/// Adds to a counter that only the calling thread writes: a load and a store, no exchange.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    let count = counter.load(Ordering::Relaxed).wrapping_add(by);
    // Release: whoever sees a free counted also sees the allocation that came before it.
    counter.store(count, Ordering::Release);
}
