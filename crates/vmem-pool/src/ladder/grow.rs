//! Memory from the backing, and room made for it.

use vmem_core::{DriverError, EventKind, Rung, Stream};

use super::{Climb, Wait};
use crate::Counters;
use crate::backing::{Backing, GrowthFailure};
use crate::core::Core;
use crate::space::Slot;

impl<B: Backing> Core<B> {
    /// Takes memory from the backing, unless somebody else's growth or free has made room while
    /// this thread waited for its turn.
    pub(crate) fn grow(&self, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        let growing = self.lock_growth();
        let before = self.lock().shared.counters;
        let grown = self.grow_locked(climb);
        let after = self.lock().shared.counters;
        drop(growing);
        self.tell_changes(climb, &before, &after);
        grown
    }

    /// Makes room out of memory that is held but in the wrong place. `None` if there was nothing to
    /// make room from.
    pub(super) fn make_room(&self, climb: &mut Climb<'_>) -> Option<Result<Slot, GrowthFailure>> {
        let mut growing = self.lock_growth();
        let before = self.lock().shared.counters;
        let made = B::make_room(self, climb, &mut growing);
        let after = self.lock().shared.counters;
        drop(growing);
        self.tell_changes(climb, &before, &after);
        made
    }

    /// Tells the sink, and the log, what the backing did for a request. Nobody else changes these
    /// figures while the growth lock is held. No lock is held now: either may call the pool.
    fn tell_changes(&self, climb: &mut Climb<'_>, before: &Counters, after: &Counters) {
        let tell = |bytes, kind: fn(u64) -> EventKind| {
            if bytes > 0 {
                self.tell(kind(bytes));
            }
        };
        tell(std::mem::take(&mut climb.moved), |bytes| EventKind::Move { bytes });
        let trimmed = after.bytes_trimmed - before.bytes_trimmed;
        climb.made_progress(trimmed);
        tell(trimmed, |bytes| EventKind::Trim { bytes });
        let bytes = after.bytes_grown - before.bytes_grown;
        tell(bytes, |bytes| EventKind::Growth { bytes });
        if bytes > 0 {
            tracing::debug!(bytes, reserved = after.reserved, "the pool grew");
        }
    }

    fn grow_locked(&self, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        if let Some(slot) = self.lock().hit(climb.lane, climb.need) {
            return Ok(slot);
        }
        let grown = B::grow(self, climb);
        if grown.is_err() {
            climb.tried(Rung::Growth, 0);
        }
        grown
    }

    /// Returns unused memory, as much as the request is large, and grows again. `None` if there was
    /// nothing to return. For backings that cannot move memory.
    pub(crate) fn trim_and_grow(
        &self,
        climb: &mut Climb<'_>,
        service: &mut Option<Stream>,
    ) -> Option<Result<Slot, GrowthFailure>> {
        if let Err(error) = self.observe() {
            return Some(Err(GrowthFailure::Fault(error.into())));
        }
        // Twice a granule covers what rounding to granules at both ends adds.
        let wanted = climb.need.size.saturating_add(2 * self.backing.granule());
        let keep = self.lock().shared.counters.reserved.saturating_sub(wanted);
        let mut outcome = None;
        let mut total = 0;
        // Chunks go whole: should the exact amount not do, all that is unused goes.
        for keep in [keep, 0] {
            let (returned, error) = B::give_back(self, keep, service);
            total += returned;
            outcome = match error {
                Some(error) => Some(Err(GrowthFailure::Fault(error))),
                None if returned > 0 => Some(self.grow_locked(climb)),
                // What has completed may be enough, although none of it could go.
                None => self.lock().hit(climb.lane, climb.need).map(Ok).or(outcome),
            };
            if matches!(outcome, Some(Ok(_) | Err(GrowthFailure::Fault(_)))) {
                break;
            }
        }
        climb.tried(Rung::Trim, total);
        outcome
    }

    /// Makes pending frees complete, as far as the configuration allows. False if there is nothing
    /// to wait for.
    pub(super) fn wait_before_trim(
        &self,
        climb: &mut Climb<'_>,
        wait: Wait,
    ) -> Result<bool, DriverError> {
        match wait {
            Wait::No => Ok(true),
            Wait::ForMarkers => {
                let Some(limit) = self.config.host_wait else { return Ok(false) };
                self.close_all()?;
                let before = self.lock().pending_bytes();
                let deadline = self.config.clock.now().saturating_add(limit);
                while self.lock().pending_bytes() > 0 && self.config.clock.now() < deadline {
                    self.refresh()?;
                    std::thread::yield_now();
                }
                let completed = before - self.lock().pending_bytes().min(before);
                climb.tried(Rung::HostWait, completed);
                Ok(completed > 0)
            }
            // What a thread could not mark then, its owner may have marked since.
            Wait::Again => Ok(climb.reconsider()),
            // Where this thread cannot make the request's stream wait, or a lane's markers could not be
            // queried, the host waits.
            Wait::ForPassedBy => {
                if !climb.has_passed_by() && !self.lock().shared.lanes.any_poisoned() {
                    return Ok(false);
                }
                let before = self.lock().pending_bytes();
                self.wait_for_markers()?;
                let completed = before - self.lock().pending_bytes().min(before);
                climb.tried(Rung::HostWait, completed);
                climb.reconsider();
                Ok(true)
            }
        }
    }
}

impl crate::core::State<'_> {
    /// Free bytes that pending work may still touch.
    pub(super) fn pending_bytes(&self) -> u64 {
        let pending = |range: &&crate::space::Range| {
            range.tag().is_some_and(|tag| !self.shared.lanes.is_complete(tag))
        };
        self.space.iter().map(|(_, range)| range).filter(pending).map(|range| range.size).sum()
    }
}
