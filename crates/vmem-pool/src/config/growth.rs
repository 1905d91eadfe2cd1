//! How much memory a pool takes at a time.

use std::fmt;

/// The amount of memory that a pool takes when it must grow. Whatever the policy, a pool takes
/// what is needed if the ceiling or the device leave no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Growth {
    /// As much as the request needs.
    Exact,
    /// As much as the request needs, and at least this many bytes.
    AtLeast(u64),
    /// As much as the request needs, and at least as much as the pool holds already.
    Double,
}

impl Growth {
    /// The bytes to take for a request that needs `needed`, with `reserved` held and `room` left
    /// below the ceiling; at least `needed`, and at most the larger of `needed` and `room`.
    pub(crate) fn target(self, needed: u64, reserved: u64, room: u64) -> u64 {
        let wanted = match self {
            Self::Exact => needed,
            Self::AtLeast(bytes) => bytes,
            Self::Double => reserved,
        };
        wanted.min(room).max(needed)
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::AtLeast(bytes) => write!(f, "at least {bytes} B"),
            Self::Double => f.write_str("doubling"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Growth;

    #[test]
    fn no_policy_takes_less_than_is_needed_or_more_than_there_is_room_for() {
        for growth in [Growth::Exact, Growth::AtLeast(100), Growth::Double] {
            assert_eq!(growth.target(10, 1000, 5), 10);
            assert!(growth.target(10, 1000, 50) <= 50);
            assert!(growth.target(10, 1000, u64::MAX) >= 10);
        }
    }
}
