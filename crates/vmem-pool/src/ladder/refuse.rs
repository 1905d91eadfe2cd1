//! Saying no, with everything that is known.

use vmem_core::{AllocError, AllocErrorKind, ExhaustionReport};

use super::Climb;
use crate::engine::Core;
use crate::supply::Backing;

impl<B: Backing> Core<B> {
    /// The error of a request, with the state of the pool and what was tried.
    pub(super) fn refuse(&self, climb: &Climb<'_>, kind: AllocErrorKind) -> AllocError {
        let layout = climb.request.layout;
        let mut report = ExhaustionReport::new(layout.size());
        report.rounded = climb.need.size;
        report.ceiling = (self.ceiling < u64::MAX).then_some(self.ceiling);
        report.attempts.clone_from(&climb.attempts);
        self.note_orphans();
        let mut state = self.lock();
        report.quarantined = state.quarantined();
        state.lanes.contend_bound();
        report.live = state.live();
        report.reserved = state.counters.reserved;
        report.largest_free = state.largest_complete(climb.lane);
        drop(state);
        AllocError::new(kind, layout, self.name()).with_report(report)
    }
}

impl crate::engine::State {
    /// Changes whenever memory was freed or returned, put back by whoever had claimed it, or marked by
    /// the only thread that could.
    pub(super) fn progress(&self) -> u64 {
        let freed = self.frees() + self.counters.bytes_trimmed;
        freed + self.space.claims_ended + self.lanes.opened()
    }
}
