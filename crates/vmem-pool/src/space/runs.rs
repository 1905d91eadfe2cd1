//! Neighbouring ranges that together satisfy a request.

use std::ops::DerefMut;

use super::{Fit, Need, Shard, Slot, Space, State, Tag, visits};

/// Addresses that a request could have if what lies there were joined: whole free ranges, and
/// whole granules of unmapped ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes of it that must be mapped first.
    pub(crate) fresh: u64,
}

impl<S: DerefMut<Target = Shard>> Space<S> {
    /// The smallest stretch of neighbouring free ranges that fits, the lowest of equals, using only
    /// ranges whose tag is `usable`. Takes `O(f)` steps for `f` free ranges.
    pub(crate) fn best_run(&self, need: Need, usable: impl Fn(Tag) -> bool) -> Option<Stretch> {
        // Neighbours of one lane and shard have coalesced already.
        let owners: usize = self.shards().map(Shard::owners).sum();
        if self.fit() == Fit::Bins || owners < 2 {
            return None;
        }
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        let starts =
            self.all_free().filter(|&slot| joins(slot) && !self.prev(slot).is_some_and(joins));
        let shortest = |first: Slot| self.shortest_window(first, need, joins);
        starts.filter_map(shortest).min_by_key(|run| (run.end - run.start, run.start))
    }

    /// The shortest window that fits among the neighbours from `first` on.
    fn shortest_window(
        &self,
        first: Slot,
        need: Need,
        joins: impl Fn(Slot) -> bool,
    ) -> Option<Stretch> {
        let mut best: Option<Stretch> = None;
        let mut low = first;
        let mut high = Some(first);
        while let Some(slot) = high.filter(|&slot| joins(slot)) {
            let end = self[slot].end();
            while need.place(self[low].start, end - self[low].start).is_some() {
                let window = Stretch { start: self[low].start, end, fresh: 0 };
                if best.is_none_or(|b| window.end - window.start < b.end - b.start) {
                    best = Some(window);
                }
                match self.next(low) {
                    Some(next) if low != slot => low = next,
                    _ => break,
                }
            }
            high = self.next(slot);
        }
        best
    }

    /// The stretch that fits after mapping the fewest bytes, the lowest of equals: an unmapped
    /// range below `limit`, or granules of one, with the free neighbours whose tag is `usable`. Takes
    /// `O(h + f)` steps for `h` unmapped ranges with `f` free neighbours.
    pub(crate) fn cheapest_growth(
        &self,
        need: Need,
        granule: u64,
        limit: u64,
        usable: impl Fn(Tag) -> bool,
    ) -> Option<Stretch> {
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        self.holes()
            .filter(|&hole| self[hole].start < limit)
            .flat_map(|hole| {
                [
                    self.upwards(hole, need, granule, joins),
                    self.downwards(hole, need, granule, joins),
                ]
            })
            .flatten()
            .min_by_key(|stretch| (stretch.fresh, stretch.start))
    }

    /// From the lowest free neighbour below `hole` upwards as far as it takes.
    fn upwards(
        &self,
        hole: Slot,
        need: Need,
        granule: u64,
        joins: impl Fn(Slot) -> bool,
    ) -> Option<Stretch> {
        let mut low = hole;
        while let Some(prev) = self.prev(low).filter(|&prev| joins(prev)) {
            low = prev;
        }
        let start = self[low].start;
        let end = start.checked_next_multiple_of(need.alignment)?.checked_add(need.size)?;
        let mut fresh = 0;
        let mut slot = hole;
        loop {
            let range = self[slot];
            if range.state() != State::Hole {
                if range.end() >= end {
                    return Some(Stretch { start, end: range.end(), fresh });
                }
            } else if range.end() >= end {
                let part = end.saturating_sub(range.start).next_multiple_of(granule);
                let end = range.start + part;
                return Some(Stretch { start, end, fresh: fresh + part });
            } else {
                fresh += range.size;
            }
            slot =
                self.next(slot).filter(|&next| self[next].state() == State::Hole || joins(next))?;
        }
    }

    /// From the highest free neighbour above `hole` downwards as far as it takes.
    fn downwards(
        &self,
        hole: Slot,
        need: Need,
        granule: u64,
        joins: impl Fn(Slot) -> bool,
    ) -> Option<Stretch> {
        let mut high = hole;
        while let Some(next) = self.next(high).filter(|&next| joins(next)) {
            high = next;
        }
        let end = self[high].end();
        let start = end.checked_sub(need.size)? & !(need.alignment - 1);
        let mut fresh = 0;
        let mut slot = hole;
        loop {
            let range = self[slot];
            if range.state() != State::Hole {
                if range.start <= start {
                    return Some(Stretch { start: range.start, end, fresh });
                }
            } else if range.start <= start {
                let part = range.end().saturating_sub(start).next_multiple_of(granule);
                let start = range.end() - part;
                return Some(Stretch { start, end, fresh: fresh + part });
            } else {
                fresh += range.size;
            }
            slot =
                self.prev(slot).filter(|&prev| self[prev].state() == State::Hole || joins(prev))?;
        }
    }

    /// Free ranges that have no neighbours: segments without anything live. As slot, start and size.
    pub(crate) fn whole_segments(&self) -> impl Iterator<Item = (Slot, u64, u64)> {
        let alone = |r: &super::Range| r.prev.is_none() && r.next.is_none() && r.tag().is_some();
        self.iter()
            .inspect(|_| visits::note())
            .filter(move |(_, r)| alone(r))
            .map(|(slot, r)| (slot, r.start, r.size))
    }
}
