//! Stretches of addresses: what is free and can be moved, and back to where.

use super::{Need, RangeState, Slot, Space, Span, Tag};

impl Space {
    /// The longest stretches of neighbouring free ranges whose tag is `usable`, in no particular
    /// order. Takes `O(f)` steps for `f` free ranges.
    pub(crate) fn free_stretches(&self, usable: impl Fn(Tag) -> bool) -> Vec<Span> {
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        let free = self.all_free();
        let firsts = free.filter(|&s| joins(s) && !self[s].prev.is_some_and(joins));
        let end = |first: Slot| {
            let mut last = first;
            while let Some(next) = self[last].next.filter(|&next| joins(next)) {
                last = next;
            }
            self[last].end()
        };
        firsts.map(|first| Span::between(self[first].start, end(first))).collect()
    }

    /// Where in the smallest unmapped range from `from` on that holds it the need could begin; the
    /// lowest of equals. Takes `O(h)` steps for `h` unmapped ranges.
    pub(crate) fn smallest_unmapped(&self, from: u64, need: Need) -> Option<Span> {
        let unmapped = self.unmapped().map(|slot| self[slot]).filter(|range| range.start >= from);
        let fitting = unmapped
            .filter_map(|range| Some((range.size(), need.start_in(range.start, range.size())?)));
        fitting.min().map(|(_, at)| Span::new(at, need.size))
    }

    /// The lowest unmapped ranges below `limit`, `size` bytes in all. Takes `O(h log h)` steps for
    /// `h` unmapped ranges.
    pub(crate) fn lowest_unmapped(&self, home: Span, size: u64) -> Vec<Span> {
        let unmapped = self.unmapped().map(|slot| self[slot].span());
        let unmapped = unmapped.filter(|span| span.start < home.end());
        let parts = unmapped.flat_map(|span| {
            let at = home.start.clamp(span.start, span.end());
            [Span::between(span.start, at), Span::between(at, span.end())]
        });
        let mut unmapped: Vec<Span> = parts.filter(|span| span.size > 0).collect();
        unmapped.sort_unstable_by_key(|span| (span.start < home.start, span.start));
        let mut missing = size;
        let mut chosen = Vec::new();
        for Span { start, size } in unmapped {
            let taken = size.min(missing);
            if taken > 0 {
                chosen.push(Span::new(start, taken));
            }
            missing -= taken;
        }
        chosen
    }

    /// The unmapped parts of a span, lowest first.
    pub(crate) fn unmapped_in(&self, span: Span) -> Vec<Span> {
        let unmapped = self.within(span).filter(|&slot| self[slot].state() == RangeState::Unmapped);
        unmapped.map(|slot| self[slot].span().common(span)).collect()
    }

    /// The unmapped bytes below `limit`. Takes `O(h)` steps for `h` unmapped ranges.
    pub(crate) fn unmapped_below(&self, limit: u64) -> u64 {
        let unmapped = self.unmapped().map(|slot| self[slot]);
        unmapped.filter(|range| range.start < limit).map(|range| range.size()).sum()
    }

    /// The ranges that a span touches, lowest first.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = Slot> {
        let next = move |slot: &Slot| self[*slot].next;
        let first = if span.size > 0 { self.covering(span.start) } else { None };
        let slots = std::iter::successors(first, next);
        slots.take_while(move |&slot| self[slot].start < span.end())
    }

    /// Whether all of a span is free with a `usable` tag.
    pub(crate) fn is_free(&self, span: Span, usable: impl Fn(Tag) -> bool) -> bool {
        let mut upto = span.start;
        for slot in self.within(span) {
            if !self[slot].tag().is_some_and(&usable) {
                return false;
            }
            upto = self[slot].end();
        }
        upto >= span.end()
    }

    /// Claims a span, none of which is live or claimed, and returns the parts, lowest first, with
    /// the state each had.
    pub(crate) fn claim_span(&mut self, span: Span) -> Vec<(Slot, RangeState)> {
        let slots: Vec<Slot> = self.within(span).collect();
        let mut parts = Vec::with_capacity(slots.len());
        for slot in slots {
            let state = self[slot].state();
            self.claim(slot);
            self.cut(slot, self[slot].span().common(span), state);
            parts.push((slot, state));
        }
        parts
    }
}
