//! Neighbouring ranges that together satisfy a request.

use super::{Fit, Need, Range, RangeState, Slot, Space, Span, Tag};

impl Space {
    /// The smallest stretch of neighbouring free ranges that fits, the lowest of equals, using only
    /// ranges whose tag is `usable`. Takes `O(f)` steps for `f` free ranges.
    pub(crate) fn best_run(&self, need: Need, usable: impl Fn(Tag) -> bool) -> Option<Span> {
        // Neighbours of one lane have coalesced already.
        if self.fit == Fit::Bins || self.owners() < 2 {
            return None;
        }
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        let starts =
            self.all_free().filter(|&slot| joins(slot) && !self[slot].prev.is_some_and(joins));
        let shortest = |first: Slot| self.shortest_window(first, need, joins);
        starts.filter_map(shortest).min_by_key(|run| (run.size, run.start))
    }

    /// The shortest window that fits among the neighbours from `first` on.
    fn shortest_window(
        &self,
        first: Slot,
        need: Need,
        joins: impl Fn(Slot) -> bool,
    ) -> Option<Span> {
        let mut best: Option<Span> = None;
        let mut low = first;
        let mut high = Some(first);
        while let Some(slot) = high.filter(|&slot| joins(slot)) {
            let end = self[slot].end();
            while need.start_in(self[low].start, end - self[low].start).is_some() {
                let window = Span::between(self[low].start, end);
                if best.is_none_or(|best| window.size < best.size) {
                    best = Some(window);
                }
                match self[low].next {
                    Some(next) if low != slot => low = next,
                    _ => break,
                }
            }
            high = self[slot].next;
        }
        best
    }

    /// The stretch that fits after mapping the fewest bytes, the lowest of equals, and how many those
    /// are: an unmapped range below `limit`, or granules of one, with the free neighbours whose tag is
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
        let fits = need.start_in(apart.start, size).is_some();
        let apart = (fits && self.unmapped().any(is_inside)).then_some((apart, size));
        self.unmapped()
            .filter(|&unmapped| self[unmapped].start < home.end())
            .flat_map(|unmapped| {
                [Direction::Up, Direction::Down]
                    .map(|direction| self.stretch(unmapped, direction, need, granule, joins))
            })
            .flatten()
            .chain(apart)
            .min_by_key(|(span, fresh)| (*fresh, span.start < home.start, span.start))
    }

    /// From the farthest free neighbour behind an unmapped range in this direction as far as it takes.
    fn stretch(
        &self,
        unmapped: Slot,
        direction: Direction,
        need: Need,
        granule: u64,
        joins: impl Fn(Slot) -> bool,
    ) -> Option<(Span, u64)> {
        let step = |slot: Slot, way: Direction| match way {
            Direction::Up => self[slot].next,
            Direction::Down => self[slot].prev,
        };
        let mut first = unmapped;
        while let Some(behind) = step(first, direction.opposite()).filter(|&behind| joins(behind)) {
            first = behind;
        }
        let (from, _) = direction.ends(&self[first]);
        let to = match direction {
            Direction::Up => {
                from.checked_next_multiple_of(need.alignment)?.checked_add(need.size)?
            }
            Direction::Down => from.checked_sub(need.size)? & !(need.alignment - 1),
        };
        let is_unmapped = |slot: Slot| self[slot].state() == RangeState::Unmapped;
        let (mut slot, mut fresh) = (unmapped, 0);
        loop {
            let (near, far) = direction.ends(&self[slot]);
            let reaches = match direction {
                Direction::Up => far >= to,
                Direction::Down => far <= to,
            };
            match (reaches, is_unmapped(slot)) {
                (true, false) => return Some((direction.span(from, far), fresh)),
                (true, true) => {
                    let part = direction.distance(near, to).next_multiple_of(granule);
                    let end = match direction {
                        Direction::Up => near + part,
                        Direction::Down => near - part,
                    };
                    return Some((direction.span(from, end), fresh + part));
                }
                (false, true) => fresh += self[slot].size(),
                (false, false) => {}
            }
            slot = step(slot, direction).filter(|&next| is_unmapped(next) || joins(next))?;
        }
    }
}

/// Which way a stretch goes from where it begins.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// Where a range begins and ends on the way.
    fn ends(self, range: &Range) -> (u64, u64) {
        match self {
            Self::Up => (range.start, range.end()),
            Self::Down => (range.end(), range.start),
        }
    }

    /// How far it is to `to`, which may lie behind.
    fn distance(self, from: u64, to: u64) -> u64 {
        match self {
            Self::Up => to.saturating_sub(from),
            Self::Down => from.saturating_sub(to),
        }
    }

    fn span(self, from: u64, to: u64) -> Span {
        match self {
            Self::Up => Span::between(from, to),
            Self::Down => Span::between(to, from),
        }
    }
}
