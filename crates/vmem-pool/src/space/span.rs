//! A stretch of addresses.

/// Addresses, by where they begin and how many bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Span {
    #[inline]
    pub(crate) const fn new(start: u64, size: u64) -> Self {
        Self { start, size }
    }

    /// From `start` up to `end`.
    #[inline]
    pub(crate) const fn between(start: u64, end: u64) -> Self {
        Self { start, size: end - start }
    }

    /// The address behind the last byte.
    #[inline]
    pub(crate) const fn end(self) -> u64 {
        self.start + self.size
    }

    /// Whether the two have a byte in common.
    pub(crate) const fn touches(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// The part that the two have in common: of no bytes if they have none.
    pub(crate) fn common(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self::between(start, self.end().min(other.end()).max(start))
    }
}
