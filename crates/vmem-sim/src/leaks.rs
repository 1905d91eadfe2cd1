//! What is still outstanding.

use std::fmt;

/// A number of things, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Outstanding {
    /// The number of things.
    pub count: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Outstanding {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Everything that a program has taken from a device and not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Leaks {
    /// Plain allocations.
    pub plain: Outstanding,
    /// Physical handles not released.
    pub handles: Outstanding,
    /// Mappings, handles released meanwhile included.
    pub mappings: Outstanding,
    /// Reserved address ranges.
    pub ranges: Outstanding,
    /// Managed allocations.
    pub managed: Outstanding,
    /// Pinned allocations.
    pub pinned: Outstanding,
    /// Allocations of the stream-ordered pool.
    pub stream_ordered: Outstanding,
    /// Streams created and not destroyed.
    pub streams: u64,
    /// Events created and not destroyed.
    pub events: u64,
}

impl Leaks {
    /// Returns true if nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing outstanding");
        }
        let memory = [
            ("plain allocations", self.plain),
            ("handles", self.handles),
            ("mappings", self.mappings),
            ("address ranges", self.ranges),
            ("managed allocations", self.managed),
            ("pinned allocations", self.pinned),
            ("stream-ordered allocations", self.stream_ordered),
        ];
        let mut separator = "outstanding: ";
        for (what, Outstanding { count, bytes }) in memory {
            if count != 0 {
                write!(f, "{separator}{count} {what} ({bytes} B)")?;
                separator = ", ";
            }
        }
        for (what, count) in [("streams", self.streams), ("events", self.events)] {
            if count != 0 {
                write!(f, "{separator}{count} {what}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}
