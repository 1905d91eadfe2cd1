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
        let last = enough.or_else(most).filter(|end| fresh(end) < all);
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
    let rest = rest.checked_sub(missing)?;
    let beside = |upper: Span| {
        let usable = usable(&upper);
        let index = lower_ends.partition_point(|end| usable + end.size < rest);
        let lower = if usable < rest { Some(*lower_ends.get(index)?) } else { None };
        let in_lower = lower.map_or(0, |end| end.size);
        let in_upper = rest.checked_sub(in_lower)?.next_multiple_of(need.alignment);
        if in_upper == 0 || in_upper > rest {
            return None;
        }
        let first = Span::between(upper.end() - in_upper, upper.end());
        let last = lower.map(|end| Span::new(end.start, rest - in_upper));
        Some((upper.size + in_lower, first, last))
    };
    let pairs = upper_ends.iter().filter_map(|&upper| beside(upper));
    let (_, first, last) = pairs.min_by_key(|&(size, first, _)| (size, first.start))?;
    Some(Gathered { first: Some(first), whole, missing, last })
}

#[cfg(test)]
mod tests {
    use vmem_sim::{SimConfig, SimDevice};

    use super::*;
    use crate::space::{Fit, GRAIN, Space, StreamIx, Tag};
    use crate::supply::{Aliases, Memory};

    /// Half a granule.
    const H: u64 = 32 << 10;

    const fn span(from: u64, upto: u64) -> Span {
        Span::between(from * H, upto * H)
    }

    /// A request for so many halves of a granule.
    const fn need(halves: u64) -> Need {
        Need { size: halves * H, alignment: GRAIN }
    }

    /// What a request is given of handles of which a part is free, or all.
    fn gathered(
        handles: &[(Span, Span)],
        need: Need,
        own: bool,
        both_ends: bool,
    ) -> (Option<Span>, Vec<Span>, u64, Option<Span>) {
        let config = SimConfig { capacity: 64 * H, granularity: 2 * H, ..SimConfig::default() };
        let arena = VirtualArena::new(SimDevice::with_config(config).unwrap()).unwrap();
        let (mut space, mut aliases) = (Space::new(Fit::Best), Aliases::new(1 << 40));
        handles.iter().for_each(|&(handle, _)| aliases.cuts.add(&[handle], Place::Device));
        let stretches: Vec<Span> = handles.iter().map(|&(_, free)| free).collect();
        let memory = Memory { space: &mut space, aliases: &mut aliases };
        let any = |_: Tag| true;
        let (lane, limit, room, refused) = (StreamIx(1), u64::MAX, u64::MAX, false);
        let ask = Ask { memory, need, lane, own, limit, room, refused, ready: &any, usable: &any };
        let Gathered { first, whole, missing, last } = arena.choose(&ask, &stretches, both_ends);
        (first, whole, missing, last)
    }

    /// Half of a handle of one granule each: its upper end, and its lower.
    const UPPER: (Span, Span) = (span(0, 2), span(1, 2));
    const LOWER: (Span, Span) = (span(4, 6), span(4, 5));

    const fn whole(handle: Span) -> (Span, Span) {
        (handle, handle)
    }

    #[test]
    fn an_upper_end_is_used_where_that_spares_whole_handles_and_takes_no_new_memory() {
        let (large, small) = (whole(span(10, 16)), whole(span(20, 22)));
        let all = [UPPER, LOWER, large, small];
        let both = (Some(UPPER.1), vec![small.0], 0, Some(LOWER.1));
        assert_eq!(gathered(&all, need(4), false, true), both);
        let plain = (None, vec![small.0], 0, Some(span(10, 12)));
        assert_eq!(gathered(&all, need(4), false, false), plain);
        let plain = (None, vec![], 0, Some(span(10, 14)));
        assert_eq!(gathered(&[UPPER, LOWER, large], need(4), false, true), plain);
    }

    #[test]
    fn between_two_ends_are_as_few_whole_handles_as_do() {
        let [a, b, c] = [20, 30, 40].map(|at| whole(span(at, at + 2)));
        let both = (Some(UPPER.1), vec![c.0], 0, Some(LOWER.1));
        assert_eq!(gathered(&[UPPER, LOWER, a, b, c], need(4), false, true), both);
        let none = (Some(UPPER.1), vec![], 0, Some(LOWER.1));
        assert_eq!(gathered(&[UPPER, LOWER, a], need(2), false, true), none);
    }

    #[test]
    fn of_both_ends_those_are_used_that_leave_the_least() {
        let upper = |at: u64, free: u64| (span(at, at + 4), span(at + 4 - free, at + 4));
        let lower = |at: u64, free: u64| (span(at, at + 6), span(at, at + free));
        let [one, two, three] = [(30, 1), (20, 2), (10, 3)].map(|(at, free)| upper(at, free));
        let lowers = [(50, 1), (60, 2), (70, 3), (80, 4)].map(|(at, free)| lower(at, free));
        let of = |handles: &[(Span, Span)], halves| {
            let (first, whole, missing, last) = gathered(handles, need(halves), false, true);
            assert_eq!((whole, missing), (vec![], 0));
            (first, last)
        };
        let [l1, l2, l3, l4] = lowers;
        assert_eq!(of(&[one, l1, l2, l3], 3), (Some(one.1), Some(l2.1)));
        assert_eq!(of(&[one, l1], 1), (Some(one.1), None));
        assert_eq!(of(&[three, one, l2, l3], 4), (Some(one.1), Some(l3.1)));
        assert_eq!(of(&[two, one, l3, l4], 5), (Some(two.1), Some(l3.1)), "the lower of equals");
        assert_eq!(of(&[one, l2], 2), (None, Some(l2.1)), "nothing is left for the upper end");
    }

    #[test]
    fn a_request_of_a_larger_alignment_than_a_granule_begins_in_no_upper_end() {
        let upper = (span(10, 16), span(12, 16));
        let of = |granules: u64| {
            let need = Need { alignment: granules * 2 * H, ..need(5) };
            gathered(&[upper, LOWER], need, false, true)
        };
        assert_eq!(of(1), (Some(upper.1), vec![], 0, Some(LOWER.1)));
        assert_eq!(of(2), (None, vec![], 4 * H, Some(LOWER.1)));
        // Nor where it would end below the upper end's end.
        let aligned = Need { alignment: 2 * H, ..need(3) };
        assert_eq!(gathered(&[upper], aligned, false, true), (None, vec![], 4 * H, None));
    }

    #[test]
    fn a_lower_end_is_used_where_that_spares_a_granule() {
        assert_eq!(gathered(&[LOWER], need(3), false, false), (None, vec![], 2 * H, Some(LOWER.1)));
        assert_eq!(gathered(&[LOWER], need(4), false, false), (None, vec![], 4 * H, None));
    }

    #[test]
    fn a_block_that_may_rest_shares_no_handle_of_several_granules() {
        let of_two = (span(10, 14), span(10, 12));
        let of = |handle, own| gathered(&[handle], need(1), own, false);
        assert_eq!(of(LOWER, true), (None, vec![], 0, Some(LOWER.1)));
        assert_eq!(of(of_two, true), (None, vec![], 2 * H, None));
        assert_eq!(of(of_two, false), (None, vec![], 0, Some(span(10, 11))));
    }
}
