//! Why a device cannot serve managed memory.

use std::fmt;

/// The feature that a device lacks for [`ManagedMemory`](crate::ManagedMemory).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// The device has no managed memory.
    NoManagedMemory,
    /// Host and device may not access managed memory at the same time. Without that there is no
    /// oversubscription, every prefetch fails, and a host access while kernels run faults.
    NoConcurrentAccess,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoManagedMemory => "the device has no managed memory",
            Self::NoConcurrentAccess => {
                "host and device may not access managed memory at the same time"
            }
        })
    }
}

impl std::error::Error for Unsupported {}
