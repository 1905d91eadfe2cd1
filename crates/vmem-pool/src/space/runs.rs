//! Free neighbours of several lanes, which together may satisfy a request.

use super::ranges::Ranges;
use super::{Fit, Need, Slot, Space, Span, Tag};

impl Space {
    /// The longest stretches of neighbouring free ranges whose tag is `usable`, in no particular
    /// order. Takes `O(f)` steps for `f` free ranges.
    pub(crate) fn free_stretches(&self, usable: impl Fn(Tag) -> bool) -> Vec<Span> {
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        let free = self.indexes.all_free();
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

    /// The smallest stretch of neighbouring free ranges that fits, the lowest of equals, using only
    /// ranges whose tag is `usable`. Takes `O(f)` steps for `f` free ranges.
    pub(crate) fn best_run(&self, need: Need, usable: impl Fn(Tag) -> bool) -> Option<Span> {
        // Neighbours of one lane have coalesced already.
        if self.fit == Fit::Bins || self.indexes.owners() < 2 {
            return None;
        }
        let joins = |slot: Slot| self[slot].tag().is_some_and(&usable);
        let starts = self
            .indexes
            .all_free()
            .filter(|&slot| joins(slot) && !self[slot].prev.is_some_and(joins));
        let shortest = |first: Slot| self.ranges.shortest_window(first, need, joins);
        starts.filter_map(shortest).min_by_key(|run| (run.size, run.start))
    }
}

impl Ranges {
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
            while need.start_in(Span::between(self[low].start, end)).is_some() {
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
}
