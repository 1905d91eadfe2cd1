//! How often a hook is asked.

#![forbid(unsafe_code)]

use std::time::Duration;

/// The number of times that an [`OnFailure`](crate::OnFailure) adaptor calls its hook.
///
/// A call *counts* unless it helped. It helped if the hook answered
/// [`Freed`](crate::Answer::Freed); or if the refusal after it reports less memory in use, or more
/// free, than the one before; or if the request was served after it, and every call for that request
/// before it helped. So a hook that goes on freeing goes on being asked, whether one request needs
/// all that it frees or each of many a little.
///
/// Calls of one thread and adaptor that follow each other within `gap`, from the return of one to
/// the entry of the next, are one *event*. After [`tries`](Self::tries) calls that count, in an event
/// or for one request, the request is given up. A longer pause starts a new event, and so does giving
/// up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The most calls that do not help, for a request or an event. 0 never calls the hook.
    pub tries: u32,
    /// The longest pause between two calls of one event.
    pub gap: Duration,
    /// The most calls for one request, whether they help or not.
    pub most: u32,
}

impl RetryPolicy {
    /// Returns it with another number of [`tries`](Self::tries).
    #[must_use]
    pub fn with_tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// Returns it with another [`gap`](Self::gap).
    #[must_use]
    pub fn with_gap(self, gap: Duration) -> Self {
        Self { gap, ..self }
    }

    /// Returns it with [`most`](Self::most) calls for one request.
    #[must_use]
    pub fn with_most(self, most: u32) -> Self {
        Self { most, ..self }
    }
}

impl Default for RetryPolicy {
    /// Three tries, a gap of one second, at most a thousand calls for a request.
    fn default() -> Self {
        Self { tries: 3, gap: Duration::from_secs(1), most: 1000 }
    }
}
