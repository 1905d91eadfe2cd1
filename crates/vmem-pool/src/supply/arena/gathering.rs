//! Free memory for one request, from wherever it is: whole handles, and what is free of others in part.

use std::cmp::Reverse;

use super::{Ask, Supply, VirtualArena};
use crate::space::{Need, Span};
use crate::supply::cuts::{Cuts, Place};

/// Memory is short once so many sixteenths of what there may be are held.
const SHORT: u64 = 7;

/// Memory for a request from several places: the upper end of one handle, whole handles, then what is
/// missing, then the lower end of one handle.
pub(super) struct Gathered {
    pub(super) first: Option<Span>,
    pub(super) whole: Vec<Span>,
    /// Bytes of new memory, whole granules.
    pub(super) missing: u64,
    pub(super) last: Option<Span>,
}

impl Gathered {
    /// New memory, then memory that could have served any request: what was free of whole handles.
    fn cost(&self, whole: &[Span]) -> (u64, u64) {
        let broken = self.last.and_then(|last| whole.iter().find(|it| it.start == last.start));
        (self.missing, self.whole.iter().chain(broken).map(|handle| handle.size).sum())
    }
}

impl VirtualArena {
    /// Where the request's memory could come from: what is ready if that suffices, otherwise also what is to
    /// be waited for. Upper ends of handles, if they may be used at all, are where memory is short.
    pub(super) fn gatherable(&self, ask: &Ask<'_>, upper_ends: bool) -> Gathered {
        let both_ends = upper_ends && !ask.own && self.is_short(ask);
        let ready = self.choose(ask, &ask.memory.space.free_stretches(ask.ready), both_ends);
        if ready.missing == 0 {
            return ready;
        }
        self.choose(ask, &ask.memory.space.free_stretches(ask.usable), both_ends)
    }

    /// Whether memory is short: most of what there may be is held, or no more was to be had. Then what is
    /// free of handles in part counts, which is otherwise not worth another driver call.
    fn is_short(&self, ask: &Ask<'_>) -> bool {
        ask.refused || self.held() > ask.limit.min(self.most()) / 16 * SHORT
    }

    /// With the upper end of a handle as well where that spares whole handles.
    fn choose(&self, ask: &Ask<'_>, stretches: &[Span], both_ends: bool) -> Gathered {
        let cuts = &ask.memory.aliases.cuts;
        let whole = whole_handles(cuts, stretches);
        let ends = |end: fn(&Cuts, Span) -> Option<Span>| -> Vec<Span> {
            stretches.iter().filter_map(|&stretch| end(cuts, stretch)).collect()
        };
        let lower_ends = ends(Cuts::lower_end);
        let plain = self.with_a_lower_end(ask, &whole, lower_ends.clone());
        if !both_ends || ask.need.alignment > self.granule {
            return plain;
        }
        let upper_ends = ends(Cuts::upper_end);
        match with_both_ends(ask.need, self.granule, &upper_ends, &whole, lower_ends) {
            Some(both) if both.cost(&whole) <= plain.cost(&whole) => both,
            _ => plain,
        }
    }

    /// Whole handles, and the lower end of one more, which may be a whole one that is larger than what is
    /// missing.
    fn with_a_lower_end(&self, ask: &Ask<'_>, handles: &[Span], ends: Vec<Span>) -> Gathered {
        let mut ends = ends;
        let mut missing = ask.need.size;
        let mut whole = Vec::new();
        for &handle in handles {
            if handle.size <= missing {
                missing -= handle.size;
                whole.push(handle);
            } else {
                ends.push(handle);
            }
        }
        if missing == 0 {
            return Gathered { first: None, whole, missing, last: None };
        }
        if ask.own {
            // What it shares with others is to be a granule at most.
            let is_small = |(it, _): (Span, Place)| it.size <= self.granule;
            ends.retain(|end| ask.memory.aliases.cuts.at(end.start).is_some_and(is_small));
        }
        // The smallest end that is enough, or else the largest if that spares a granule.
        let enough =
            ends.iter().filter(|end| end.size >= missing).min_by_key(|end| (end.size, end.start));
        let most = || ends.iter().max_by_key(|end| (end.size, Reverse(end.start)));
        let fresh = |end: &Span| missing.saturating_sub(end.size).next_multiple_of(self.granule);
        let all = missing.next_multiple_of(self.granule);
        let last = enough.or_else(most).filter(|end| fresh(end) < all.min(missing));
        let fresh = last.map_or(all, fresh);
        let last = last.map(|end| Span::new(end.start, missing - fresh));
        Gathered { first: None, whole, missing: fresh, last }
    }
}

/// Whole handles in stretches. Those of the largest order of magnitude first, because each costs a driver
/// call, and of those the ones in the shortest stretches, so that long ones stay whole.
fn whole_handles(cuts: &Cuts, stretches: &[Span]) -> Vec<Span> {
    let whole = |stretch: &Span| {
        let size = stretch.size;
        cuts.whole(*stretch).map(move |handle| (size, handle))
    };
    let mut handles: Vec<(u64, Span)> = stretches.iter().flat_map(whole).collect();
    handles.sort_unstable_by_key(|&(stretch, Span { start, size })| {
        (Reverse(size.ilog2()), stretch, Reverse(start))
    });
    handles.into_iter().map(|(_, handle)| handle).collect()
}

/// As few whole handles as do between the upper end of one and the lower end of another, and of such ends
/// the two that leave the least. The request's alignment is no more than a granule.
fn with_both_ends(
    need: Need,
    granule: u64,
    upper_ends: &[Span],
    handles: &[Span],
    mut lower_ends: Vec<Span>,
) -> Option<Gathered> {
    // The request begins in the upper end, at a multiple of its alignment below the end of that.
    let usable = |upper: &Span| upper.size / need.alignment * need.alignment;
    lower_ends.sort_unstable_by_key(|end| (end.size, end.start));
    let lower = lower_ends.last().map_or(0, |end| end.size);
    let ends = upper_ends.iter().map(usable).max()? + lower;
    let mut rest = need.size;
    let mut whole = Vec::new();
    for &handle in handles {
        if rest > ends && handle.size <= rest {
            rest -= handle.size;
            whole.push(handle);
        }
    }
    let missing = rest.saturating_sub(ends).next_multiple_of(granule);
    let rest = rest.checked_sub(missing).filter(|&rest| rest > 0)?;
    let beside = |upper: Span| {
        let usable = usable(&upper);
        let index = lower_ends.partition_point(|end| usable + end.size < rest);
        let lower = if usable < rest { Some(*lower_ends.get(index)?) } else { None };
        let in_lower = lower.map_or(0, |end| end.size);
        let in_upper = rest.checked_sub(in_lower)?.next_multiple_of(need.alignment);
        if in_upper == 0 || in_upper > usable.min(rest) {
            return None;
        }
        let first = Span::between(upper.end() - in_upper, upper.end());
        let last = lower.map(|end| Span::new(end.start, rest - in_upper));
        Some((upper.size + in_lower, first, last.filter(|last| last.size > 0)))
    };
    let pairs = upper_ends.iter().filter_map(|&upper| beside(upper));
    let (_, first, last) = pairs.min_by_key(|&(size, first, _)| (size, first.start))?;
    Some(Gathered { first: Some(first), whole, missing, last })
}
