//! Live blocks whose memory is not on the device: where that memory is, and what becomes of it when
//! blocks are freed. Bookkeeping only: it makes no driver call.

use std::collections::{BTreeMap, BTreeSet};

use super::aliases::Aliases;
use super::exchange::Displaced;
use super::memory::Memory;
use crate::space::{CLEAN, RangeState, Slot, Space, Span, Tag};

/// Where the memory of an address is that is not the device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the host's memory, mapped there.
    Host,
    /// Nowhere: its contents were discarded.
    Nowhere,
    /// Held, but not mapped there, because two calls failed.
    Displaced,
}

/// Addresses of which the memory is not the device's, handle by handle.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    away: BTreeMap<u64, (u64, Place)>,
    /// The starts of blocks that are being moved, with the tag of those that were freed meanwhile.
    moving: BTreeMap<u64, Option<Tag>>,
    /// The starts of what is away and belongs to no block any more.
    leaving: BTreeSet<u64>,
}

/// What is away, belongs to no block, and goes back, with its addresses claimed.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(super) span: Span,
    pub(super) place: Place,
    parts: Vec<Slot>,
    /// Whether the driver has unmapped it.
    pub(super) gone: bool,
}

impl Resting {
    /// What is away in a span, lowest first: whole handles, which may begin before it and end behind.
    pub(super) fn touching(&self, span: Span) -> impl Iterator<Item = (Span, Place)> {
        let entry =
            |(&start, &(size, place)): (&u64, &(u64, Place))| (Span::new(start, size), place);
        let before = self.away.range(..span.start).next_back().map(entry);
        let before = before.filter(move |(handle, _)| handle.touches(span));
        before.into_iter().chain(self.away.range(span.start..span.end()).map(entry))
    }

    /// Bytes that are away from addresses below a limit.
    pub(super) fn below(&self, limit: u64) -> u64 {
        self.away.range(..limit).map(|(_, &(size, _))| size).sum()
    }

    pub(super) fn add(&mut self, span: Span, place: Place) {
        self.away.insert(span.start, (span.size, place));
    }

    /// Whatever was away in a span is not any more, or not in the same way.
    pub(super) fn remove(&mut self, span: Span) {
        let gone: Vec<u64> = self.away.range(span.start..span.end()).map(|(&at, _)| at).collect();
        for at in gone {
            self.leaving.remove(&at);
            self.away.remove(&at);
        }
    }

    /// From now on these blocks are being moved: what is freed of them is noted only.
    pub(crate) fn begin_moving(&mut self, starts: impl Iterator<Item = u64>) {
        self.moving.extend(starts.map(|start| (start, None)));
    }

    /// No block is being moved any more. Returns them, with what was noted of those that were freed.
    pub(crate) fn end_moving(&mut self) -> Vec<(u64, Option<Tag>)> {
        std::mem::take(&mut self.moving).into_iter().collect()
    }
}

/// A part of a block whose memory is not all at home on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// At home at the block's address.
    Own,
    /// At home elsewhere.
    Lent,
    Away,
}

impl Aliases {
    /// Whether some of a span is away.
    pub(crate) fn is_away(&self, span: Span) -> bool {
        self.resting.touching(span).next().is_some()
    }

    /// Bytes of live blocks, as requested, that take no room on the device. What was displaced may be held
    /// there. Takes time in the number of handles that are away.
    pub(crate) fn live_away(&self, space: &Space) -> u64 {
        let without = self.resting.away.iter().filter(|(_, (_, place))| *place != Place::Displaced);
        let handles = without.map(|(&start, &(size, _))| Span::new(start, size));
        let of_handle = |handle: Span| -> u64 {
            let live = space.within(handle).filter(|&slot| space[slot].is_live());
            let requested = live.filter_map(|slot| {
                let (layout, ..) = space[slot].block()?;
                Some(Span::new(space[slot].start, layout.size()))
            });
            requested.map(|block| handle.common(block).size).sum()
        };
        handles.map(of_handle).sum()
    }

    /// Whether some of a span was displaced.
    pub(crate) fn is_displaced(&self, span: Span) -> bool {
        self.resting.touching(span).any(|(_, place)| place == Place::Displaced)
    }
}

