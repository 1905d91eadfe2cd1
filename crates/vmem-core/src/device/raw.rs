//! A driver's handles, and its yes-or-not-yet.

use std::num::NonZeroU64;

/// A driver's stream handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawStream(pub u64);

impl RawStream {
    /// CUDA's null stream: legacy or per-thread, whichever the calling code was compiled for.
    pub const NULL: Self = Self(0);
    /// CUDA's explicit handle of the legacy default stream.
    pub const LEGACY: Self = Self(1);
    /// CUDA's explicit handle of the calling thread's default stream.
    pub const PER_THREAD: Self = Self(2);

    /// Returns true if the handle names a default stream, not a created one.
    pub const fn is_default(self) -> bool {
        self.0 <= Self::PER_THREAD.0
    }
}

/// A driver's event handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawEvent(pub NonZeroU64);

/// A driver's handle of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhysicalHandle(pub u64);

/// The state of queued work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completion {
    /// All of it.
    Complete,
    /// Some is still pending.
    Pending,
}

impl Completion {
    /// Returns true if all of it has completed.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete)
    }
}
