//! Telling an observer of events, whatever it does.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vmem_core::{MemoryEvent, MemoryObserver};

/// An observer whose panics end here.
///
/// An observer must not panic. If it does all the same, the event has happened: unwinding would
/// take a block along that its owner never saw, or come out of a drop.
#[derive(Debug)]
pub(crate) struct Contained(pub(crate) Arc<dyn MemoryObserver>);

impl MemoryObserver for Contained {
    fn event(&self, event: &MemoryEvent) {
        if catch_unwind(AssertUnwindSafe(|| self.0.event(event))).is_err() {
            tracing::error!(?event, "an observer panicked");
        }
    }
}
