//! Which memory of blocks moves when they are to rest, or to come back. Bookkeeping only: it makes no
//! driver call.

use std::collections::BTreeSet;

use vmem_core::Residence;

use super::aliases::{Aliases, Hidden};
use super::exchange::{Exchanged, To};
use super::resting::Place;
use crate::space::{CLEAN, Claim, Need, RangeState, Slot, Space, Span, Tag};

/// What is to move of some blocks, with the addresses claimed that are in none.
#[derive(Debug)]
#[must_use = "it is finished or given up"]
pub(crate) struct Moving {
    /// What moves, lowest first: whole handles. Of a run that is longer than one the inside belongs to one
    /// block.
    pub(crate) runs: Vec<Span>,
    /// Free memory that moves along.
    claim: Claim,
    /// Bytes of the blocks that do not move.
    pub(crate) stayed: u64,
    /// Bytes of it that are on the device, or are to be.
    pub(crate) device: u64,
}

/// Handles that are lent to a block, and whose home is to be where it uses them.
#[derive(Debug)]
pub(crate) struct Settling {
    /// The alias.
    pub(crate) start: u64,
    /// Where each handle is at home, and where it is shown.
    pub(crate) handles: Vec<(Span, u64)>,
    /// Aliases that show them, which are to be unmapped first.
    pub(crate) hidden: Vec<Hidden>,
}

impl Aliases {
    /// The whole handles that are lent to a block, if any are.
    pub(crate) fn settling(&mut self, space: &mut Space, block: Slot) -> Option<Settling> {
        let start = self.lent_in(space[block].span()).next()?.start;
        let handles = self.whole_handles(start);
        if handles.is_empty() {
            return None;
        }
        let homes: Vec<Span> = handles.iter().map(|&(home, _)| home).collect();
        let hidden = self.hide_showing_but(space, &homes, Some(start));
        Some(Settling { start, handles, hidden })
    }

    /// The live blocks that share what is away with some blocks, those included.
    pub(crate) fn sharing(&self, space: &Space, blocks: &BTreeSet<Slot>) -> BTreeSet<Slot> {
        let mut all = blocks.clone();
        let mut new: Vec<Slot> = blocks.iter().copied().collect();
        while let Some(block) = new.pop() {
            for (handle, _) in self.resting.touching(space[block].span()) {
                let beside = space.within(handle).filter(|&slot| space[slot].is_live());
                new.extend(beside.filter(|&slot| all.insert(slot)));
            }
        }
        all
    }

    /// Where in free memory a request could begin so that no more than a granule at either end of it is in a
    /// handle that it does not have whole.
    pub(crate) fn place_apart(&self, free: Span, need: Need, granule: u64) -> Option<u64> {
        let first = need.start_in(free.start, free.size);
        let handles = self.cuts.whole(free).map(|handle| handle.start);
        let places = first.into_iter().chain(handles.filter(|at| at % need.alignment == 0));
        let is_apart = |&at: &u64| {
            let block = Span::new(at, need.size);
            let shared = self
                .cuts
                .touching(block)
                .filter(|handle| handle.start < block.start || handle.end() > block.end());
            block.end() <= free.end() && shared.into_iter().all(|handle| handle.size <= granule)
        };
        places.into_iter().find(is_apart)
    }

    /// Plans to move all that can be moved of these blocks: what lies in whole handles that only they use,
    /// and free memory that no work touches.
    pub(crate) fn plan_move(
        &self,
        space: &mut Space,
        blocks: &BTreeSet<Slot>,
        to: To,
        is_complete: &dyn Fn(Tag) -> bool,
    ) -> Moving {
        let mut handles: BTreeSet<(Span, Option<Place>)> = BTreeSet::new();
        let mut all = 0;
        for &block in blocks {
            let span = space[block].span();
            let away = self.resting.touching(span).map(|(handle, place)| (handle, Some(place)));
            let here = self.cuts.touching(span).map(|handle| (handle, None));
            let all_of = handles_to_move(away.chain(here), to);
            let (moving, there): (Vec<_>, Vec<_>) = all_of.partition(|&(_, moves)| moves);
            let there: u64 = there.iter().map(|&((handle, _), _)| common(handle, span)).sum();
            all += span.size - there;
            handles.append(&mut moving.into_iter().map(|(handle, _)| handle).collect());
        }
        handles.retain(|&(handle, place)| may_move(space, handle, place, blocks, is_complete));
        let common_to_all = |handle: Span| -> u64 {
            let touched = space.within(handle).filter(|slot| blocks.contains(slot));
            touched.map(|slot| common(handle, space[slot].span())).sum()
        };
        let moved: u64 = handles.iter().map(|&(handle, _)| common_to_all(handle)).sum();
        let bytes = |wanted: &dyn Fn(Option<Place>) -> bool| -> u64 {
            let wanted = handles.iter().filter(|&&(_, place)| wanted(place));
            wanted.map(|(handle, _)| handle.size).sum()
        };
        let device = match to {
            To::Device => bytes(&|_| true),
            To::Host | To::Nowhere => bytes(&|place| place.is_none()),
        };
        let runs = runs(space, &handles);
        let claim = claim_unused(space, &handles);
        Moving { runs, claim, stayed: all - moved, device }
    }

