//! Waiting for what may make memory usable.

use std::time::Duration;

use vmem_core::DriverError;

use super::{Core, Slow, Wait};
use crate::space::CLEAN;
use crate::streams::{Access, Reuse, State};
use crate::supply::Backing;

impl<B: Backing> Core<B> {
    /// Waits for what may make memory usable. False if there is nothing to wait for.
    pub(super) fn wait(&self, slow: &mut Slow<'_>, wait: Wait) -> Result<bool, DriverError> {
        match wait {
            Wait::No => Ok(true),
            Wait::ForMarkers => self.wait_on_host(slow),
            Wait::Again => {
                // What a thread could not mark then, its owner may have marked since.
                let any = !slow.skipped.is_empty();
                slow.skipped.clear();
                Ok(any)
            }
            Wait::ForOthers => {
                let state = self.streams.lock();
                Ok(state.progress() != slow.seen || state.has_completed_since(slow))
            }
        }
    }

    /// Waits on the host until pending frees are complete, if the request could not wait for all of
    /// them on the device, or a lane was set aside because its markers could not be queried. No lock is
    /// held meanwhile. True also if more was found complete since the request looked: by others, who left
    /// it no marker to wait for.
    fn wait_on_host(&self, slow: &mut Slow<'_>) -> Result<bool, DriverError> {
        let streams = &self.streams;
        let stays = streams.reuse == Reuse::Observed || !self.supply.moves();
        let set_aside = !streams.lock().lanes.poisoned().is_empty();
        if !stays && !set_aside && slow.skipped.is_empty() && !slow.short_of_addresses {
            return Ok(streams.lock().has_completed_since(slow));
        }
        streams.close_all()?;
        let state = streams.lock();
        if !set_aside && !state.has_markers_to_wait_for() {
            return Ok(state.has_completed_since(slow));
        }
        let before = state.pending_bytes();
        drop(state);
        match self.config.host_wait {
            None => streams.wait_for_markers()?,
            Some(limit) => self.poll_markers(limit)?,
        }
        let state = streams.lock();
        let completed = before.saturating_sub(state.pending_bytes());
        slow.tried("a wait on the host", completed);
        Ok(completed > 0 || state.has_completed_since(slow))
    }

    /// Asks for the markers until all have completed or the time is over.
    fn poll_markers(&self, limit: Duration) -> Result<(), DriverError> {
        let deadline = self.config.clock.now().saturating_add(limit);
        while self.streams.lock().has_markers_to_wait_for() && self.config.clock.now() < deadline {
            self.streams.refresh()?;
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl State {
    /// Changes whenever memory was freed or returned, put back by whoever had claimed it, or marked by
    /// the only thread that could.
    pub(super) fn progress(&self) -> u64 {
        let freed = self.counters.frees + self.counters.bytes_trimmed;
        freed + self.space.claims_ended + self.lanes.opened
    }

    /// Whether more is known to be complete than when the request looked for that.
    fn has_completed_since(&self, slow: &Slow<'_>) -> bool {
        self.lanes.completions != slow.completions
    }

    fn pending_bytes(&self) -> u64 {
        self.pending().map(|(bytes, _)| bytes).sum()
    }

    /// What nobody holds and pending work may still touch: free memory, and addresses that memory was used
    /// at. In bytes, with what its next user must do.
    fn pending(&self) -> impl Iterator<Item = (u64, Access<'_>)> {
        self.space.ranges.iter().filter_map(|(_, range)| {
            let tag = range.tag().or_else(|| range.state().dormant())?;
            match self.lanes.access(tag, CLEAN.lane) {
                Access::Now => None,
                access => Some((range.size(), access)),
            }
        })
    }

    /// Whether some of it is covered by a marker.
    fn has_markers_to_wait_for(&self) -> bool {
        self.pending().any(|(_, access)| matches!(access, Access::After { .. }))
    }
}
