//! Memory that other streams freed.

use vmem_core::Event;

use super::{Climb, Rung, Step};
use crate::engine::{Core, State, Waited};
use crate::lanes::{Access, CLEAN, Found, Reuse};
use crate::space::{Claim, Slot};
use crate::supply::{Backing, Miss};

/// Ranges of one lane that a thief looks at, best fit first, for one that needs no closing.
const LOOKS: usize = 16;

/// Other lanes that a request looks at before the pool grows for it. Before it is refused it looks at
/// all.
const LANES: usize = 16;

impl<B: Backing> Core<B> {
    /// Takes the best fit among ranges whose last use is known to be complete, asking the driver
    /// once per lane if none is.
    pub(super) fn steal_completed(&self, climb: &mut Climb<'_>) -> Step {
        if self.reuse == Reuse::Observed {
            // Nothing of the own lane was at hand either: let its frees be marked.
            self.close_unmarked(climb.lane)?;
        }
        let lanes = self.lock().lanes_for(climb);
        let markers = match self.may_ask() {
            true => self.lock().markers_of_interest(climb, &lanes),
            false => Vec::new(),
        };
        for (lane, epoch, marker) in markers {
            self.query(lane, epoch, marker)?;
        }
        let mut state = self.lock();
        climb.completions = state.lanes.completions();
        let found = state.best_complete(climb, &lanes);
        let slot = found.map(|slot| {
            state.counters.completed += 1;
            let claim = state.space.claim_one(slot);
            state.finish(claim, climb.lane, climb.need, Waited::No)
        });
        if slot.is_none() {
            let largest = state.largest_complete(climb.lane);
            climb.tried(Rung::Completed, largest);
        }
        Ok(slot)
    }

    /// Looks at all lanes, if the request was found nothing after a look at some.
    pub(super) fn share_everywhere(&self, climb: &mut Climb<'_>) -> Step {
        if climb.look_everywhere() { self.share(climb) } else { Ok(None) }
    }

    /// Takes the range whose wait is the smallest, and makes the stream wait.
    pub(super) fn steal_and_wait(&self, climb: &mut Climb<'_>) -> Step {
        self.until_settled(climb, Rung::Wait, Self::claim_smallest_wait)
    }

    /// Claims and settles until that holds, or there is nothing to claim that was not tried.
    fn until_settled(
        &self,
        climb: &mut Climb<'_>,
        rung: Rung,
        next: impl Fn(&Self, &mut Climb<'_>) -> Option<Claim>,
    ) -> Step {
        while let Some(claim) = next(self, climb) {
            match self.settle_claim(climb, claim, rung) {
                Ok(slot) => return Ok(Some(slot)),
                Err(Miss::Skip(lane)) => climb.avoid(lane),
                Err(miss) => return Err(miss),
            }
        }
        climb.tried(rung, 0);
        Ok(None)
    }

    fn claim_smallest_wait(&self, climb: &mut Climb<'_>) -> Option<Claim> {
        let mut state = self.lock();
        let lanes = state.lanes_for(climb);
        for &lane in &lanes {
            state.lanes.contend(lane);
        }
        if state.lanes.reuse() == Reuse::Observed {
            return None;
        }
        let slot = state.smallest_wait(climb, &lanes)?;
        if let Some(tag) = state.space[slot].tag() {
            let found = match state.lanes.access(tag, climb.lane) {
                Access::Close => Found::NoMarker,
                _ => Found::Marker,
            };
            state.lanes.note_theft(tag.lane, found);
        }
        Some(state.space.claim_one(slot))
    }

    /// Joins neighbours that several streams freed, and makes the stream wait for all of them.
    pub(super) fn merge(&self, climb: &mut Climb<'_>) -> Step {
        self.until_settled(climb, Rung::Merge, |core, climb| {
            let mut state = core.lock();
            let run = state.space.best_run(climb.need, |tag| climb.may_use(&state.lanes, tag));
            run.map(|run| state.space.claim_all(run))
        })
    }

    /// Orders the stream after a claim's last uses and keeps it, or puts it back.
    fn settle_claim(&self, climb: &mut Climb<'_>, claim: Claim, rung: Rung) -> Result<Slot, Miss> {
        match self.order_after(&claim, climb.lane, climb.request.stream) {
            Ok(waited) => {
                let mut state = self.lock();
                match rung {
                    Rung::Merge => state.counters.merges += 1,
                    _ => state.counters.waits += 1,
                }
                Ok(state.finish(claim, climb.lane, climb.need, waited))
            }
            Err(miss) => {
                self.lock().space.give_up(claim);
                climb.made_progress(1);
                Err(miss)
            }
        }
    }
}

impl State {
    /// Other lanes that have a range which fits.
    pub(super) fn lanes_for(&mut self, climb: &mut Climb<'_>) -> Vec<u32> {
        // Those that are passed over do not count.
        let more = climb.passed_by() + 2;
        let limit = if climb.looks_everywhere() { usize::MAX } else { LANES + more };
        let (mut lanes, cut_short) = self.space.lanes_that_fit(climb.need, limit);
        if cut_short {
            climb.note_partial_look();
        }
        lanes.retain(|&lane| lane != climb.lane && lane != CLEAN.lane && climb.may_wait_for(lane));
        lanes
    }

