//! A pool's memory: its ranges of addresses, and what is mapped at them. What a supply plans is applied
//! here. Bookkeeping only: it makes no driver call.

use super::aliases::{Alias, Aliases, Hidden};
use super::cuts::{Cuts, Place};
use super::{Miss, Plan, Return, Way};
use crate::space::{CLEAN, Need, RangeState, Slot, Space, Span, StreamIx, Tag};

/// A pool's ranges, and what is mapped at them elsewhere or not at all.
pub(crate) struct Memory<'a> {
    pub(crate) space: &'a mut Space,
    pub(crate) aliases: &'a mut Aliases,
}

impl Memory<'_> {
    /// Claims what a plan concerns.
    pub(crate) fn begin(&mut self, plan: &mut Plan) {
        if let (Way::Resumption, Some(alias)) = (plan.way, plan.alias) {
            self.aliases.take(alias.start);
        }
        plan.claim = self.space.claim_spans(&plan.homes, plan.alias);
    }

    /// A plan was carried out: returns the claimed range that is the request's. What is left of the
    /// memory at home is free with the tag `rest`. What is used elsewhere is at home again on its lender's
    /// lane, which its tag tells, once it is free.
    pub(crate) fn finish(
        &mut self,
        plan: Plan,
        need: Need,
        rest: Tag,
        lender: impl Fn(Tag) -> Option<StreamIx>,
    ) -> Slot {
        let Plan { way, claim, mut homes, alias, begin, fresh, .. } = plan;
        self.aliases.cuts.add(&fresh.handles, Place::Device);
        let Some(alias) = alias else {
            return match fresh.handles.first() {
                // A chunk has addresses of its own.
                Some(&chunk) if homes.is_empty() => {
                    self.space.finish_with(claim, chunk, need, rest)
                }
                _ => self.space.finish(claim, need, rest),
            };
        };
        let slot = self.space.lend(claim, lender);
        if let Way::Move(_) = way {
            // Of new memory what is more than the request needs is free.
            let more = homes.iter().map(|home| home.size).sum::<u64>() - need.size;
            if let Some(last) = homes.last_mut() {
                last.size -= more;
                self.space.wake(Span::new(last.end(), more), |_| CLEAN);
            }
            self.space.cut(slot, Span::new(begin, need.size), RangeState::Dormant(CLEAN));
            self.aliases.add(alias, begin, homes);
        }
        slot
    }

    /// A plan was not carried out, or not all of it: puts everything back.
    pub(crate) fn give_up(&mut self, plan: Plan) {
        let Plan { way, claim, homes, alias, begin, fresh, left } = plan;
        self.aliases.cuts.add(&fresh.handles, Place::Device);
        self.space.give_up(claim);
        match (way, alias, left) {
            (Way::Resumption, Some(alias), _) => self.aliases.put(alias.start),
            (Way::Move(_), Some(_), Some(left)) => {
                // The driver did not take these mappings back. The memory behind them stays.
                self.aliases.add_broken(begin, &homes, left);
                self.space.change(left, RangeState::Dormant(CLEAN));
                for home in fresh.spans {
                    self.space.change(home, RangeState::Free(CLEAN));
                }
            }
            _ => {}
        }
    }

    /// Claims free memory that goes back, and the aliases that show it.
    pub(crate) fn begin_return(&mut self, memory: Vec<Span>) -> Return {
        for &span in &memory {
            self.space.claim_span(span);
        }
        let aliases = self.hide_showing(&memory, None);
        Return { memory, ..Return::of_aliases(aliases) }
    }

    /// Notes what of a return is gone; the rest is free again. Chunks go with their addresses.
    pub(crate) fn note_gone(&mut self, going: Return) {
        let Return { memory, aliases, mut gone, .. } = going;
        aliases.into_iter().for_each(|alias| self.hidden(alias));
        for run in memory {
            let Some(slot) = self.space.covering(run.start) else { continue };
            let left = gone.min(run.size);
            gone -= left;
            self.aliases.cuts.remove(Span::new(run.start, left));
            if left < run.size {
                let rest = match left {
                    0 => slot,
                    _ => self.space.split(slot, run.start + left),
                };
                self.space.set_state(rest, RangeState::Free(CLEAN));
            }
            if left > 0 && self.aliases.are_possible() {
                self.space.set_state(slot, RangeState::Unmapped);
            } else if left > 0 {
                self.space.remove_segment(slot);
            }
        }
    }

    /// Whether an alias for a request would find addresses, whatever handles it shows, of which it needs
    /// little of so many.
    pub(crate) fn has_addresses(&self, need: Need, granule: u64, ends: u64) -> bool {
        let more = (ends * self.aliases.cuts.largest()).saturating_sub(granule);
        let size = need.size.next_multiple_of(granule) + more;
        self.addresses(Need { size, ..need }).is_some()
    }

    /// How many bytes could be gathered of these stretches.
    pub(crate) fn most_gathered(&self, stretches: &[Span]) -> u64 {
        let cuts = &self.aliases.cuts;
        let most = |end: fn(&Cuts, Span) -> Option<Span>| {
            let ends = stretches.iter().filter_map(|&stretch| end(cuts, stretch));
            ends.map(|end| end.size).max().unwrap_or(0)
        };
        most(Cuts::upper_end) + most(Cuts::lower_end) + cuts.in_whole(stretches)
    }

    /// Addresses for an alias.
    pub(crate) fn addresses(&self, need: Need) -> Option<Span> {
        self.space.smallest_unmapped(self.aliases.from(), need)
    }

    /// Plans with an alias that is mapped already and that nothing uses, whose memory is free at home, all
    /// of it with a tag that is no obstacle by `allowed`, and of which no more than so many bytes are in a
    /// handle that others may use as well. Such a plan takes no driver call.
    ///
    /// # Errors
    /// [`Miss::Addresses`] if there is none.
    pub(crate) fn resume(
        &self,
        need: Need,
        shared: u64,
        allowed: &dyn Fn(Tag) -> bool,
    ) -> Result<Plan, Miss> {
        let oldest = self.aliases.oldest(need, shared, |home| self.space.is_free(home, allowed));
        let (alias, homes) = oldest.ok_or(Miss::Addresses)?;
        Ok(Plan { alias: Some(alias), ..Plan::new(Way::Resumption, homes.to_vec()) })
    }

    /// A block is freed whose memory may not be at home at its address: it is free where it is at home, at
    /// once, with the tag that `free` says by the lane that lent it. What is not all of an alias's is the
    /// freeing lane's.
    pub(crate) fn take_back(&mut self, slot: Slot, tag: Tag, free: impl FnMut(StreamIx) -> Tag) {
        let block = self.space[slot].span();
        let lent = self.aliases.at(block.start).is_some_and(|alias| alias.size == block.size);
        if self.space[slot].is_resting() || !lent {
            return self.take_apart(slot, tag);
        }
        self.return_homes(block.start, free);
        self.space.set_state(slot, RangeState::Dormant(tag));
    }

    /// Nothing uses the alias at `start` any more: its memory is free at home.
    pub(super) fn return_homes(&mut self, start: u64, mut free: impl FnMut(StreamIx) -> Tag) {
        self.aliases.put(start);
        if let Some(alias) = self.aliases.at(start) {
            alias.homes.iter().for_each(|&home| self.space.wake(home, &mut free));
        }
    }

    /// Begins to unmap the alias at `start`, unless it is in use or work through it may be pending.
    pub(crate) fn hide(&mut self, start: u64, is_complete: impl Fn(Tag) -> bool) -> Option<Hidden> {
        let span = self.aliases.at(start)?.span;
        if self.is_dormant(span, is_complete) { self.begin_to_hide(start) } else { None }
    }

    /// Whether nothing uses a span in which no memory is at home, and no work through it is pending.
    pub(super) fn is_dormant(&self, span: Span, is_complete: impl Fn(Tag) -> bool) -> bool {
        self.space
            .within(span)
            .all(|slot| self.space[slot].state().dormant().is_some_and(&is_complete))
    }

    /// Begins to unmap all aliases that show some of this memory, for a caller that has claimed it and
    /// knows that no work is pending on it: whoever used it last was ordered after every earlier use,
    /// through whatever alias. But for the one at an address, which a block uses.
    pub(crate) fn hide_showing(&mut self, memory: &[Span], kept: Option<u64>) -> Vec<Hidden> {
        let mut showing = self.aliases.showing(memory);
        showing.retain(|&start| Some(start) != kept);
        showing.into_iter().filter_map(|start| self.begin_to_hide(start)).collect()
    }

    fn begin_to_hide(&mut self, start: u64) -> Option<Hidden> {
        // Nobody may be given an alias that is being unmapped.
        self.aliases.take(start);
        let Alias { span, homes, .. } = self.aliases.at(start)?.clone();
        self.space.claim_span(span);
        Some(Hidden { span, start, homes, unmapped: None })
    }

    /// The driver unmapped some of an alias, or all of it, or was not asked.
    pub(super) fn hidden(&mut self, alias: Hidden) {
        let Hidden { span, start, homes, unmapped } = alias;
        let done = span.start + unmapped.unwrap_or(0);
        let parts: Vec<Slot> = self.space.within(span).collect();
        for slot in parts {
            let Span { start, size } = self.space[slot].span();
            let unmapped = done.saturating_sub(start).min(size);
            if unmapped > 0 {
                self.space.cut(slot, Span::new(start, unmapped), RangeState::Dormant(CLEAN));
                self.space.set_state(slot, RangeState::Unmapped);
            } else {
                self.space.set_state(slot, RangeState::Dormant(CLEAN));
            }
        }
        if unmapped.is_none() {
            self.aliases.put(start);
            return;
        }
        self.aliases.remove(start);
        if done < span.end() {
            self.aliases.add_broken(start, &homes, Span::between(done, span.end()));
        }
    }
}
