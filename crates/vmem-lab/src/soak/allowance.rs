//! What several threads may have between them, so that it can be said which request must be
//! served whatever the order of the threads.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::cache;
use super::shape::StackShape;

/// The bytes that the threads hold and are asking for.
///
/// A thread takes what it is about to ask for and gives it back once it was freed. So nobody ever
/// asks for more than there is for all, and no request may be refused because of another's.
#[derive(Debug)]
pub(super) struct Allowance {
    /// `None` where nothing can be promised: a low ceiling.
    most: Option<u64>,
    taken: AtomicU64,
    asked: AtomicU64,
}

/// Whether a request must be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fits {
    Surely,
    Unknown,
}

impl Allowance {
    /// What no limit is set below.
    const LEAST_LIMIT: u64 = StackShape::LIMIT / 100 * LEAST_PERCENT;

    /// What the cache takes at most: each of four threads may take the last buffer.
    const CACHE: u64 = cache::MOST + 4 * LARGEST;

    /// The most that can ever be asked for so that even if no freed byte were used again, and each
    /// request were rounded up to twice its size, the device had enough.
    const FRESH: u64 = StackShape::CAPACITY / 4;

    pub(super) fn new(shape: &StackShape) -> Self {
        let most = shape.ceiling.is_none().then_some(Self::LEAST_LIMIT - Self::CACHE);
        Self { most, taken: AtomicU64::new(0), asked: AtomicU64::new(0) }
    }

    /// Takes what is about to be asked for; `None` if that would be too much for all.
    pub(super) fn take(&self, bytes: u64) -> Option<Fits> {
        let Some(most) = self.most else { return Some(Fits::Unknown) };
        let more = |taken: u64| (taken + bytes <= most).then_some(taken + bytes);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let asked = self.asked.fetch_add(bytes, Ordering::Relaxed) + bytes;
        Some(if asked <= Self::FRESH { Fits::Surely } else { Fits::Unknown })
    }

    /// Gives back what was freed, or refused.
    pub(super) fn give_back(&self, bytes: u64) {
        if self.most.is_some() {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// The largest request of a thread, in bytes.
pub(super) const LARGEST: u64 = 256 << 10;

/// The lowest limit that a thread sets, in percent of [`StackShape::LIMIT`].
pub(super) const LEAST_PERCENT: u64 = 75;

#[cfg(test)]
mod tests {
    use super::super::shape::Source;
    use super::*;

    fn shape(ceiling: Option<u64>) -> StackShape {
        StackShape::of(Source::Arena, ceiling)
    }

    #[test]
    fn what_is_taken_in_turn_must_be_served_until_too_much_was_asked_for() {
        let allowance = Allowance::new(&shape(None));
        let most = allowance.most.expect("there is no ceiling");
        assert_eq!(allowance.take(most), Some(Fits::Surely));
        assert_eq!(allowance.take(1), None);
        let times = Allowance::FRESH / most;
        for _ in 1..times {
            allowance.give_back(most);
            assert_eq!(allowance.take(most), Some(Fits::Surely));
        }
        allowance.give_back(most);
        assert_eq!(allowance.take(most), Some(Fits::Unknown));
    }

    #[test]
    fn nothing_is_promised_under_a_ceiling() {
        let allowance = Allowance::new(&shape(Some(1 << 20)));
        assert_eq!(allowance.take(u64::MAX), Some(Fits::Unknown));
        assert_eq!(allowance.take(u64::MAX), Some(Fits::Unknown));
    }
}
