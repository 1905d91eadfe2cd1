//! Who freed a range last, and when.

use super::range::HOME;

/// Which of a pool's streams: the number of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct StreamIx(pub(crate) u32);

impl StreamIx {
    /// Below every other lane's.
    pub(crate) const LEAST: Self = Self(0);
    /// Above every lane's: what is left of 32 bits beside the state of a block and its alignment.
    pub(crate) const MOST: Self = Self((1 << (u32::BITS - HOME)) - 1);

    /// The stream of this index.
    ///
    /// # Panics
    /// From 2²³ - 1 on.
    pub(crate) fn at(index: usize) -> Self {
        let number = u32::try_from(index).ok().map(Self).filter(|number| *number < Self::MOST);
        number.expect("fewer than 2^23 streams")
    }

    /// The next one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which lane last freed a range, and in which of its epochs. Epoch 0 was before any work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) lane: StreamIx,
    pub(crate) epoch: u64,
}

/// The tag of ranges that no pending work touches: lane 0 is no stream's.
pub(crate) const CLEAN: Tag = Tag { lane: StreamIx(0), epoch: 0 };
