//! How often a stream marks what it freed.

/// The point at which a stream whose memory other streams want records an event behind its frees.
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
