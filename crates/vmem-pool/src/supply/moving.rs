//! Which memory of blocks moves when they are to rest, or to come back. Bookkeeping only: it makes no
//! driver call.

use std::collections::BTreeSet;

use vmem_core::Residence;

use super::aliases::Hidden;
use super::exchange::{Exchanged, To};
use super::memory::Memory;
use super::resting::Place;
use crate::space::{CLEAN, Claim, RangeState, Slot, Space, Span, Tag};

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
    /// Bytes of it that are to be copied.
    pub(crate) copied: u64,
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

impl Memory<'_> {
    /// The whole handles that are lent to a block, if any are.
    pub(crate) fn settling(&mut self, block: Slot) -> Option<Settling> {
        let start = self.aliases.lent_in(self.space[block].span()).next()?.start;
        let handles = self.aliases.whole_handles(start);
        if handles.is_empty() {
            return None;
        }
        let homes: Vec<Span> = handles.iter().map(|&(home, _)| home).collect();
        let hidden = self.hide_showing(&homes, Some(start));
        Some(Settling { start, handles, hidden })
    }

    /// The first of the handles that the alias at `start` shows are at home there from now on.
    pub(crate) fn settle_in(&mut self, start: u64, moved: &[(Span, u64)]) {
        for &(home, at) in moved {
            self.aliases.cuts.remove(home);
            self.aliases.cuts.add(&[Span::new(at, home.size)]);
            self.space.change(home, RangeState::Unmapped);
        }
        self.aliases.shorten(start, moved.iter().map(|(home, _)| home.size).sum());
    }

    /// The live blocks that share what is away with some blocks, those included.
    pub(crate) fn sharing(&self, blocks: &BTreeSet<Slot>) -> BTreeSet<Slot> {
        let mut all = blocks.clone();
        let mut new: Vec<Slot> = blocks.iter().copied().collect();
        while let Some(block) = new.pop() {
            for (handle, _) in self.aliases.resting.touching(self.space[block].span()) {
                let beside = self.space.within(handle).filter(|&slot| self.space[slot].is_live());
                new.extend(beside.filter(|&slot| all.insert(slot)));
            }
        }
        all
    }

    /// Plans to move all that can be moved of these blocks: what lies in whole handles that only they use,
    /// and free memory that no work touches.
    pub(crate) fn plan_move(
        &mut self,
        blocks: &BTreeSet<Slot>,
        to: To,
        is_complete: &dyn Fn(Tag) -> bool,
    ) -> Moving {
        let mut handles: BTreeSet<(Span, Option<Place>)> = BTreeSet::new();
        let mut all = 0;
        for &block in blocks {
            let span = self.space[block].span();
            let away =
                self.aliases.resting.touching(span).map(|(handle, place)| (handle, Some(place)));
            let here = self.aliases.cuts.touching(span).map(|handle| (handle, None));
            let all_of = handles_to_move(away.chain(here), to);
            let (moving, there): (Vec<_>, Vec<_>) = all_of.partition(|&(_, moves)| moves);
            let there: u64 = there.iter().map(|&((handle, _), _)| handle.common(span).size).sum();
            all += span.size - there;
            handles.append(&mut moving.into_iter().map(|(handle, _)| handle).collect());
        }
        handles.retain(|&(handle, place)| may_move(self.space, handle, place, blocks, is_complete));
        let common_to_all = |handle: Span| -> u64 {
            let touched = self.space.within(handle).filter(|slot| blocks.contains(slot));
            touched.map(|slot| handle.common(self.space[slot].span()).size).sum()
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
        let copied = match to {
            To::Device => bytes(&|place| place == Some(Place::Host)),
            To::Host => device,
            To::Nowhere => 0,
        };
        let runs = runs(self.space, &handles);
        let claim = self.space.claim_spans(&unused(self.space, &handles), None);
        Moving { runs, claim, stayed: all - moved, copied, device }
    }

    /// A stage is not needed any more, but for what is still mapped there.
    pub(crate) fn end_stage(&mut self, stage: Span, kept: &[Span]) {
        let slots: Vec<Slot> = self.space.within(stage).collect();
        for slot in slots {
            self.space.set_state(slot, RangeState::Unmapped);
        }
        for &span in kept {
            self.space.change(span, RangeState::Dormant(CLEAN));
        }
    }

    /// What was planned is done.
    pub(crate) fn moved(&mut self, moving: Moving, to: To, done: &Exchanged) {
        for &run in &moving.runs {
            self.aliases.cuts.remove(run);
            self.aliases.resting.remove(run);
        }
        match to {
            To::Device => self.aliases.cuts.add(&done.handles),
            To::Host => {
                done.handles.iter().for_each(|&it| self.aliases.resting.add(it, Place::Host))
            }
            To::Nowhere => {
                done.handles.iter().for_each(|&it| self.aliases.resting.add(it, Place::Nowhere))
            }
        }
        self.space.end_claim_as(moving.claim, |_, state| match (state, to) {
            // All work on it was complete when it was claimed.
            (RangeState::Dormant(_), To::Device) => RangeState::Free(CLEAN),
            (RangeState::Free(_), To::Host | To::Nowhere) => RangeState::Dormant(CLEAN),
            (state, _) => state,
        });
    }

    /// What was planned is undone, but for these runs.
    pub(crate) fn not_moved(&mut self, moving: Moving, displaced: &[Span]) {
        for &run in displaced {
            self.aliases.cuts.remove(run);
            self.aliases.resting.remove(run);
            self.aliases.resting.add(run, Place::Displaced);
        }
        self.space.end_claim_as(moving.claim, |span, state| match state {
            RangeState::Free(_) if displaced.iter().any(|run| run.touches(span)) => {
                RangeState::Dormant(CLEAN)
            }
            state => state,
        });
    }
}

impl Memory<'_> {
    /// Where the memory of a block is.
    pub(crate) fn residence(&self, block: Slot, is_complete: &dyn Fn(Tag) -> bool) -> Residence {
        let alone = BTreeSet::from([block]);
        let span = self.space[block].span();
        let mut residence = Residence::default();
        for (handle, place) in self.aliases.resting.touching(span) {
            let bytes = handle.common(span).size;
            match place {
                Place::Host => residence.host += bytes,
                Place::Nowhere => residence.discarded += bytes,
                Place::Displaced => residence.displaced += bytes,
            }
        }
        let away = residence.host + residence.discarded + residence.displaced;
        residence.device = span.size - away;
        let own = self.aliases.cuts.touching(span);
        let own = own.filter(|&handle| may_move(self.space, handle, None, &alone, is_complete));
        let own: u64 = own.map(|handle| handle.common(span).size).sum();
        let lent =
            self.aliases.lent_in(span).flat_map(|alias| self.aliases.whole_handles(alias.start));
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

/// What of these handles is in no block, to be claimed.
fn unused(space: &Space, handles: &BTreeSet<Handle>) -> Vec<Span> {
    let parts = handles.iter().flat_map(|&(handle, _)| {
        let unused = space.within(handle).filter(|&slot| space[slot].state().is_unused());
        unused.map(move |slot| space[slot].span().common(handle))
    });
    parts.collect()
}
