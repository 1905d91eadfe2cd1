//! What free ranges are ordered by.

/// The size of a range above its place among those of its size: the best fit, and the lowest of equals,
/// is the least key from that of the size on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Key(u64);

impl Key {
    /// Above that of every range.
    pub(in super::super) const MOST: Self = Self(u64::MAX);

    /// Of a range of so many grains that begins at this grain.
    #[inline]
    pub(in super::super) const fn of(grains: u32, start: u32) -> Self {
        Self((grains as u64) << 32 | start as u64)
    }

    #[inline]
    pub(super) const fn grains(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub(super) const fn start(self) -> u32 {
        self.0 as u32
    }
}
