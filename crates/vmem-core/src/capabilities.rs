//! What a resource's blocks can do.

use bitflags::bitflags;

bitflags! {
    /// Properties of a resource and its blocks.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct Features: u32 {
        /// The host can read and write the blocks at their device address.
        const HOST_ACCESSIBLE = 1 << 0;
        /// The driver may move the blocks' pages between host and device.
        const MIGRATABLE = 1 << 1;
        /// Freeing does not wait: the memory is reused in stream order. Without it, `deallocate`
        /// waits on the host for the stream's tail.
        const STREAM_ORDERED = 1 << 2;
        /// Memory without live blocks can be returned to the device on request.
        const TRIMS = 1 << 3;
    }
}

/// The [`Features`] that a resource offers.
///
/// A wrapper returns its upstream's, and adds or removes exactly what it makes true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Capabilities {
    /// The features of its blocks.
    pub features: Features,
}

impl Capabilities {
    /// These features.
    pub const fn new(features: Features) -> Self {
        Self { features }
    }

    /// Returns true if all of `features` are offered.
    pub const fn has(self, features: Features) -> bool {
        self.features.contains(features)
    }

    /// Returns them with `features` added.
    #[must_use]
    pub const fn with(self, features: Features) -> Self {
        Self { features: self.features.union(features) }
    }

    /// Returns them with `features` removed.
    #[must_use]
    pub const fn without(self, features: Features) -> Self {
        Self { features: self.features.difference(features) }
    }
}
