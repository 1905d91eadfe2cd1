//! The ways to satisfy a request.

/// One way to satisfy a request, in the order in which a pool tries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// A block whose last use on another stream is known to be complete.
    Completed,
    /// A block of another stream, after a device-side wait for its last use.
    Wait,
    /// Neighbouring blocks of several streams, joined.
    Merge,
    /// More memory from the upstream or device.
    Growth,
    /// Unused physical memory mapped where it is needed.
    Move,
    /// Unused memory returned first, then growth.
    Trim,
    /// A wait on the host for pending frees.
    HostWait,
}

impl Rung {
    /// What a report calls it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Completed => "completed blocks",
            Self::Wait => "a wait on the device",
            Self::Merge => "joining blocks",
            Self::Growth => "growth",
            Self::Move => "moving memory",
            Self::Trim => "trimming",
            Self::HostWait => "a wait on the host",
        }
    }
}
