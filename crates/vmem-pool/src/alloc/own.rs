//! Memory of their own handles for blocks that may rest on the host, so that all of them can move but a
//! granule at either end.

use vmem_core::{Request, Resting};

use super::Core;
use crate::space::{CLEAN, Need, RangeState, Slot, Span, StreamIx, Tag};
use crate::streams::{Reuse, State};
use crate::supply::Backing;

/// Free ranges of one lane that a request looks at.
const LOOKS: usize = 16;

/// Blocks of no more granules need none: at most so many of a block are to be shared.
const SHARED: u64 = 2;

impl<B: Backing> Core<B> {
    /// Whether a request's memory is to be in handles of its own.
    pub(super) fn needs_own(&self, request: &Request<'_>, need: Need) -> bool {
        let planned =
            request.resting == Resting::Planned || self.config.resting == Resting::Planned;
        planned && self.supply.moves() && need.size > SHARED * self.supply.granule()
    }

    /// Memory that is at hand. It is claimed.
    pub(super) fn hit(
        &self,
        state: &mut State,
        lane: StreamIx,
        need: Need,
        own: bool,
    ) -> Option<Slot> {
        if own {
            return state.hit_of_its_own(lane, need, self.supply.granule());
        }
        let slot = state.hit(lane, need);
        state.space.list();
        slot
    }
}

impl State {
    /// Takes free memory of the lane, or that no work touches, of which no more than a granule at either
    /// end is in a handle that others may use as well.
    fn hit_of_its_own(&mut self, lane: StreamIx, need: Need, granule: u64) -> Option<Slot> {
        let own = (self.lanes.reuse == Reuse::StreamOrdered).then_some((lane, None));
        let clean = (CLEAN.lane, Some(Tag { lane, epoch: 0 }));
        for (from, rest) in own.into_iter().chain([clean]) {
            let place = |slot: Slot| {
                let span = self.space[slot].span();
                Some((slot, self.aliases.cuts.place_apart(span, need, granule)?))
            };
            let found = self.space.fits(from, need).take(LOOKS).find_map(place);
            if let Some((slot, at)) = found {
                let rest = rest.or_else(|| self.space[slot].tag())?;
                self.space.claim(slot);
                self.space.cut(slot, Span::new(at, need.size), RangeState::Free(rest));
                return Some(slot);
            }
        }
        None
    }
}
