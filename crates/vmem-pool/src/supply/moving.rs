//! Which memory of blocks moves when they are to rest, or to come back. Bookkeeping only: it makes no
//! driver call.

use std::collections::BTreeSet;

use vmem_core::{Moved, Residence};

use super::cuts::Place;
use super::memory::Memory;
use crate::space::{CLEAN, Claim, RangeState, Slot, Space, Span, Tag};

/// What is to move of some blocks: addresses that are to have other memory, all of them or none.
#[derive(Debug)]
#[must_use = "it is finished or given up"]
pub(crate) struct Moving {
    pub(super) to: Place,
    /// What moves, lowest first: whole handles. Of a run that is longer than one the borders between them lie in
    /// one block, the only one that it has.
    pub(crate) runs: Vec<Span>,
    /// Where blocks begin and end that are the only ones of a run. A granule of the device of which such a block
    /// has a part only, and others may have the rest later, is to be a handle of its own.
    pub(super) edges: Vec<u64>,
    /// Free memory that moves along, claimed.
    claim: Claim,
    /// What is reported of it: bytes of it that are on the device, or are to be, those that were copied, once
    /// that is so, and those of the blocks that do not move.
    pub(crate) moved: Moved,
    /// The handles that are mapped at the runs, or the runs themselves where nothing is, once that is so.
    pub(super) handles: Vec<Span>,
    /// Runs that could not be given their memory back.
    pub(super) displaced: Vec<Span>,
}

