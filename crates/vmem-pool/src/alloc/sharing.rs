//! Memory that other streams freed.

use vmem_core::Event;
use vmem_core::author::StreamExt;

use super::{Core, Found, Slow};
use crate::Counters;
use crate::space::{CLEAN, Claim, Slot, StreamIx, Tag};
use crate::streams::{Access, Lane, Reuse, State};
use crate::supply::Backing;

/// Ranges of one lane that a thief looks at, best fit first, for one that needs no closing.
const LOOKS: usize = 16;

/// Other lanes that a request looks at before the pool grows for it. Before it is refused it looks at
/// all.
const LANES: usize = 16;

/// A way to have memory behind waits: what a report calls it, how it is found, and how it is counted.
type Behind =
    (&'static str, fn(&mut State, &mut Slow<'_>) -> Option<Claim>, fn(&mut Counters) -> &mut u64);

/// From the smallest wait to waits for several streams.
const BEHIND_WAITS: [Behind; 2] = [
    ("a wait on the device", State::claim_smallest_wait, |counters| &mut counters.waits),
    ("joining blocks", State::claim_neighbours, |counters| &mut counters.merges),
];

impl<B: Backing> Core<B> {
    /// Takes what is known to be complete, asking the driver once per lane if nothing is; else what the
    /// stream can wait for.
    pub(super) fn share(&self, slow: &mut Slow<'_>) -> Found<'_> {
        if std::mem::take(&mut slow.looked) || slow.own {
            return Ok(None);
        }
        let streams = &self.streams;
        let mut state = streams.lock();
        if !state.lanes.bound.owes_nothing_here() {
            drop(state);
            streams.close_bound_here(slow.lane)?;
            state = streams.lock();
        }
        slow.seen = state.progress();
        let own = state.lanes.table.get(slow.lane);
        if streams.reuse == Reuse::Observed && own.is_some_and(Lane::has_unmarked_frees) {
            // Nothing of the own lane was at hand either: let its frees be marked.
            drop(state);
            streams.close(slow.lane)?;
            state = streams.lock();
        }
        let lanes = state.lanes_for(slow);
        let markers = match streams.may_ask {
            true => state.markers_of_interest(slow, &lanes),
            false => Vec::new(),
        };
        if !markers.is_empty() {
            drop(state);
            for (lane, epoch, marker) in markers {
                streams.query(lane, epoch, marker)?;
            }
            state = streams.lock();
        }
        slow.completions = state.lanes.completions;
        if let Some(slot) = state.best_complete(slow, &lanes) {
            state.counters.completed += 1;
            let claim = state.space.claim_one(slot);
            let slot = state.finish_shared(claim, slow);
            return Ok(Some((state, slot)));
        }
        slow.tried("completed blocks", state.largest_complete(slow.lane));
        for (name, claim, counter) in BEHIND_WAITS {
            while let Some(mut claim) = claim(&mut state, slow) {
                drop(state);
                let ordered = streams.order_after(&mut claim, slow.lane, slow.request.stream);
                state = streams.lock();
                match ordered {
                    Ok(()) => {
                        if claim.waited {
                            state.note_wait(&claim, slow.lane);
                        }
                        *counter(&mut state.counters) += 1;
                        let slot = state.finish_shared(claim, slow);
                        return Ok(Some((state, slot)));
                    }
                    Err(miss) => {
                        slow.put_back(&mut state, claim);
                        slow.skip(miss)?;
                    }
                }
            }
            slow.tried(name, 0);
        }
        Ok(None)
    }

    /// Looks at all lanes, if the request was found nothing after a look at some.
    pub(super) fn share_everywhere(&self, slow: &mut Slow<'_>) -> Found<'_> {
        slow.everywhere |= slow.more;
        if std::mem::take(&mut slow.more) { self.share(slow) } else { Ok(None) }
    }
}

impl State {
    /// Looks at other lanes for a request that found no hit: a claim that is the request's, once its
    /// stream waits for the event if there is one. Where no lane has what fits, the request need not
    /// look again before the pool grows.
    ///
    /// Only for memory of lanes that others take from time and again, which mark what they free at once:
    /// there a wait costs less than asking whether it is needed. Elsewhere the stages ask first.
    pub(super) fn hand_over(&mut self, slow: &mut Slow<'_>) -> Option<(Claim, Option<Event>)> {
        slow.no_aliases = self.counters.aliased == 0;
        if self.lanes.reuse == Reuse::Observed {
            return None;
        }
        let lanes = self.lanes_for(slow);
        if lanes.is_empty()
            && self.space.indexes.owners() < 2
            && self.lanes.bound.owes_nothing_here()
        {
            slow.looked = true;
            slow.seen = self.progress();
            slow.completions = self.lanes.completions;
            slow.tried("completed blocks", self.largest_complete(slow.lane));
            BEHIND_WAITS.iter().for_each(|(name, ..)| slow.tried(name, 0));
            return None;
        }
        let hot = lanes.iter().any(|&lane| {
            self.lanes.lane_that_freed(lane).is_some_and(|lane| lane.front.marks_at_once())
        });
        if !hot || !slow.request.stream.is_callable_here() {
            return None;
        }
        lanes.iter().for_each(|&lane| self.lanes.contend(lane));
        let slot = self.smallest_wait(slow, &lanes)?;
        let tag = self.space[slot].tag()?;
        let marker = match self.lanes.access(tag, slow.lane) {
            Access::Now => None,
            Access::After { marker, .. } => Some(marker.clone()),
            Access::Close | Access::Never => return None,
        };
        if marker.is_some() {
            self.lanes.note_theft(tag.lane, false);
        }
        Some((self.space.claim_one(slot), marker))
    }

    /// Other lanes that have a range which fits.
    fn lanes_for(&mut self, slow: &mut Slow<'_>) -> Vec<StreamIx> {
        // Those that are skipped do not count.
        let more = slow.skipped.len() + 2;
        let limit = if slow.everywhere { usize::MAX } else { LANES + more };
        let (mut lanes, cut_short) = self.space.lanes_that_fit(slow.need, limit);
        slow.more |= cut_short;
        let others = |lane: StreamIx| lane != slow.lane && lane != CLEAN.lane;
        let all = &self.lanes;
        let left = |lane| slow.leaves(all, Tag { lane, ..CLEAN });
        let skipped = |lane| slow.skipped.contains(&all.away.freed_on(lane));
        lanes.retain(|&lane| others(lane) && !skipped(lane) && !left(lane));
        lanes
    }

    /// The markers that would make some lane's best fit usable at once.
    fn markers_of_interest(
        &self,
        slow: &Slow<'_>,
        lanes: &[StreamIx],
    ) -> Vec<(StreamIx, u64, Event)> {
        let own = Some(slow.lane).filter(|_| self.lanes.reuse == Reuse::Observed);
        let marker = |lane: StreamIx| {
            let tag = self.space[self.space.best_fit(lane, slow.need)?].tag()?;
            match self.lanes.access(tag, slow.lane) {
                Access::After { epoch, marker, .. } => {
                    Some((self.lanes.away.freed_on(lane), epoch, marker.clone()))
                }
                _ => None,
            }
        };
        own.into_iter().chain(lanes.iter().copied()).filter_map(marker).collect()
    }

    /// The best fit among the complete ranges of these lanes, the own one and the clean one.
    fn best_complete(&self, slow: &Slow<'_>, lanes: &[StreamIx]) -> Option<Slot> {
        let complete = |slot: &Slot| {
            let tag = self.space[*slot].tag();
            tag.is_some_and(|tag| matches!(self.lanes.access(tag, slow.lane), Access::Now))
        };
        let fits = |lane| self.space.fits(lane, slow.need);
        let own = [CLEAN.lane, slow.lane].into_iter();
        let lists = own.chain(lanes.iter().copied()).map(fits);
        let candidates = lists.filter_map(|mut fits| fits.find(complete));
        candidates.min_by_key(|&slot| (self.space[slot].size(), self.space[slot].start))
    }

    /// Claims what other lanes have finished with, as far as that is known, for a request.
    pub(super) fn take_complete(&mut self, slow: &mut Slow<'_>) -> Option<Slot> {
        let lanes = self.lanes_for(slow);
        let slot = self.best_complete(slow, &lanes)?;
        self.counters.completed += 1;
        let claim = self.space.claim_one(slot);
        Some(self.finish_shared(claim, slow))
    }

    /// The largest range that could be used at once, whether or not it fits.
    pub(super) fn largest_complete(&self, lane: StreamIx) -> u64 {
        let own = match self.lanes.reuse {
            Reuse::StreamOrdered => self.space.indexes.largest_of(lane),
            Reuse::Observed => 0,
        };
        own.max(self.space.indexes.largest_of(CLEAN.lane))
    }

    /// Claims the range whose wait is the smallest.
    fn claim_smallest_wait(&mut self, slow: &mut Slow<'_>) -> Option<Claim> {
        let lanes = self.lanes_for(slow);
        for &lane in &lanes {
            let lends = self.lanes.lender(Tag { lane, ..CLEAN }, slow.lane).is_some();
            if !lends || self.lanes.lane_that_freed(lane).is_some_and(|lane| lane.bound) {
                self.lanes.contend(lane);
            }
        }
        if self.lanes.reuse == Reuse::Observed {
            return None;
        }
        let slot = self.smallest_wait(slow, &lanes)?;
        if let Some(tag) = self.space[slot].tag()
            && self.lanes.lender(tag, slow.lane).is_none()
        {
            let closes = matches!(self.lanes.access(tag, slow.lane), Access::Close);
            self.lanes.note_theft(tag.lane, closes);
        }
        Some(self.space.claim_one(slot))
    }

    /// The range of one of these lanes, or the clean one, whose covering marker was recorded first; one
    /// whose lane must be closed only if there is no other.
    fn smallest_wait(&self, slow: &Slow<'_>, lanes: &[StreamIx]) -> Option<Slot> {
        let lanes = std::iter::once(CLEAN.lane).chain(lanes.iter().copied());
        let fits = lanes.flat_map(|lane| self.space.fits(lane, slow.need).take(LOOKS));
        self.least_wait(fits, slow.lane)
    }

    /// A stream had to wait for what is lent to it: the lender marks some frees at once, so that the next such
    /// wait is for no more than it must.
    fn note_wait(&mut self, claim: &Claim, lane: StreamIx) {
        for tag in claim.tags() {
            if self.lanes.lender(tag, lane).is_some() {
                self.lanes.note_theft(tag.lane, true);
            }
        }
    }

    /// Claims neighbours that several streams freed.
    fn claim_neighbours(&mut self, slow: &mut Slow<'_>) -> Option<Claim> {
        let run = self.space.best_run(slow.need, |tag| slow.may_use(&self.lanes, tag))?;
        Some(self.space.claim_spans(&[run], None))
    }
}