    /// The markers that would make some lane's best fit usable at once.
    fn markers_of_interest(&self, climb: &Climb<'_>, lanes: &[u32]) -> Vec<(u32, u64, Event)> {
        let own = Some(climb.lane).filter(|_| self.lanes.reuse() == Reuse::Observed);
        let marker = |lane: u32| {
            let tag = self.space[self.space.best_fit(lane, climb.need)?].tag()?;
            match self.lanes.access(tag, climb.lane) {
                Access::After { epoch, marker, .. } => Some((lane, epoch, marker)),
                _ => None,
            }
        };
        own.into_iter().chain(lanes.iter().copied()).filter_map(marker).collect()
    }

    /// The best fit among the complete ranges of these lanes, the own one and the clean one.
    fn best_complete(&self, climb: &Climb<'_>, lanes: &[u32]) -> Option<Slot> {
        let complete = |slot: &Slot| {
            let tag = self.space[*slot].tag();
            tag.is_some_and(|tag| matches!(self.lanes.access(tag, climb.lane), Access::Now))
        };
        let fits = |lane| self.space.fits(lane, climb.need);
        let own = [CLEAN.lane, climb.lane].into_iter();
        let lists = own.chain(lanes.iter().copied()).map(fits);
        let candidates = lists.filter_map(|mut fits| fits.find(complete));
        candidates.min_by_key(|&slot| (self.space[slot].size(), self.space[slot].start))
    }

    /// The largest range that could be used at once, whether or not it fits.
    pub(super) fn largest_complete(&self, lane: u32) -> u64 {
        let own = match self.lanes.reuse() {
            Reuse::StreamOrdered => self.space.largest_of(lane),
            Reuse::Observed => 0,
        };
        own.max(self.space.largest_of(CLEAN.lane))
    }

    /// The range of one of these lanes, or the clean one, whose covering marker was recorded first; one
    /// whose lane must be closed only if there is no other.
    pub(super) fn smallest_wait(&self, climb: &Climb<'_>, lanes: &[u32]) -> Option<Slot> {
        let lanes = std::iter::once(CLEAN.lane).chain(lanes.iter().copied());
        let fits = lanes.flat_map(|lane| self.space.fits(lane, climb.need).take(LOOKS));
        let cost = |slot: Slot| {
            let range = self.space[slot];
            let order = match self.lanes.access(range.tag()?, climb.lane) {
                Access::Now => 0,
                Access::After { order, .. } => order,
                Access::Close => u64::MAX,
                Access::Never => return None,
            };
            Some(((order, range.size(), range.start), slot))
        };
        fits.filter_map(cost).min_by_key(|(cost, _)| *cost).map(|(_, slot)| slot)
    }
}