impl Memory<'_> {
    /// A block of which some memory is away, or was, or is lent, is freed.
    pub(super) fn take_apart(&mut self, slot: Slot, tag: Tag) {
        let block = self.space[slot].span();
        self.space.set_state(slot, RangeState::Claimed);
        if let Some(freed) = self.aliases.resting.moving.get_mut(&block.start) {
            *freed = Some(tag);
            return;
        }
        self.release_claimed(slot, tag);
    }

    /// Frees a claimed block, part by part.
    pub(crate) fn release_claimed(&mut self, slot: Slot, tag: Tag) {
        let block = self.space[slot].span();
        let away: Vec<(Span, Place)> = self.aliases.resting.touching(block).collect();
        // From the highest part down: what is below is claimed still, and the slot is that of the lowest.
        for (part, kind) in self.parts_of(block, &away).into_iter().rev() {
            let upper =
                if part.start > block.start { self.space.split(slot, part.start) } else { slot };
            let state = match kind {
                Part::Own => RangeState::Free(tag),
                Part::Lent | Part::Away => RangeState::Dormant(tag),
            };
            self.space.set_state(upper, state);
            if kind == Part::Lent {
                self.return_homes(part.start, |_| tag);
            }
        }
        for (handle, place) in away {
            self.leave_if_unused(handle, place);
        }
    }

    /// What a block consists of, lowest first, without gaps.
    fn parts_of(&self, block: Span, away: &[(Span, Place)]) -> Vec<(Span, Part)> {
        let clipped = |span: Span| span.common(block);
        let away = away.iter().map(|&(span, _)| (clipped(span), Part::Away));
        let lent = self.aliases.lent_in(block).map(|span| (clipped(span), Part::Lent));
        let mut known: Vec<(Span, Part)> = away.chain(lent).collect();
        known.sort_unstable_by_key(|(span, _)| span.start);
        let mut parts = Vec::with_capacity(2 * known.len() + 1);
        let mut at = block.start;
        for (span, part) in known {
            if span.start > at {
                parts.push((Span::between(at, span.start), Part::Own));
            }
            at = span.end();
            parts.push((span, part));
        }
        if at < block.end() {
            parts.push((Span::between(at, block.end()), Part::Own));
        }
        parts
    }

    /// What is away and belongs to no block any more is to go. Where nothing is mapped that is so at once.
    pub(super) fn leave_if_unused(&mut self, handle: Span, place: Place) {
        if !self.is_dormant(handle, |_| true) {
            return;
        }
        match place {
            Place::Nowhere => {
                self.aliases.resting.remove(handle);
                self.space.change(handle, RangeState::Unmapped);
            }
            Place::Host | Place::Displaced => _ = self.aliases.resting.leaving.insert(handle.start),
        }
    }

    /// Claims what is away and belongs to no block, as far as no work through its addresses is pending.
    pub(crate) fn leaving(&mut self, is_complete: impl Fn(Tag) -> bool) -> Vec<Leaving> {
        let away = |start: &u64| {
            let &(size, place) = self.aliases.resting.away.get(start)?;
            Some((Span::new(*start, size), place))
        };
        let going: Vec<(Span, Place)> =
            self.aliases.resting.leaving.iter().filter_map(away).collect();
        let mut claimed = Vec::new();
        for (span, place) in going {
            if self.is_dormant(span, &is_complete) {
                let parts = self.space.claim_span(span).into_iter().map(|(slot, _)| slot).collect();
                claimed.push(Leaving { span, place, parts, gone: false });
            }
        }
        claimed
    }

    /// The driver unmapped it, or did not.
    pub(crate) fn left(&mut self, leaving: Vec<Leaving>) {
        for Leaving { span, parts, gone, .. } in leaving {
            let state = match gone {
                true => RangeState::Unmapped,
                false => RangeState::Dormant(CLEAN),
            };
            if gone {
                self.aliases.resting.remove(span);
            }
            parts.into_iter().for_each(|slot| _ = self.space.set_state(slot, state));
        }
    }

    /// Memory that two failed calls had displaced is where it was before them.
    pub(crate) fn mended(&mut self, mended: Vec<Displaced>) {
        for Displaced { span, place, cuts } in mended {
            self.aliases.resting.remove(span);
            match place {
                Some(place) => {
                    for handle in cuts {
                        self.aliases.resting.add(handle, place);
                        self.leave_if_unused(handle, place);
                    }
                }
                None => {
                    self.aliases.cuts.add(&cuts);
                    self.wake_away(span);
                }
            }
        }
    }

    /// Addresses that were away have device memory again: what of them is in no block is free.
    pub(super) fn wake_away(&mut self, span: Span) {
        let asleep = |slot: Slot| match self.space[slot].state() {
            RangeState::Dormant(tag) => Some((self.space[slot].span(), tag)),
            _ => None,
        };
        let dormant: Vec<(Span, Tag)> = self.space.within(span).filter_map(asleep).collect();
        for (range, tag) in dormant {
            self.space.change(range.common(span), RangeState::Free(tag));
        }
    }
}
