//! How large the blocks were.

#![forbid(unsafe_code)]

use std::fmt;

/// The number of blocks handed out, by size, in classes of powers of two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SizeHistogram {
    counts: [u64; CLASSES],
}

/// As many as sizes have bits; the last one stays empty.
const CLASSES: usize = 64;

impl Default for SizeHistogram {
    fn default() -> Self {
        Self { counts: [0; CLASSES] }
    }
}

impl SizeHistogram {
    #[inline]
    pub(super) fn add(&mut self, size: u64) {
        if let Some(class) = class(size) {
            self.counts[class] += 1;
        }
    }

    /// The number of blocks with a size of the same class as `size` bytes: at least the power of two
    /// below or at it, less than the next.
    pub fn count(&self, size: u64) -> u64 {
        class(size).map_or(0, |class| self.counts[class])
    }

    /// The classes that occurred, smallest first: lower bound in bytes, number of blocks.
    pub fn classes(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.into_iter().enumerate();
        counts.filter(|&(_, count)| count != 0).map(|(class, count)| (1 << class, count))
    }

    /// The number of blocks of all sizes.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl fmt::Debug for SizeHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.classes()).finish()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for SizeHistogram {
    /// As a map from lower bound to number of blocks.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.classes())
    }
}

#[inline]
fn class(size: u64) -> Option<usize> {
    size.checked_ilog2().map(|bits| bits as usize)
}
