//! A look inside a resource under test.

use std::fmt::Debug;

/// What a resource's own tests let the kit see of it: all optional, none by default.
///
/// `()` is the probe that knows nothing.
pub trait Probe: Debug + Sync {
    /// Panics if the resource's internal invariants do not hold. Called after every operation, on
    /// several threads at once where a check uses several.
    fn check_invariants(&self) {}

    /// The resource's own count of live bytes, which must equal the sum of the live blocks'
    /// requested sizes.
    fn live_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes the resource holds from its upstream or device.
    fn reserved_bytes(&self) -> Option<u64> {
        None
    }

    /// The most bytes the resource may hold: what [`reserved_bytes`](Self::reserved_bytes), and the
    /// live bytes, never exceed.
    fn ceiling(&self) -> Option<u64> {
        None
    }

    /// Gives unused memory back, in whatever way the resource has. Programs call it between other
    /// operations.
    fn trim(&self) {}
}

impl Probe for () {}
