//! Calls that claim to have done what they have not: bugs of the kind that a resource could have,
//! planted where it meets the driver.

/// What a [`Countdown`](super::Countdown) does to a resource's calls, so that a test shows that it
/// would notice a resource which made them so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carelessness {
    /// No stream waits for an event.
    SkipWaits,
    /// No event is recorded, so that none covers anything.
    SkipRecords,
    /// Every event that is asked about has completed.
    ClaimCompletion,
    /// Access is set for a granule more, below the range.
    WideAccess,
}
