//! What a resource's blocks can do.

use bitflags::bitflags;

use crate::BlockLayout;

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
        /// Blocks can be shared with other processes.
        const IPC = 1 << 4;
        /// Peer devices can be given access.
        const PEER_ACCESS = 1 << 5;
    }
}

/// What a resource offers: its [`Features`] and the largest alignment it honours.
///
/// A wrapper returns its upstream's, and adds or removes exactly what it makes true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Capabilities {
    /// What the blocks can do.
    pub features: Features,
    /// The largest alignment honoured, in bytes; at least [`BlockLayout::MAX_ALIGNMENT`].
    pub max_alignment: u64,
}

impl Capabilities {
    /// These features, with the alignment that every resource honours.
    pub const fn new(features: Features) -> Self {
        Self { features, max_alignment: BlockLayout::MAX_ALIGNMENT }
    }

    /// Whether all of `features` are offered.
    pub const fn has(self, features: Features) -> bool {
        self.features.contains(features)
    }

    /// The same with `features` added.
    #[must_use]
    pub const fn with(self, features: Features) -> Self {
        Self { features: self.features.union(features), ..self }
    }

    /// The same with `features` removed.
    #[must_use]
    pub const fn without(self, features: Features) -> Self {
        Self { features: self.features.difference(features), ..self }
    }
}
