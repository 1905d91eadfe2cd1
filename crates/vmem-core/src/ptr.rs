//! Device addresses.

use std::fmt;
use std::num::NonZeroU64;

/// An address in a device's memory, in bytes; never zero.
///
/// Nothing lets safe code read or write through it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct DevicePtr(NonZeroU64);

impl DevicePtr {
    /// The address, or `None` for zero.
    pub const fn new(address: u64) -> Option<Self> {
        match NonZeroU64::new(address) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// The address as a number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The address `bytes` further on, or `None` if it does not fit 64 bits.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// The distance of this address above `base` in bytes, or `None` if it lies below.
    pub const fn checked_offset_from(self, base: Self) -> Option<u64> {
        self.get().checked_sub(base.get())
    }

    /// Returns true if the address is a multiple of `alignment`, a power of two.
    pub const fn is_aligned_to(self, alignment: u64) -> bool {
        self.get() & (alignment - 1) == 0
    }

    /// The address rounded up to a multiple of `alignment`, a power of two; `None` if that does not
    /// fit 64 bits.
    pub const fn align_up(self, alignment: u64) -> Option<Self> {
        match self.get().checked_add(alignment - 1) {
            Some(address) => Self::new(address & !(alignment - 1)),
            None => None,
        }
    }
}

impl fmt::Debug for DevicePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for DevicePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_checked() {
        let top = DevicePtr::new(u64::MAX).unwrap();
        assert_eq!(top.checked_add(1), None);
        assert_eq!(top.align_up(256), None);
        let ptr = DevicePtr::new(257).unwrap();
        assert_eq!(ptr.align_up(256).unwrap().get(), 512);
        assert_eq!(ptr.checked_offset_from(top), None);
        assert_eq!(DevicePtr::new(0), None);
    }
}
