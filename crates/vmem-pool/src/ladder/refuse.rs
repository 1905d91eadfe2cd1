//! Saying no: at once where nothing can have changed, and with everything that is known.

use vmem_core::{AllocError, AllocErrorKind, ExhaustionReport};

use super::Climb;
use crate::backing::Backing;
use crate::core::{Core, Refusal};
use crate::lanes::Reuse;

impl<B: Backing> Core<B> {
    /// Refuses without a driver call what is above the ceiling, and what is at least as large and as
    /// aligned as a request that failed within the back-off with nothing freed or returned since.
    pub(super) fn hopeless(&self, climb: &Climb<'_>) -> Option<AllocError> {
        if climb.need.size > self.ceiling {
            return Some(self.refuse(climb, AllocErrorKind::NeverFits));
        }
        let (refused, freed) = {
            let state = self.lock();
            (state.shared.refused?, state.progress())
        };
        let age = self.config.clock.now().saturating_sub(refused.at);
        let harder =
            climb.need.size >= refused.need.size && climb.need.alignment >= refused.need.alignment;
        if !harder || freed != refused.freed || age >= self.config.back_off {
            return None;
        }
        let state = self.lock();
        // What the host must observe may have completed meanwhile, which only the driver knows.
        let may_be_ready =
            state.shared.lanes.reuse() == Reuse::Observed && state.pending_bytes() > 0;
        drop(state);
        (!may_be_ready).then(|| self.refuse(climb, refused.kind))
    }

    /// Notes that nothing could be found for this request when it last looked: what was freed since
    /// may be what it needs.
    pub(super) fn remember_refusal(&self, climb: &Climb<'_>, kind: AllocErrorKind) {
        let at = self.config.clock.now();
        let mut state = self.lock();
        if state.shared.claims > 1 {
            // Another thread may put back what it holds.
            return;
        }
        let freed = climb.seen;
        state.shared.refused = Some(Refusal { need: climb.need, kind, at, freed });
    }

    /// The error of a request, with the state of the pool and what was tried.
    pub(super) fn refuse(&self, climb: &Climb<'_>, kind: AllocErrorKind) -> AllocError {
        let layout = climb.request.layout;
        let mut report = ExhaustionReport::new(layout.size());
        report.rounded = climb.need.size;
        report.ceiling = (self.ceiling < u64::MAX).then_some(self.ceiling);
        report.rungs.clone_from(&climb.rungs);
        self.note_orphans();
        let state = self.lock();
        report.quarantined = state.quarantined();
        state.shared.lanes.contend_bound();
        report.live = state.live();
        report.reserved = state.shared.counters.reserved;
        report.largest_free = state.largest_complete(climb.lane);
        drop(state);
        AllocError::new(kind, layout, self.name()).with_report(report)
    }
}

impl crate::core::State<'_> {
    /// Changes whenever memory was freed or returned, put back by whoever had claimed it, or marked by
    /// the only thread that could.
    pub(super) fn progress(&self) -> u64 {
        let freed = self.counters().frees + self.shared.counters.bytes_trimmed;
        freed + self.shared.claims_ended + self.shared.lanes.opened()
    }
}
