//! Memory that goes from stream to stream: what one frees another takes, under the lock that found no
//! hit.

use vmem_core::Event;
use vmem_core::author::StreamExt;

use super::{Climb, Rung};
use crate::engine::{State, Waited};
use crate::lanes::{Access, Found, Reuse};
use crate::space::{Claim, Slot};

/// What another stream's memory comes to for a request.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// It is known to be complete: a claimed range cut to the request.
    Now(Slot),
    /// It is the request's once its stream waits for this.
    After(Claim, Event),
    /// There is none, or it takes more than a wait.
    No,
}

impl State {
    /// Looks at other lanes for a request that found no hit. Where none has what fits, the request need
    /// not look again before the pool grows.
    ///
    /// Only for memory of lanes that others take from time and again, which mark what they free at once:
    /// there a wait costs less than asking whether it is needed. Elsewhere the ladder asks first.
    pub(crate) fn hand_over(&mut self, climb: &mut Climb<'_>) -> HandOver {
        climb.no_windows = self.counters.aliased == 0;
        if self.lanes.reuse() == Reuse::Observed {
            return HandOver::No;
        }
        let lanes = self.lanes_for(climb);
        if lanes.is_empty() && self.space.owners() < 2 && self.lanes.owes_nothing_here() {
            self.note_look(climb);
            return HandOver::No;
        }
        let hot = lanes.iter().any(|&lane| self.lanes.marks_at_once(lane));
        if !hot || !climb.request.stream.is_callable_here() {
            return HandOver::No;
        }
        for &lane in &lanes {
            self.lanes.contend(lane);
        }
        let slot = self.smallest_wait(climb, &lanes);
        let Some((slot, tag)) = slot.and_then(|slot| Some((slot, self.space[slot].tag()?))) else {
            return HandOver::No;
        };
        match self.lanes.access(tag, climb.lane) {
            Access::Now => {
                self.counters.completed += 1;
                let claim = self.space.claim_one(slot);
                HandOver::Now(self.finish(claim, climb.lane, climb.need, Waited::No))
            }
            Access::After { marker, .. } => {
                self.lanes.note_theft(tag.lane, Found::Marker);
                HandOver::After(self.space.claim_one(slot), marker)
            }
            Access::Close | Access::Never => HandOver::No,
        }
    }

    /// Notes that a request has looked at what other lanes have, and found nothing.
    fn note_look(&mut self, climb: &mut Climb<'_>) {
        climb.looked = true;
        climb.seen = self.progress();
        climb.completions = self.lanes.completions();
        climb.tried(Rung::Completed, self.largest_complete(climb.lane));
        climb.tried(Rung::Wait, 0);
        climb.tried(Rung::Merge, 0);
    }
}
