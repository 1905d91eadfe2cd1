//! What whoever holds physical memory may be charged for.

#![forbid(unsafe_code)]

use std::fmt::Debug;

/// An amount of memory, in bytes, that a resource asks before it takes memory from the device and
/// credits when the device has it back.
///
/// `vmem_adaptors::Budget` is one. Several resources may share one, so that what they hold together
/// stays within it, whether it is in use or not. Called with a resource's lock held: it must not
/// call back.
pub trait Allowance: Debug + Send + Sync {
    /// Takes `bytes` bytes; false, taking nothing, if they are not there.
    fn take(&self, bytes: u64) -> bool;

    /// Gives back `bytes` bytes that were taken.
    fn give_back(&self, bytes: u64);
}
