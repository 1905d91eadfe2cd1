//! Addresses and sizes, and what a request needs of them.

use vmem_core::DevicePtr;

/// All sizes and addresses are multiples of this many bytes.
pub(crate) const GRAIN: u64 = 256;

/// The most bytes that a range can have: their grains are counted in 32 bits.
pub(crate) const MOST: u64 = (u32::MAX as u64 - 1) * GRAIN;

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

/// What a request needs of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Bytes, a multiple of [`GRAIN`].
    pub(crate) size: u64,
    /// A power of two, at least [`GRAIN`].
    pub(crate) alignment: u64,
}

impl Need {
    /// Where in a span the request would begin, if it fits.
    #[inline]
    pub(crate) fn start_in(self, span: Span) -> Option<u64> {
        let at = span.start.checked_next_multiple_of(self.alignment)?;
        (at.checked_add(self.size)? <= span.end()).then_some(at)
    }

    /// The size in grains, of what is no larger than a range can be.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 2^32, as the caller has seen")]
    pub(super) const fn grains(self) -> u32 {
        (self.size / GRAIN) as u32
    }
}

/// An address as the driver and programs have it.
///
/// # Panics
/// At zero, where no memory starts.
#[inline]
pub(crate) fn pointer(address: u64) -> DevicePtr {
    DevicePtr::new(address).expect("no memory starts at zero")
}
