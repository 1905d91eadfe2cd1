//! Free memory by whole granules: what can be moved, and back to where.

use super::{Need, RangeState, Slot, Space, Tag};

impl Space {
    /// The longest stretches of neighbouring free ranges whose tag is `usable`, as start and end, in
    /// no particular order. Takes `O(f)` steps for `f` free ranges.
    pub(crate) fn free_stretches(&self, usable: impl Fn(Tag) -> bool) -> Vec<(u64, u64)> {
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
        firsts.map(|first| (self[first].start, end(first))).collect()
    }

    /// The whole granules in those stretches, as start and end: the shortest first, the lowest of
    /// equals.
    pub(crate) fn free_granules(
        &self,
        granule: u64,
        usable: impl Fn(Tag) -> bool,
    ) -> Vec<(u64, u64)> {
        let whole = |(start, end)| whole_granules(start, end, granule);
        let mut whole: Vec<_> = self.free_stretches(usable).into_iter().filter_map(whole).collect();
        whole.sort_unstable_by_key(|&(start, end)| (end - start, start));
        whole
    }

    /// Where in the smallest unmapped range from `from` on that holds them `size` bytes could begin;
    /// the lowest of equals. Takes `O(h)` steps for `h` unmapped ranges.
    pub(crate) fn smallest_unmapped(&self, from: u64, size: u64, alignment: u64) -> Option<u64> {
        let need = Need { size, alignment };
        let unmapped = self.unmapped().map(|slot| self[slot]).filter(|range| range.start >= from);
        let fitting = unmapped
            .filter_map(|range| Some((range.size(), need.start_in(range.start, range.size())?)));
        fitting.min().map(|(_, at)| at)
    }

    /// The lowest unmapped ranges below `limit`, `size` bytes in all, as start and size. Takes
    /// `O(h log h)` steps for `h` unmapped ranges.
    pub(crate) fn lowest_unmapped(&self, limit: u64, size: u64) -> Vec<(u64, u64)> {
        let unmapped = self.unmapped().map(|slot| self[slot].extent());
        let mut unmapped: Vec<_> = unmapped.filter(|&(start, _)| start < limit).collect();
        unmapped.sort_unstable();
        let mut missing = size;
        let mut chosen = Vec::new();
        for (start, size) in unmapped {
            let taken = size.min(missing);
            if taken > 0 {
                chosen.push((start, taken));
            }
            missing -= taken;
        }
        chosen
    }

    /// The ranges that `start..end` touches, lowest first.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = Slot> {
        let next = move |slot: &Slot| self[*slot].next;
        let first = if start < end { self.covering(start) } else { None };
        let slots = std::iter::successors(first, next);
        slots.take_while(move |&slot| self[slot].start < end)
    }

    /// Whether all of `start..end` is free with a `usable` tag.
    pub(crate) fn is_free(&self, start: u64, end: u64, usable: impl Fn(Tag) -> bool) -> bool {
        let mut upto = start;
        for slot in self.within(start, end) {
            if !self[slot].tag().is_some_and(&usable) {
                return false;
            }
            upto = self[slot].end();
        }
        upto >= end
    }

    /// Claims `start..end`, none of which is live or claimed, and returns the parts, lowest first,
    /// with the state each had.
    pub(crate) fn claim_between(&mut self, start: u64, end: u64) -> Vec<(Slot, RangeState)> {
        let slots: Vec<Slot> = self.within(start, end).collect();
        let mut parts = Vec::with_capacity(slots.len());
        for slot in slots {
            let state = self[slot].state();
            self.claim(slot);
            let range = self[slot];
            let (at, upto) = (range.start.max(start), range.end().min(end));
            self.cut(slot, at, upto - at, state);
            parts.push((slot, state));
        }
        parts
    }
}

/// The whole granules in `start..end`.
pub(crate) fn whole_granules(start: u64, end: u64, granule: u64) -> Option<(u64, u64)> {
    let (start, end) = (start.checked_next_multiple_of(granule)?, end - end % granule);
    (start < end).then_some((start, end))
}
