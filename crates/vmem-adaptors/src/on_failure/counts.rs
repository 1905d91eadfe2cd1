//! What came of the hook calls.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::Shared;

/// What an [`OnFailure`](crate::OnFailure) adaptor did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecoveryCounts {
    /// How often the hook was called.
    pub hook_calls: u64,
    /// How many requests succeeded after one or more hook calls.
    pub recovered: u64,
    /// How many exhausted requests were given up, by the hook or because its calls were used up.
    pub gave_up: u64,
}

/// Reads what an [`OnFailure`](crate::OnFailure) adaptor did.
///
/// Take it before the stack's type is erased. The last counts stay readable after the stack is
/// gone; [`is_live`](Self::is_live) tells.
#[derive(Debug, Clone)]
pub struct RecoveryHandle {
    counts: Shared<Counts>,
}

impl RecoveryHandle {
    pub(super) fn new(counts: Shared<Counts>) -> Self {
        Self { counts }
    }

    /// Whether the adaptor still exists.
    pub fn is_live(&self) -> bool {
        self.counts.is_live()
    }

    /// The counts now.
    pub fn counts(&self) -> RecoveryCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecoveryCounts {
            hook_calls: read(&self.counts.hook_calls),
            recovered: read(&self.counts.recovered),
            gave_up: read(&self.counts.gave_up),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hook_calls: AtomicU64,
    pub(super) recovered: AtomicU64,
    pub(super) gave_up: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
