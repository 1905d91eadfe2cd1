//! Ranges taken out for one request while the lock is not held.

use super::{CLEAN, Need, RangeState, Slot, Space, Span, StreamIx, Tag};

/// Ranges with the state that each must get back if the claim is given up.
#[derive(Debug, Default)]
#[must_use = "a claim is finished or given up"]
pub(crate) struct Claim {
    /// Where the memory is. Neighbours, lowest first, unless it is to be lent to an alias.
    parts: Vec<(Slot, RangeState)>,
    /// Addresses at which the memory is to be used.
    alias: Vec<(Slot, RangeState)>,
    /// The stream that gets it was made to wait for a last use of it.
    pub(crate) waited: bool,
}

impl Claim {
    /// The tags of the free parts.
    pub(crate) fn free_tags(&self) -> impl Iterator<Item = Tag> {
        self.parts.iter().filter_map(|(_, state)| state.tag())
    }

    /// The tags of the free parts, one per lane: the latest.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        let mut tags: Vec<Tag> = Vec::new();
        for tag in self.free_tags() {
            match tags.iter_mut().find(|t| t.lane == tag.lane) {
                Some(known) => known.epoch = known.epoch.max(tag.epoch),
                None => tags.push(tag),
            }
        }
        tags
    }
}

impl Space {
    /// Claims one free range.
    pub(crate) fn claim_one(&mut self, slot: Slot) -> Claim {
        self.claims += 1;
        let parts = vec![(slot, self[slot].state())];
        self.claim(slot);
        Claim { parts, ..Claim::default() }
    }

    /// Claims memory in these spans, none of which is live or claimed, and addresses at which it is to be
    /// used if that is not where it is.
    pub(crate) fn claim_spans(&mut self, memory: &[Span], alias: Option<Span>) -> Claim {
        self.claims += 1;
        let parts = memory.iter().flat_map(|&span| self.claim_span(span)).collect();
        let alias = alias.map_or_else(Vec::new, |span| self.claim_span(span));
        Claim { parts, alias, ..Claim::default() }
    }

    /// Claims a span, none of which is live or claimed, and returns the parts, lowest first, with
    /// the state each had.
    pub(crate) fn claim_span(&mut self, span: Span) -> Vec<(Slot, RangeState)> {
        let slots: Vec<Slot> = self.ranges.within(span).collect();
        let mut parts = Vec::with_capacity(slots.len());
        for slot in slots {
            let state = self[slot].state();
            self.claim(slot);
            self.cut(slot, self[slot].span().common(span), state);
            parts.push((slot, state));
        }
        parts
    }

    /// Gives all of a span, none of which is live or claimed, another state.
    pub(crate) fn change(&mut self, span: Span, state: RangeState) {
        for (slot, _) in self.claim_span(span) {
            self.set_state(slot, state);
        }
    }

    /// What is dormant in a span is free again, with a tag made of the one it had.
    pub(crate) fn wake(&mut self, span: Span, mut tag: impl FnMut(Tag) -> Tag) {
        let dormant = |slot: Slot| Some((slot, self[slot].state().dormant()?));
        let dormant: Vec<(Slot, Tag)> = self.ranges.within(span).filter_map(dormant).collect();
        for (slot, home) in dormant {
            self.claim(slot);
            self.cut(slot, self[slot].span().common(span), RangeState::Dormant(home));
            self.set_state(slot, RangeState::Free(tag(home)));
        }
    }

    /// Gives every part the state that it is to have, by where it is and the state it had.
    pub(crate) fn end_claim(
        &mut self,
        claim: Claim,
        state: impl Fn(Span, RangeState) -> RangeState,
    ) {
        self.note_claim_ended();
        for (slot, before) in claim.parts.into_iter().chain(claim.alias) {
            let now = state(self[slot].span(), before);
            self.set_state(slot, now);
        }
    }

    /// Joins the parts, or takes the addresses that came with the memory of a claim, and keeps what the request
    /// needs claimed; the rest is free with this tag.
    pub(crate) fn finish(
        &mut self,
        claim: Claim,
        segment: Option<Span>,
        need: Need,
        rest: Tag,
    ) -> Slot {
        self.note_claim_ended();
        let whole = match segment {
            Some(segment) => {
                debug_assert!(claim.parts.is_empty() && claim.alias.is_empty());
                self.add_segment(segment, RangeState::Claimed)
            }
            None => self.ranges.join_claimed(&claim.parts),
        };
        let at = need.start_in(self[whole].span()).expect("a claimed range fits its request");
        self.cut(whole, Span::new(at, need.size), RangeState::Free(rest));
        whole
    }

    /// Lends the memory of a claim to its alias, which stays claimed and is returned. Which lane lends a
    /// part, by the tag it had: none, unless `lender` says so.
    pub(crate) fn lend(&mut self, claim: Claim, lender: impl Fn(Tag) -> Option<StreamIx>) -> Slot {
        self.note_claim_ended();
        for (slot, before) in claim.parts {
            let lane = before.tag().and_then(&lender).unwrap_or(CLEAN.lane);
            // Work at home is pending no longer than work at the alias will be.
            self.set_state(slot, RangeState::Dormant(Tag { lane, ..CLEAN }));
        }
        self.ranges.join_claimed(&claim.alias)
    }

    /// What was claimed and is not kept is there for others again.
    fn note_claim_ended(&mut self) {
        self.claims -= 1;
        self.claims_ended += 1;
    }
}