    /// What was planned is done.
    pub(crate) fn moved(&mut self, space: &mut Space, moving: Moving, to: To, done: &Exchanged) {
        for &run in &moving.runs {
            self.cuts.remove(run);
            self.resting.remove(run);
        }
        match to {
            To::Device => self.cuts.add(&done.handles),
            To::Host => done.handles.iter().for_each(|&it| self.resting.add(it, Place::Host)),
            To::Nowhere => done.handles.iter().for_each(|&it| self.resting.add(it, Place::Nowhere)),
        }
        space.end_claim_as(moving.claim, |_, state| match (state, to) {
            // All work on it was complete when it was claimed.
            (RangeState::Dormant(_), To::Device) => RangeState::Free(CLEAN),
            (RangeState::Free(_), To::Host | To::Nowhere) => RangeState::Dormant(CLEAN),
            (state, _) => state,
        });
    }

    /// What was planned is undone, but for these runs.
    pub(crate) fn not_moved(&mut self, space: &mut Space, moving: Moving, displaced: &[Span]) {
        for &run in displaced {
            self.cuts.remove(run);
            self.resting.remove(run);
            self.resting.add(run, Place::Displaced);
        }
        space.end_claim_as(moving.claim, |span, state| match state {
            RangeState::Free(_) if displaced.iter().any(|run| run.touches(span)) => {
                RangeState::Dormant(CLEAN)
            }
            state => state,
        });
    }
}

impl Aliases {
    /// Where the memory of a block is.
    pub(crate) fn residence(
        &self,
        space: &Space,
        block: Slot,
        alone: &BTreeSet<Slot>,
        is_complete: &dyn Fn(Tag) -> bool,
    ) -> Residence {
        let span = space[block].span();
        let mut residence = Residence::default();
        for (handle, place) in self.resting.touching(span) {
            let bytes = common(handle, span);
            match place {
                Place::Host => residence.host += bytes,
                Place::Nowhere => residence.discarded += bytes,
                Place::Displaced => residence.displaced += bytes,
            }
        }
        let away = residence.host + residence.discarded + residence.displaced;
        residence.device = span.size - away;
        let own = self.cuts.touching(span);
        let own = own.filter(|&handle| may_move(space, handle, None, alone, is_complete));
        let own: u64 = own.map(|handle| common(handle, span)).sum();
        let lent = self.lent_in(span).flat_map(|alias| self.whole_handles(alias.start));
        let lent: u64 = lent.map(|(handle, _)| handle.size).sum();
        residence.shared = residence.device - own - lent;
        residence
    }
}

type Handle = (Span, Option<Place>);

/// The handles of a block, with whether each is to move.
fn handles_to_move(
    handles: impl Iterator<Item = Handle>,
    to: To,
) -> impl Iterator<Item = (Handle, bool)> {
    handles.map(move |(handle, place)| {
        let moves = match (to, place) {
            (To::Device, None) | (To::Host, Some(_)) | (To::Nowhere, Some(Place::Nowhere)) => false,
            (_, Some(Place::Displaced)) => false,
            (To::Device, Some(_)) | (To::Host | To::Nowhere, None) | (To::Nowhere, Some(_)) => true,
        };
        ((handle, place), moves)
    })
}

/// Whether all of a handle is these blocks' or in no block, with no work pending on it.
fn may_move(
    space: &Space,
    handle: Span,
    place: Option<Place>,
    blocks: &BTreeSet<Slot>,
    is_complete: &dyn Fn(Tag) -> bool,
) -> bool {
    space.within(handle).all(|slot| match space[slot].state() {
        _ if blocks.contains(&slot) => true,
        // Nobody may touch what is nowhere.
        RangeState::Live => place == Some(Place::Nowhere),
        RangeState::Free(tag) => place.is_none() && is_complete(tag),
        RangeState::Dormant(tag) => place.is_some() && is_complete(tag),
        RangeState::Unmapped | RangeState::Claimed | RangeState::Vacant => false,
    })
}

/// Neighbouring handles of one place joined where the border between them lies inside a block. One that
/// several blocks share stays alone: joined with others, it would keep all of them where they are unless
/// all of these blocks move.
fn runs(space: &Space, handles: &BTreeSet<Handle>) -> Vec<Span> {
    let is_shared =
        |handle: Span| space.within(handle).filter(|&slot| space[slot].is_live()).count() > 1;
    let mut runs: Vec<(Handle, bool)> = Vec::new();
    for &(handle, place) in handles {
        let inside =
            |border: u64| space.covering(border).is_some_and(|slot| space[slot].start < border);
        match runs.last_mut() {
            Some(((run, of), false))
                if run.end() == handle.start
                    && *of == place
                    && inside(handle.start)
                    && !is_shared(handle) =>
            {
                run.size += handle.size;
            }
            _ => runs.push(((handle, place), is_shared(handle))),
        }
    }
    runs.into_iter().map(|((run, _), _)| run).collect()
}

/// Claims what of these handles is in no block.
fn claim_unused(space: &mut Space, handles: &BTreeSet<Handle>) -> Claim {
    let mut claim = space.begin_claim();
    for &(handle, _) in handles {
        let unused = |slot: &Slot| space[*slot].state().is_unused();
        let spans: Vec<Span> =
            space.within(handle).filter(unused).map(|slot| space[slot].span()).collect();
        for span in spans {
            let clipped = Span::between(span.start.max(handle.start), span.end().min(handle.end()));
            space.add_to(&mut claim, clipped);
        }
    }
    claim
}

/// Bytes that two spans have in common.
pub(super) fn common(a: Span, b: Span) -> u64 {
    a.end().min(b.end()).saturating_sub(a.start.max(b.start))
}
