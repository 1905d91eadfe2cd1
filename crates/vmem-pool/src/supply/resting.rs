//! Live blocks whose memory is not on the device: what becomes of it when they are freed. Bookkeeping only:
//! it makes no driver call.

use std::collections::BTreeSet;

use super::aliases::Aliases;
use super::cuts::Place;
use super::memory::Memory;
use crate::space::{CLEAN, RangeState, Slot, Space, Span, Tag};

impl Aliases {
    /// Whether some of a span is away.
    pub(crate) fn is_away(&self, span: Span) -> bool {
        self.away.touching(span).next().is_some()
    }

    /// Bytes of live blocks, as requested, that take no room on the device. What was displaced may be held
    /// there. Takes time in the number of handles that are away.
    pub(crate) fn live_away(&self, space: &Space) -> u64 {
        let without = self.away.all().filter(|(_, place)| *place != Place::Displaced);
        let of_handle = |handle: Span| -> u64 {
            let live = space.ranges.within(handle).filter(|&slot| space[slot].is_live());
            let requested = live.filter_map(|slot| {
                let (layout, ..) = space[slot].block()?;
                Some(Span::new(space[slot].start, layout.size()))
            });
            requested.map(|block| handle.common(block).size).sum()
        };
        without.map(|(handle, _)| of_handle(handle)).sum()
    }

    /// Whether some of a span was displaced.
    pub(crate) fn is_displaced(&self, span: Span) -> bool {
        self.away.touching(span).any(|(_, place)| place == Place::Displaced)
    }
}

impl Memory<'_> {
    /// The memory of these handles is at a place.
    pub(super) fn place(&mut self, handles: &[Span], place: Place) {
        match place {
            Place::Device => self.aliases.cuts.add(handles, place),
            _ => self.aliases.away.add(handles, place),
        }
    }

    /// The memory of a span is not where it was.
    pub(super) fn displace(&mut self, span: Span) {
        self.aliases.cuts.remove(span);
        self.aliases.away.remove(span);
        self.aliases.leaving.retain(|start| !(span.start..span.end()).contains(start));
    }

    /// From now on these blocks are being moved: what is freed of them is noted only.
    pub(crate) fn begin_moving(&mut self, blocks: &BTreeSet<Slot>) {
        for &block in blocks {
            self.space.ranges.set_resting(block, true);
            self.aliases.moving.insert(self.space[block].start, None);
        }
    }

    /// No block is being moved any more. Frees what was freed meanwhile, and notes of the others whether some of
    /// their memory is away.
    pub(crate) fn end_moving(&mut self) {
        for (start, freed) in std::mem::take(&mut self.aliases.moving) {
            let Some(slot) = self.space.ranges.covering(start) else { continue };
            match freed {
                Some(tag) => self.release_claimed(slot, tag),
                None => {
                    let away = self.aliases.is_away(self.space[slot].span());
                    self.space.ranges.set_resting(slot, away);
                }
            }
        }
    }

    /// A block of which some memory is away, or was, or is lent, is freed.
    pub(super) fn take_apart(&mut self, slot: Slot, tag: Tag) {
        let block = self.space[slot].span();
        self.space.set_state(slot, RangeState::Claimed);
        if let Some(freed) = self.aliases.moving.get_mut(&block.start) {
            *freed = Some(tag);
            return;
        }
        self.release_claimed(slot, tag);
    }

    /// Frees a claimed block, part by part: what is at home on the device, and what is elsewhere.
    pub(crate) fn release_claimed(&mut self, slot: Slot, tag: Tag) {
        let block = self.space[slot].span();
        let away: Vec<(Span, Place)> = self.aliases.away.touching(block).collect();
        let lent: Vec<Span> = self.aliases.lent_in(block).collect();
        let elsewhere = away.iter().map(|(handle, _)| handle).chain(&lent);
        let mut elsewhere: Vec<Span> = elsewhere.map(|span| span.common(block)).collect();
        elsewhere.sort_unstable();
        // From the highest part down: what is below is claimed still, and the slot is that of the lowest.
        let mut left = block;
        let mut release = |from: u64, state| {
            if from < left.end() {
                let upper =
                    if from > block.start { self.space.ranges.split(slot, from) } else { slot };
                self.space.set_state(upper, state);
                left = Span::between(block.start, from);
            }
        };
        for part in elsewhere.into_iter().rev() {
            release(part.end(), RangeState::Free(tag));
            release(part.start, RangeState::Dormant(tag));
        }
        release(block.start, RangeState::Free(tag));
        for alias in lent.into_iter().rev() {
            self.return_homes(alias.start, |_| tag);
        }
        for (handle, place) in away {
            self.leave_if_unused(handle, place);
        }
    }

    /// What is away and belongs to no block any more is to go. Where nothing is mapped that is so at once.
    fn leave_if_unused(&mut self, handle: Span, place: Place) {
        if !self.is_dormant(handle, |_| true) {
            return;
        }
        if place == Place::Nowhere {
            self.displace(handle);
            self.space.change(handle, RangeState::Unmapped);
        } else {
            self.aliases.leaving.insert(handle.start);
        }
    }

    /// Claims what is away and belongs to no block, as far as no work through its addresses is pending.
    pub(crate) fn leaving(&mut self, is_complete: impl Fn(Tag) -> bool) -> Vec<(Span, Place)> {
        let Aliases { away, leaving, .. } = &*self.aliases;
        let mut going: Vec<(Span, Place)> =
            leaving.iter().filter_map(|&start| away.at(start)).collect();
        going.retain(|&(span, _)| self.is_dormant(span, &is_complete));
        for &(span, _) in &going {
            self.space.claim_span(span);
        }
        going
    }

    /// The driver unmapped some of that, or did not.
    pub(crate) fn left(&mut self, spans: Vec<(Span, bool)>) {
        for (span, gone) in spans {
            let state = if gone { RangeState::Unmapped } else { RangeState::Dormant(CLEAN) };
            if gone {
                self.displace(span);
            }
            let parts: Vec<Slot> = self.space.ranges.within(span).collect();
            parts.into_iter().for_each(|slot| self.space.set_state(slot, state));
        }
    }

    /// Handles that two failed calls had displaced are where they were before them.
    pub(crate) fn mended(&mut self, handles: Vec<(Span, Place)>) {
        for (handle, place) in handles {
            self.displace(handle);
            self.place(&[handle], place);
            match place {
                // What is in no block is free.
                Place::Device => self.space.wake(handle, |tag| tag),
                _ => self.leave_if_unused(handle, place),
            }
        }
    }
}
