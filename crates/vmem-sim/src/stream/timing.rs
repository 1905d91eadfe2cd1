//! The virtual time between two events.

use vmem_core::{DriverCode, RawEvent};

use super::order::EventState;
use crate::state::State;
use crate::violation::{Refusal, ViolationKind};

impl State {
    /// How much later `end` was reached than `start`, in virtual time. Like a query of both.
    pub(crate) fn elapsed_ns(&mut self, start: RawEvent, end: RawEvent) -> Result<i64, Refusal> {
        let [start, end] = [self.reached_at(start)?, self.reached_at(end)?];
        match (start, end) {
            (Some(start), Some(end)) => Ok(end.wrapping_sub(start).cast_signed()),
            _ => Err(Refusal::cannot(DriverCode::NOT_READY, "an event was not reached yet")),
        }
    }

    /// When an event was reached; `None` if it is pending.
    fn reached_at(&mut self, event: RawEvent) -> Result<Option<u64>, Refusal> {
        let invalid = |detail: &str| {
            let code = DriverCode::INVALID_HANDLE;
            Err(Refusal::misuse(ViolationKind::BadHandle, code, detail))
        };
        let state = self.events.get(event.0.get())?.clone();
        if !self.timed_events.contains(&event.0.get()) {
            return invalid("the event was created without timing");
        }
        match state {
            EventState::Unrecorded => invalid("the event was never recorded"),
            EventState::Captured(_) => invalid("the event belongs to a capture"),
            EventState::Recorded { ready_ns, .. } => {
                Ok(self.query_event(event)?.then_some(ready_ns))
            }
        }
    }
}
