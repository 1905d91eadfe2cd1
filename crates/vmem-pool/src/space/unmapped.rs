//! Addresses that are not mapped to memory, and those of them that are worth it.

use super::ranges::Ranges;
use super::{Need, RangeState, Slot, Space, Span, Tag};

impl Space {
    /// The unmapped bytes below `limit`. Takes `O(h)` steps for `h` unmapped ranges.
    pub(crate) fn unmapped_below(&self, limit: u64) -> u64 {
        let unmapped = self.indexes.unmapped.slots().map(|slot| self[slot]);
        unmapped.filter(|range| range.start < limit).map(|range| range.size()).sum()
    }

    /// Where in the smallest unmapped range from `from` on that holds it the need could begin; the
    /// lowest of equals. Takes `O(h)` steps for `h` unmapped ranges.
    pub(crate) fn smallest_unmapped(&self, from: u64, need: Need) -> Option<Span> {
        let unmapped = self
            .indexes
            .unmapped
            .slots()
            .map(|slot| self[slot])
            .filter(|range| range.start >= from);
        let fitting =
            unmapped.filter_map(|range| Some((range.size(), need.start_in(range.span())?)));
        fitting.min().map(|(_, at)| Span::new(at, need.size))
    }

    /// The lowest unmapped ranges from where `home` begins on, then those below it, but none from where it
    /// ends on: `size` bytes in all, or as many as there are. Takes `O(h log h)` steps for
    /// `h` unmapped ranges.
    pub(crate) fn lowest_unmapped(&self, home: Span, size: u64) -> Vec<Span> {
        let unmapped = self.indexes.unmapped.slots().map(|slot| self[slot].span());
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

    /// The stretch that fits after mapping the fewest bytes, the lowest of equals, and how many those
    /// are: an unmapped range of `home`, or granules of one, with the free neighbours whose tag is
    /// `usable`. Takes `O(h + f)` steps for `h` unmapped ranges with `f` free neighbours.
    pub(crate) fn cheapest_growth(
        &self,
        need: Need,
        granule: u64,
        home: Span,
        usable: impl Fn(Tag) -> bool,
    ) -> Option<(Span, u64)> {
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        let size = need.size.next_multiple_of(granule);
        let apart = Span::new(home.start, size);
        let is_inside = |slot: Slot| {
            let range = self[slot].span();
            range.start < apart.start && apart.end() <= range.end()
        };
        let fits = need.start_in(apart).is_some();
        let apart = (fits && self.indexes.unmapped.slots().any(is_inside)).then_some((apart, size));
        self.indexes
            .unmapped
            .slots()
            .filter(|&unmapped| self[unmapped].start < home.end())
            .flat_map(|unmapped| {
                [true, false].map(|up| self.ranges.stretch(unmapped, up, need, granule, joins))
            })
            .flatten()
            .chain(apart)
            .min_by_key(|(span, fresh)| (*fresh, span.start < home.start, span.start))
    }
}

impl Ranges {
    /// From the farthest free neighbour behind an unmapped range as far as it takes, up or down.
    fn stretch(
        &self,
        unmapped: Slot,
        up: bool,
        need: Need,
        granule: u64,
        joins: impl Fn(Slot) -> bool,
    ) -> Option<(Span, u64)> {
        let step = |slot: Slot, up: bool| if up { self[slot].next } else { self[slot].prev };
        let mut near = 0;
        let mut first = unmapped;
        while let Some(behind) = step(first, !up).filter(|&behind| joins(behind)) {
            near += self[behind].size();
            first = behind;
        }
        let Span { start, size } = self[first].span();
        let from = if up { start } else { start + size };
        let to = match up {
            true => from.checked_next_multiple_of(need.alignment)?.checked_add(need.size)?,
            false => from.checked_sub(need.size)? & !(need.alignment - 1),
        };
        // From here on addresses are told by how far they are from there.
        let to = from.abs_diff(to);
        let upto = |far: u64| Span::new(if up { from } else { from - far }, far);
        let is_unmapped = |slot: Slot| self[slot].state() == RangeState::Unmapped;
        let (mut slot, mut fresh) = (unmapped, 0);
        loop {
            let far = near + self[slot].size();
            match (far >= to, is_unmapped(slot)) {
                (true, false) => return Some((upto(far), fresh)),
                (true, true) => {
                    let part = to.saturating_sub(near).next_multiple_of(granule);
                    return Some((upto(near + part), fresh + part));
                }
                (false, true) => fresh += far - near,
                (false, false) => {}
            }
            near = far;
            slot = step(slot, up).filter(|&next| is_unmapped(next) || joins(next))?;
        }
    }
}
