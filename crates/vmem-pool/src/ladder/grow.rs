//! Memory from the backing, and room made for it.

use std::time::Duration;

use vmem_core::{DriverError, MemoryEventKind, Stream};

use super::{Climb, Rung, Step, Wait};
use crate::Counters;
use crate::backing::{Backing, GrowthFailure, Pending};
use crate::engine::{Core, State};
use crate::lanes::{Access, CLEAN, Reuse};
use crate::space::{RangeState, Slot, Tag};

impl<B: Backing> Core<B> {
    /// Takes memory from the backing, unless somebody else's growth or free has made room while
    /// this thread waited for its turn.
    pub(crate) fn grow(&self, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        let growing = self.lock_growth().map_err(GrowthFailure::Refused)?;
        let mut state = self.lock();
        if let Some(slot) = state.hit(climb.lane, climb.need) {
            return Ok(slot);
        }
        let before = state.counters;
        drop(state);
        let grown = self.grow_backing(climb);
        let after = self.lock().counters;
        drop(growing);
        self.tell_changes(climb, &before, &after);
        grown
    }

    /// The same as a rung: a refusal is noted, and the climb goes on.
    pub(super) fn grow_for(&self, climb: &mut Climb<'_>) -> Step {
        let grown = self.grow(climb).map(Some);
        climb.unless_refused(grown)
    }

    /// Makes room out of memory that is held but in the wrong place.
    pub(super) fn make_room(&self, climb: &mut Climb<'_>) -> Step {
        let growing = self.lock_growth().map_err(GrowthFailure::Refused);
        let mut growing = match growing {
            Ok(growing) => growing,
            Err(refused) => return climb.unless_refused(Err(refused)),
        };
        let before = self.lock().counters;
        let made = B::make_room(self, climb, &mut growing);
        let after = self.lock().counters;
        drop(growing);
        self.tell_changes(climb, &before, &after);
        climb.unless_refused(made)
    }

    /// Tells the observer, and the log, what the backing did for a request. Nobody else changes
    /// these figures while the growth lock is held. No lock is held now: either may call the pool.
    fn tell_changes(&self, climb: &mut Climb<'_>, before: &Counters, after: &Counters) {
        let tell = |bytes, kind: fn(u64) -> MemoryEventKind| {
            if bytes > 0 {
                self.tell(kind(bytes));
            }
        };
        tell(std::mem::take(&mut climb.moved), |bytes| MemoryEventKind::Move { bytes });
        let trimmed = after.bytes_trimmed - before.bytes_trimmed;
        climb.made_progress(trimmed);
        tell(trimmed, |bytes| MemoryEventKind::Trim { bytes });
        let bytes = after.bytes_grown - before.bytes_grown;
        tell(bytes, |bytes| MemoryEventKind::Growth { bytes });
        if bytes > 0 {
            tracing::debug!(bytes, reserved = after.reserved, "the pool grew");
        }
    }

    fn grow_locked(&self, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        if let Some(slot) = self.lock().hit(climb.lane, climb.need) {
            return Ok(slot);
        }
        self.grow_backing(climb)
    }

    fn grow_backing(&self, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        let grown = B::grow(self, climb);
        if grown.is_err() {
            climb.tried(Rung::Growth, 0);
        }
        grown
    }

    /// Returns unused memory, as much as the request is large, then all there is, and grows again. For
    /// backings that cannot move memory.
    pub(crate) fn trim_and_grow(
        &self,
        climb: &mut Climb<'_>,
        service: &mut Option<Stream>,
    ) -> Step {
        self.observe()?;
        // Twice a granule covers what rounding to granules at both ends adds.
        let wanted = climb.need.size.saturating_add(2 * self.backing.granule());
        let enough = self.lock().counters.reserved.saturating_sub(wanted);
        let mut total = 0;
        let mut found = Ok(None);
        // Chunks go whole: should the exact amount not do, all that is unused goes.
        for keep in [enough, 0] {
            let (returned, error) = B::give_back(self, keep, service);
            total += returned;
            found = match error {
                Some(error) => Err(error.into()),
                None if returned > 0 => {
                    let grown = self.grow_locked(climb).map(Some);
                    climb.unless_refused(grown)
                }
                // What has completed may be enough, although none of it could go.
                None => Ok(self.lock().hit(climb.lane, climb.need)),
            };
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        climb.tried(Rung::Trim, total);
        found
    }

    /// Waits for what may make memory usable. False if there is nothing to wait for.
    pub(super) fn wait(&self, climb: &mut Climb<'_>, wait: Wait) -> Result<bool, DriverError> {
        match wait {
            Wait::No => Ok(true),
            Wait::ForMarkers => self.wait_on_host(climb),
            // What a thread could not mark then, its owner may have marked since.
            Wait::Again => Ok(climb.reconsider()),
            Wait::ForOthers => {
                let state = self.lock();
                Ok(state.progress() != climb.seen || state.has_completed_since(climb))
            }
        }
    }

    /// Waits on the host until pending frees are complete, if the request could not wait for all of
    /// them on the device, or a lane was set aside because its markers could not be queried. No lock is
    /// held meanwhile. True also if more was found complete since the request looked: by others, who left
    /// it no marker to wait for.
    fn wait_on_host(&self, climb: &mut Climb<'_>) -> Result<bool, DriverError> {
        let stays = self.reuse == Reuse::Observed || self.backing.pending() == Pending::Stays;
        let set_aside = self.lock().lanes.any_poisoned();
        if !stays && !set_aside && !climb.has_passed_by() && !climb.short_of_addresses {
            return Ok(self.lock().has_completed_since(climb));
        }
        self.close_all()?;
        if !set_aside && !self.lock().has_markers_to_wait_for() {
            return Ok(self.lock().has_completed_since(climb));
        }
        let before = self.lock().pending_bytes();
        match self.config.host_wait {
            None => self.wait_for_markers()?,
            Some(limit) => self.poll_markers(limit)?,
        }
        let completed = before - self.lock().pending_bytes().min(before);
        climb.tried(Rung::HostWait, completed);
        Ok(completed > 0 || self.lock().has_completed_since(climb))
    }

    /// Asks for the markers until all have completed or the time is over.
    fn poll_markers(&self, limit: Duration) -> Result<(), DriverError> {
        let deadline = self.config.clock.now().saturating_add(limit);
        while self.lock().has_markers_to_wait_for() && self.config.clock.now() < deadline {
            self.refresh()?;
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl State {
    /// Bytes that nobody holds and that pending work may still touch: free memory, and addresses that
    /// memory was used at.
    pub(super) fn pending_bytes(&self) -> u64 {
        let pending = self.unheld().filter(|(_, tag)| !self.lanes.is_complete(*tag));
        pending.map(|(size, _)| size).sum()
    }

    /// Whether more is known to be complete than when the request looked for that.
    fn has_completed_since(&self, climb: &Climb<'_>) -> bool {
        self.lanes.completions() != climb.completions
    }

    /// Whether some of them are covered by a marker.
    fn has_markers_to_wait_for(&self) -> bool {
        let access = |tag| self.lanes.access(tag, CLEAN.lane);
        self.unheld().any(|(_, tag)| matches!(access(tag), Access::After { .. }))
    }

    /// The sizes and last uses of what nobody holds.
    fn unheld(&self) -> impl Iterator<Item = (u64, Tag)> {
        self.space.iter().filter_map(|(_, range)| match range.state() {
            RangeState::Free(tag) | RangeState::Dormant(tag) => Some((range.size(), tag)),
            _ => None,
        })
    }
}
