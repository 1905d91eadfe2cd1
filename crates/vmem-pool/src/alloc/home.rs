//! Memory stays with the streams that it was taken for: what other streams free comes home, what they are
//! likely to need again is left to them, and what is taken of it all the same is lent.

use super::{Core, Found, Slow};
use crate::Counters;
use crate::space::{Claim, Need, Slot, StreamIx};
use crate::streams::State;
use crate::supply::{Backing, Miss};

/// How many lanes a request is ordered after to have memory of its own back.
const FETCHES: usize = 16;

/// A pool is young until this many times what was live at most has been allocated.
const YOUNG: u64 = 8;

/// The part of what was live at most that may be held besides rather than take what other streams are likely
/// to need again; and the same while the pool is young, when nobody knows yet what will be live at most.
const APART: u64 = 32;
const APART_YOUNG: u64 = 4;

/// Less than this is not worth going home: what one lane leaves of a granule another one makes its own.
const LEAST_LENT: u64 = 2 << 20;

impl<B: Backing> Core<B> {
    /// Whether a request leaves to other streams at work what they are likely to need again, because the pool
    /// may take memory rather than that.
    pub(super) fn may_spare(&self, state: &State, need: Need) -> bool {
        let least = if self.supply.moves() { self.supply.granule() } else { need.size };
        let most = self.ceiling.min(state.most_apart());
        state.lanes.misses.others_are_active()
            && state.counters.reserved.saturating_add(least) <= most
    }

    /// Brings home what other streams freed of this one's memory: all that the device is done with, else what
    /// serves the request behind a wait.
    pub(super) fn fetch_home(&self, slow: &mut Slow<'_>) -> Found<'_> {
        if !std::mem::take(&mut slow.away) {
            return Ok(None);
        }
        let streams = &self.streams;
        let (lane, need) = (slow.lane, slow.need);
        let mut state = streams.lock();
        if streams.may_ask {
            let latest = state.latest_away(lane);
            drop(state);
            for tag in latest {
                match streams.ahead(tag, lane) {
                    Ok(_) | Err(Miss::Skip(_)) => {}
                    Err(miss) => return Err(miss),
                }
            }
            state = streams.lock();
            state.bring_home(lane);
            if let Some(slot) = self.hit(&mut state, lane, need, slow.own) {
                state.counters.completed += 1;
                return Ok(Some((state, slot)));
            }
        }
        // What a wait brings home may not be in handles of a block's own.
        let fetches = if slow.own { 0 } else { FETCHES };
        for _ in 0..fetches {
            let Some(tag) = state.next_to_fetch(lane, need, &slow.skipped) else { break };
            drop(state);
            let ordered = streams.order_after_tag(tag, lane, slow.request.stream);
            state = streams.lock();
            match ordered {
                Err(miss) => slow.skip(miss)?,
                Ok(waited) => {
                    state.fetch(lane, tag, waited);
                    if let Some(slot) = self.hit(&mut state, lane, need, slow.own) {
                        let counters = &mut state.counters;
                        *if waited { &mut counters.waits } else { &mut counters.completed } += 1;
                        return Ok(Some((state, slot)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Takes memory from the supply, a little, rather than what other streams are likely to need again; then
    /// that, too.
    pub(super) fn grow_apart(&self, slow: &mut Slow<'_>) -> Found<'_> {
        if !slow.spares {
            return Ok(None);
        }
        let grown = self.grow(slow);
        slow.spares = false;
        match grown {
            Ok(grown) => Ok(Some(grown)),
            Err(miss @ (Miss::Ceiling | Miss::Addresses | Miss::Refused(_))) => {
                if let Miss::Refused(_) = miss {
                    let mut state = self.streams.lock();
                    // The supply has no more than is held, as far as that can be told without asking.
                    state.refused_above = state.counters.reserved;
                }
                self.share(slow)
            }
            Err(miss) => Err(miss),
        }
    }
}

impl State {
    /// Gives a request what it claimed of other lanes' memory; the rest is free. What one lane is likely to need
    /// again is lent: it goes home when it is freed.
    pub(super) fn finish_shared(&mut self, claim: Claim, slow: &mut Slow<'_>) -> Slot {
        let mut rest = self.lanes.rest_of(&claim, slow.lane);
        if slow.need.size >= LEAST_LENT
            && let Some(lender) = self.lender_of(&claim, slow.lane)
        {
            slow.home = lender;
            rest = self.lanes.tag_at(lender, rest);
        }
        self.space.finish(claim, None, slow.need, rest)
    }

    /// The one lane that lends all of a claim.
    fn lender_of(&self, claim: &Claim, lane: StreamIx) -> Option<StreamIx> {
        let mut lenders = claim.free_tags().map(|tag| self.lanes.lender(tag, lane));
        let lender = lenders.next()??;
        lenders.all(|other| other == Some(lender)).then_some(lender)
    }

    /// The most that may be held rather than take what other streams are likely to need again.
    pub(super) fn most_apart(&self) -> u64 {
        let Counters { peak_live, bytes_allocated, .. } = self.counters;
        let is_young = bytes_allocated < peak_live.saturating_mul(YOUNG);
        let part = if is_young { APART_YOUNG } else { APART };
        peak_live.saturating_add(peak_live / part).min(self.refused_above)
    }
}
