//! Free ranges of one lane that a request fits into.

use super::index::class_of;
use super::{GRAIN, MOST, Need, Slot, Space, StreamIx};

/// Which ranges a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The smallest that is large enough.
    Best,
    /// Only one of exactly its size.
    Bins,
}

impl Space {
    /// The smallest free range of `lane` that fits, the lowest one of equals. Takes `O(log n)`
    /// steps for alignments up to [`GRAIN`]; above, it may have to pass over ranges that are large
    /// enough but misaligned.
    #[inline]
    pub(crate) fn best_fit(&self, lane: StreamIx, need: Need) -> Option<Slot> {
        let index = self.indexes.of(lane).filter(|_| need.size <= MOST)?;
        let best = index.best(need.grains())?;
        if self.fit == Fit::Bins && self[best].size() != need.size {
            return None;
        }
        if need.alignment == GRAIN || need.start_in(self[best].span()).is_some() {
            return Some(best);
        }
        self.fits(lane, need).next()
    }

    /// All free ranges of `lane` that fit, smallest and lowest first.
    pub(crate) fn fits(&self, lane: StreamIx, need: Need) -> impl Iterator<Item = Slot> {
        let index = self.indexes.of(lane).filter(|_| need.size <= MOST);
        let large = index.into_iter().flat_map(move |index| index.at_least(need.grains()));
        let allowed = large.take_while(move |&slot| match self.fit {
            Fit::Best => true,
            Fit::Bins => self[slot].size() == need.size,
        });
        allowed.filter(move |&slot| need.start_in(self[slot].span()).is_some())
    }

    /// Lanes that have a free range which fits: `limit` of those whose best fit is smallest, or all if
    /// there are no more. In the order of their numbers. The second part says whether the limit was
    /// reached, so that there may be more.
    pub(crate) fn lanes_that_fit(&mut self, need: Need, limit: usize) -> (Vec<StreamIx>, bool) {
        let mut lanes = Vec::new();
        if need.size > MOST {
            return (lanes, false);
        }
        let mut next = self.indexes.owners.next_class(class_of(need.grains()));
        while let Some(class) = next.filter(|_| lanes.len() < limit) {
            let mut at = 0;
            while lanes.len() < limit
                && let Some(lane) = self.indexes.owners.next_in(class, at, &mut self.indexes.lanes)
            {
                at += 1;
                let lane = StreamIx::at(lane);
                let best = self.best_fit(lane, need);
                if best.is_some_and(|slot| class_of(self[slot].grains()) == class) {
                    lanes.push(lane);
                }
            }
            let exact = self.fit == Fit::Bins;
            next = if exact { None } else { self.indexes.owners.next_class(class + 1) };
        }
        let cut_short = lanes.len() >= limit;
        lanes.sort_unstable();
        (lanes, cut_short)
    }
}
