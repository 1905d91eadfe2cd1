//! The choices that a configuration consists of.

use std::fmt;
use std::time::Duration;

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

/// The point at which a stream whose memory other streams want records an event behind its frees.
///
/// Of streams that only some calls may name, which others cannot mark when they want their memory, it is the
/// point whether or not they want it: of a thread's default stream, in that thread's calls, and of a borrowed
/// one, in the next call that vouches for it. A free that vouches for a borrowed stream records an event at once,
/// when a second stream uses the pool, and otherwise after 1 MiB at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Batch {
    /// After this many frees.
    pub frees: u32,
    /// After frees of this many bytes in all.
    pub bytes: u64,
}

impl Default for Batch {
    /// 64 frees or 32 MiB.
    fn default() -> Self {
        Self::new(64, 32 << 20)
    }
}

impl Batch {
    /// Records an event for every free once a second stream uses the pool, as RMM's pool always does:
    /// no false wait, at the price of a driver call per free.
    pub const STRICT: Self = Self::new(1, 0);

    /// After `frees` frees, or frees of `bytes` bytes in all.
    pub const fn new(frees: u32, bytes: u64) -> Self {
        Self { frees, bytes }
    }
}

/// The first measure of a pool for a request that finds no contiguous room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Footprint {
    /// Take more memory; move what is held only where no more is to be had. For a program that has the
    /// device to itself and must make no driver call that is not for more memory.
    Lazy,
    /// Move what is held, and take more memory only for what is missing; but where three times what is held
    /// was moved, and a 128th of what was allocated since, take more.
    #[default]
    Tight,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lazy => "lazy",
            Self::Tight => "tight",
        })
    }
}

/// The conditions under which a pool returns memory without being asked: before the frees that
/// follow, as far as no work is pending on it. Takes driver calls on the freeing thread.
///
/// ```
/// use std::time::Duration;
/// use vmem_pool::{AutoTrim, PoolConfig};
///
/// // As CUDA's own pool: whatever is free above the threshold, as soon as it is free.
/// let config = PoolConfig::default().with_auto_trim(AutoTrim::new(1 << 30, Duration::ZERO));
/// assert!(config.auto_trim.is_some());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AutoTrim {
    /// Bytes that are kept whether or not they are needed.
    pub threshold: u64,
    /// For how long memory must not have been needed: what was live at most during that time, and an
    /// eighth more, is kept.
    pub age: Duration,
}

impl AutoTrim {
    /// Returns what has not been needed for `age`, but keeps `threshold` bytes.
    pub const fn new(threshold: u64, age: Duration) -> Self {
        Self { threshold, age }
    }
}

/// The rule by which a pool places blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Placement {
    /// Also how far the device has come: memory that other streams are done with is preferred.
    #[default]
    ByCompletion,
    /// Only the order of the calls made to the pool: a program that makes the same calls gets the
    /// same offsets from the start of its segments, on several streams too. A stream waits on the
    /// device for memory that another freed even where that has completed. Holds as long as nothing
    /// depends on how far the device has come: with [`host_wait`](super::PoolConfig::host_wait) or
    /// [`auto_trim`](super::PoolConfig::auto_trim), after [`try_trim`](crate::PoolHandle::try_trim),
    /// and on host-accessible memory, offsets may differ. Returning memory to make room waits on the
    /// host.
    Reproducible,
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
