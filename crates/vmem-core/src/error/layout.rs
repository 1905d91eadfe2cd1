//! Why a layout was refused.

use std::fmt;

use crate::BlockLayout;

/// A size and alignment that do not make a [`BlockLayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The size is zero.
    ZeroSize,
    /// The size is above [`BlockLayout::MAX_SIZE`].
    SizeTooLarge {
        /// The size, in bytes.
        size: u64,
    },
    /// The alignment is not a power of two.
    AlignmentNotPowerOfTwo {
        /// The alignment, in bytes.
        alignment: u64,
    },
    /// The alignment is above [`BlockLayout::MAX_ALIGNMENT`].
    AlignmentTooLarge {
        /// The alignment, in bytes.
        alignment: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ZeroSize => write!(f, "a block has at least 1 byte"),
            Self::SizeTooLarge { size } => {
                write!(f, "{size} B is above the largest block of {} B", BlockLayout::MAX_SIZE)
            }
            Self::AlignmentNotPowerOfTwo { alignment } => {
                write!(f, "the alignment must be a power of two, not {alignment} B")
            }
            Self::AlignmentTooLarge { alignment } => write!(
                f,
                "an alignment of {alignment} B is above the largest of {} B",
                BlockLayout::MAX_ALIGNMENT
            ),
        }
    }
}

impl std::error::Error for LayoutError {}
