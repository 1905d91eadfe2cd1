//! What the driver is told about memory, and may ignore.

use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::author::{Handle, Handled};
use vmem_core::{AccessClass, Advice, DriverError, Location};

/// The driver's answer to a hint. Nothing depends on it, so it may be ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The driver took it.
    Taken,
    /// It was not given, or the driver refused it.
    Refused(DriverError),
}

impl Hint {
    /// Returns true if the driver took it.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken)
    }
}

impl From<Result<(), DriverError>> for Hint {
    fn from(result: Result<(), DriverError>) -> Self {
        match result {
            Ok(()) => Self::Taken,
            Err(error) => Self::Refused(error),
        }
    }
}

/// The number of hints that a resource gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HintCounts {
    /// Hints that the driver took.
    pub taken: u64,
    /// Hints that it refused.
    pub refused: u64,
}

/// Reads how many hints a resource gave. Does not keep the resource alive.
#[derive(Debug, Clone)]
pub struct HintHandle {
    counters: Handle<HintCounters>,
}

impl HintHandle {
    pub(crate) fn of(counters: &Handled<HintCounters>) -> Self {
        Self { counters: counters.handle() }
    }

    /// The counts now; `None` once the resource is gone.
    pub fn counts(&self) -> Option<HintCounts> {
        self.counters.get().map(|counters| counters.read())
    }
}

#[derive(Debug, Default)]
pub(crate) struct HintCounters {
    taken: AtomicU64,
    refused: AtomicU64,
}

impl HintCounters {
    pub(crate) fn read(&self) -> HintCounts {
        HintCounts {
            taken: self.taken.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Counts a hint and passes it on.
    pub(crate) fn count(&self, result: Result<(), DriverError>) -> Hint {
        let hint = Hint::from(result);
        let counter = if hint.is_taken() { &self.taken } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        hint
    }
}

/// The advice that an access class amounts to: the table of [`ManagedMemory`](crate::ManagedMemory).
pub(crate) fn advice(access: AccessClass) -> Option<Advice> {
    match access {
        AccessClass::Streaming => Some(Advice::AccessedBy(Location::Device)),
        AccessClass::RandomReuse => Some(Advice::PreferredLocation(Location::Device)),
        AccessClass::WriteOnce => Some(Advice::ReadMostly),
        _ => None,
    }
}
