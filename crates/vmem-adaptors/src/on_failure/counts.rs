//! What came of the hook calls.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::author::Handle;

/// Counts of an [`OnFailure`](crate::OnFailure) adaptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecoveryCounts {
    /// The number of calls of the hook.
    pub hook_calls: u64,
    /// The number of requests that succeeded after one or more hook calls.
    pub recovered: u64,
    /// The number of exhausted requests that were given up, by the hook or because its calls were
    /// used up.
    pub gave_up: u64,
}

/// Reads what an [`OnFailure`](crate::OnFailure) adaptor did.
///
/// It does not keep the adaptor alive.
#[derive(Debug, Clone)]
pub struct RecoveryHandle {
    counts: Handle<Counts>,
}

impl RecoveryHandle {
    pub(super) fn new(counts: Handle<Counts>) -> Self {
        Self { counts }
    }

    /// The counts now; `None` once the adaptor is gone.
    pub fn counts(&self) -> Option<RecoveryCounts> {
        let counts = self.counts.get()?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(RecoveryCounts {
            hook_calls: read(&counts.hook_calls),
            recovered: read(&counts.recovered),
            gave_up: read(&counts.gave_up),
        })
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