impl Memory<'_> {
    /// The whole handles that are lent to a block, if any are, and where the alias begins that shows them:
    /// where each is at home, and where it is shown.
    pub(crate) fn lent_to(&self, block: Slot) -> Option<(u64, Vec<(Span, u64)>)> {
        // A first alias that shows no more than an end of a handle may be left of one that settled in part.
        let lent = self.aliases.lent_in(self.space[block].span());
        let handles = |alias: Span| (alias.start, self.aliases.whole_handles(alias.start));
        lent.map(handles).find(|(_, handles)| !handles.is_empty())
    }

    /// The first whole handles that the alias at `start` shows are at home there from now on.
    pub(crate) fn settle_in(&mut self, start: u64, moved: &[(Span, u64)]) {
        for &(home, at) in moved {
            self.aliases.cuts.remove(home);
            self.aliases.cuts.add(&[Span::new(at, home.size)], Place::Device);
            self.space.change(home, RangeState::Unmapped);
        }
        let Some(&(_, first)) = moved.first() else { return };
        self.aliases.shorten(start, first, moved.iter().map(|(home, _)| home.size).sum());
    }

    /// The live blocks that share what is away with some blocks, those included.
    pub(crate) fn sharing(&self, blocks: BTreeSet<Slot>) -> BTreeSet<Slot> {
        let mut new: Vec<Slot> = blocks.iter().copied().collect();
        let mut all = blocks;
        while let Some(block) = new.pop() {
            for (handle, _) in self.aliases.away.touching(self.space[block].span()) {
                let beside =
                    self.space.ranges.within(handle).filter(|&slot| self.space[slot].is_live());
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
        to: Place,
        is_complete: &dyn Fn(Tag) -> bool,
    ) -> Moving {
        let mut handles: BTreeSet<(Span, Place)> = BTreeSet::new();
        let mut stayed = 0;
        for &block in blocks {
            let span = self.space[block].span();
            let all = self.aliases.cuts.touching(span);
            let all = all.chain(self.aliases.away.touching(span));
            let (moving, there): (Vec<_>, Vec<_>) = all.partition(|&(_, from)| moves(from, to));
            stayed += span.size - there.iter().map(|(it, _)| it.common(span).size).sum::<u64>();
            handles.extend(moving);
        }
        handles.retain(|&(handle, place)| may_move(self.space, handle, place, blocks, is_complete));
        for &(handle, _) in &handles {
            let touched = self.space.ranges.within(handle).filter(|slot| blocks.contains(slot));
            let of_block = |slot: Slot| handle.common(self.space[slot].span()).size;
            stayed -= touched.map(of_block).sum::<u64>();
        }
        let of_device =
            handles.iter().filter(|&&(_, at)| to == Place::Device || at == Place::Device);
        let device = of_device.map(|(handle, _)| handle.size).sum();
        let runs = runs(self.space, &handles);
        let edges = runs.iter().filter_map(|&run| only_block(self.space, run));
        let edges = edges.flat_map(|block| [block.start, block.end()]).collect();
        let claim = self.space.claim_spans(&unused(self.space, &handles), None);
        let (handles, displaced) = (Vec::new(), Vec::new());
        let moved = Moved::new(device, 0, stayed);
        Moving { to, runs, edges, claim, moved, handles, displaced }
    }

    /// What was planned is done.
    pub(crate) fn moved(&mut self, moving: Moving) -> Moved {
        let to = moving.to;
        moving.runs.iter().for_each(|&run| self.displace(run));
        self.place(&moving.handles, to);
        self.space.end_claim(moving.claim, |_, state| match (state, to) {
            // All work on it was complete when it was claimed.
            (RangeState::Dormant(_), Place::Device) => RangeState::Free(CLEAN),
            (RangeState::Free(_), Place::Host | Place::Nowhere) => RangeState::Dormant(CLEAN),
            (state, _) => state,
        });
        if to == Place::Device {
            // A block beside these that had been discarded may have been freed meanwhile.
            moving.runs.iter().for_each(|&run| self.space.wake(run, |tag| tag));
        }
        moving.moved
    }

    /// What was planned is undone, but for what was displaced.
    pub(crate) fn not_moved(&mut self, moving: Moving) {
        let displaced = moving.displaced;
        displaced.iter().for_each(|&run| self.displace(run));
        self.place(&displaced, Place::Displaced);
        self.space.end_claim(moving.claim, |span, state| match state {
            RangeState::Free(_) if displaced.iter().any(|run| run.touches(span)) => {
                RangeState::Dormant(CLEAN)
            }
            state => state,
        });
    }

    /// Where the memory of a block is.
    pub(crate) fn residence(&self, block: Slot, is_complete: &dyn Fn(Tag) -> bool) -> Residence {
        let span = self.space[block].span();
        let mut residence = Residence::default();
        for (handle, place) in self.aliases.away.touching(span) {
            let bytes = handle.common(span).size;
            match place {
                Place::Host => residence.host += bytes,
                Place::Nowhere => residence.discarded += bytes,
                Place::Device | Place::Displaced => residence.displaced += bytes,
            }
        }
        let away = residence.host + residence.discarded + residence.displaced;
        residence.device = span.size - away;
        if !self.aliases.are_possible() {
            // Chunks do not move.
            residence.shared = residence.device;
            return residence;
        }
        let alone = BTreeSet::from([block]);
        let own = self.aliases.cuts.touching(span);
        let own =
            own.filter(|&(handle, place)| may_move(self.space, handle, place, &alone, is_complete));
        let own: u64 = own.map(|(handle, _)| handle.common(span).size).sum();
        let lent = self.aliases.lent_in(span);
        let lent = lent.flat_map(|alias| self.aliases.whole_handles(alias.start));
        let lent: u64 = lent.map(|(handle, _)| handle.size).sum();
        residence.shared = residence.device - own - lent;
        residence
    }
}

/// Whether a handle of a block moves that is at a place.
fn moves(from: Place, to: Place) -> bool {
    match from {
        Place::Device | Place::Host => to != from,
        // What was discarded has no contents to move.
        Place::Nowhere => to == Place::Device,
        Place::Displaced => false,
    }
}

/// Whether all of a handle is these blocks' or in no block, with no work pending on it.
fn may_move(
    space: &Space,
    handle: Span,
    place: Place,
    blocks: &BTreeSet<Slot>,
    is_complete: &dyn Fn(Tag) -> bool,
) -> bool {
    space.ranges.within(handle).all(|slot| match space[slot].state() {
        _ if blocks.contains(&slot) => true,
        // Nobody may touch what is nowhere.
        RangeState::Live => place == Place::Nowhere,
        RangeState::Free(tag) => place == Place::Device && is_complete(tag),
        RangeState::Dormant(tag) => place != Place::Device && is_complete(tag),
        RangeState::Unmapped | RangeState::Claimed | RangeState::Vacant => false,
    })
}

/// Neighbouring handles of one place joined where the border between them lies inside a live block. One that
/// several blocks share stays alone: joined with others, it would keep all of them where they are unless
/// all of these blocks move.
fn runs(space: &Space, handles: &BTreeSet<(Span, Place)>) -> Vec<Span> {
    let is_shared = |handle: Span| {
        space.ranges.within(handle).filter(|&slot| space[slot].is_live()).count() > 1
    };
    let mut runs: Vec<((Span, Place), bool)> = Vec::new();
    for &(handle, place) in handles {
        let is_inside = |border: u64| {
            let around = space.ranges.covering(border);
            around.is_some_and(|slot| space[slot].is_live() && space[slot].start < border)
        };
        match runs.last_mut() {
            Some(((run, of), false))
                if run.end() == handle.start
                    && *of == place
                    && is_inside(handle.start)
                    && !is_shared(handle) =>
            {
                run.size += handle.size;
            }
            _ => runs.push(((handle, place), is_shared(handle))),
        }
    }
    runs.into_iter().map(|((run, _), _)| run).collect()
}

/// The only live block of a run, if it has one.
fn only_block(space: &Space, run: Span) -> Option<Span> {
    let mut live = space.ranges.within(run).filter(|&slot| space[slot].is_live());
    let block = live.next()?;
    live.next().is_none().then(|| space[block].span())
}

/// What of these handles is in no block, to be claimed.
fn unused(space: &Space, handles: &BTreeSet<(Span, Place)>) -> Vec<Span> {
    let parts = handles.iter().flat_map(|&(handle, _)| {
        let unused = space.ranges.within(handle).filter(|&slot| space[slot].state().is_unused());
        unused.map(move |slot| space[slot].span().common(handle))
    });
    parts.collect()
}
