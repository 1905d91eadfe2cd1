//! Sizes and alignments of blocks.

use std::fmt;
use std::num::NonZeroU64;

use crate::LayoutError;

/// The size and alignment of a block: a non-zero size in bytes, a power-of-two alignment.
///
/// ```
/// use vmem_core::BlockLayout;
///
/// let layout = BlockLayout::new(1000)?;
/// assert_eq!((layout.size(), layout.alignment()), (1000, 256));
/// assert!(BlockLayout::new(0).is_err());
/// assert!(BlockLayout::with_alignment(64, 3).is_err());
/// # Ok::<(), vmem_core::LayoutError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Plain", into = "Plain"))]
pub struct BlockLayout {
    size: NonZeroU64,
    alignment_log2: u8,
}

impl BlockLayout {
    /// The alignment of [`new`](Self::new), in bytes. It is what every CUDA allocation has at
    /// least (CUDA C++ Programming Guide, "Size and Alignment Requirement").
    pub const DEFAULT_ALIGNMENT: u64 = 256;
    /// The largest alignment that every resource honours, in bytes: 2 MiB.
    pub const MAX_ALIGNMENT: u64 = 2 << 20;
    /// The largest size that can be asked for, in bytes: 2⁶³ − 1. Rounding such a size up to any
    /// allowed alignment still fits 64 bits.
    pub const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

    /// A layout of `size` bytes at the default alignment.
    ///
    /// # Errors
    /// If `size` is zero or above [`MAX_SIZE`](Self::MAX_SIZE).
    #[inline]
    pub const fn new(size: u64) -> Result<Self, LayoutError> {
        Self::with_alignment(size, Self::DEFAULT_ALIGNMENT)
    }

    /// A layout of `size` bytes at a multiple of `alignment` bytes.
    ///
    /// # Errors
    /// If `size` is zero or above [`MAX_SIZE`](Self::MAX_SIZE), or `alignment` is not a power of
    /// two or above [`MAX_ALIGNMENT`](Self::MAX_ALIGNMENT).
    #[inline]
    pub const fn with_alignment(size: u64, alignment: u64) -> Result<Self, LayoutError> {
        if !alignment.is_power_of_two() {
            return Err(LayoutError::AlignmentNotPowerOfTwo { alignment });
        }
        if alignment > Self::MAX_ALIGNMENT {
            return Err(LayoutError::AlignmentTooLarge { alignment });
        }
        if size > Self::MAX_SIZE {
            return Err(LayoutError::SizeTooLarge { size });
        }
        match NonZeroU64::new(size) {
            Some(size) => {
                Ok(Self { size, alignment_log2: alignment.trailing_zeros().to_le_bytes()[0] })
            }
            None => Err(LayoutError::ZeroSize),
        }
    }

    /// The size asked for, in bytes.
    #[inline]
    pub const fn size(self) -> u64 {
        self.size.get()
    }

    /// The alignment asked for, in bytes; a power of two.
    #[inline]
    pub const fn alignment(self) -> u64 {
        1 << self.alignment_log2
    }

    /// The size rounded up to a multiple of `granule` bytes, a power of two of at most
    /// [`MAX_ALIGNMENT`](Self::MAX_ALIGNMENT).
    ///
    /// # Panics
    /// If `granule` is not such a power of two.
    #[inline]
    pub const fn rounded_to(self, granule: u64) -> u64 {
        assert!(granule.is_power_of_two() && granule <= Self::MAX_ALIGNMENT);
        (self.size() + (granule - 1)) & !(granule - 1)
    }
}

impl fmt::Debug for BlockLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B aligned to {} B", self.size, self.alignment())
    }
}

impl fmt::Display for BlockLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Plain {
    size: u64,
    alignment: u64,
}

#[cfg(feature = "serde")]
impl From<BlockLayout> for Plain {
    fn from(layout: BlockLayout) -> Self {
        Self { size: layout.size(), alignment: layout.alignment() }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Plain> for BlockLayout {
    type Error = LayoutError;

    fn try_from(plain: Plain) -> Result<Self, LayoutError> {
        Self::with_alignment(plain.size, plain.alignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_layouts_are_refused_with_the_reason() {
        assert_eq!(BlockLayout::new(0), Err(LayoutError::ZeroSize));
        assert_eq!(
            BlockLayout::new(u64::MAX - 10),
            Err(LayoutError::SizeTooLarge { size: u64::MAX - 10 })
        );
        assert_eq!(
            BlockLayout::with_alignment(1, 0),
            Err(LayoutError::AlignmentNotPowerOfTwo { alignment: 0 })
        );
        assert_eq!(
            BlockLayout::with_alignment(1, 4 << 20),
            Err(LayoutError::AlignmentTooLarge { alignment: 4 << 20 })
        );
    }

    #[test]
    fn rounding_never_wraps() {
        let largest = BlockLayout::new(BlockLayout::MAX_SIZE).unwrap();
        assert_eq!(largest.rounded_to(256), 1 << 63);
        assert_eq!(BlockLayout::new(1).unwrap().rounded_to(256), 256);
        assert_eq!(BlockLayout::new(256).unwrap().rounded_to(256), 256);
    }
}
