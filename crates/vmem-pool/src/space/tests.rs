//! Placement against brute force.

use proptest::prelude::*;
use vmem_core::{BlockLayout, Label};

use super::{CLEAN, Fit, GRAIN, MOST, Need, RangeState, Slot, Space, Span, StreamIx, Tag};

const BASE: u64 = 1 << 32;
const HOME: Span = Span::between(BASE, 1 << 40);
const GRANULE: u64 = 16 * GRAIN;

fn tag(lane: u32) -> Tag {
    Tag { lane: StreamIx(lane), epoch: 1 }
}

fn need(grains: u64) -> Need {
    Need { size: grains * GRAIN, alignment: GRAIN }
}

fn space_with(segment_grains: u64, state: RangeState) -> Space {
    let mut space = Space::new(Fit::Best);
    space.add_segment(Span::new(BASE, segment_grains * GRAIN), state);
    space
}

fn take(space: &mut Space, lane: u32, need: Need) -> Option<Slot> {
    let slot = space.best_fit(StreamIx(lane), need)?;
    let range = space[slot];
    space.claim(slot);
    let at = need.start_in(range.span()).unwrap();
    space.cut(slot, Span::new(at, need.size), RangeState::Free(tag(lane)));
    space.set_state(slot, RangeState::Live);
    Some(slot)
}

#[derive(Debug, Clone)]
enum Op {
    Take {
        lane: u32,
        grains: u64,
        alignment_log2: u32,
    },
    /// As a hit does.
    Hit {
        lane: u32,
        grains: u64,
        alignment_log2: u32,
    },
    Free {
        which: usize,
        lane: u32,
    },
    /// As a free does that needs no more than the lock.
    FreeAtHand {
        which: usize,
        lane: u32,
    },
    /// Looks whether all is as it should be, for which every free range is listed.
    Check,
    Relabel {
        lane: u32,
        to: u32,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_u32, 1..40_u64, 8..14_u32)
            .prop_map(|(lane, grains, alignment_log2)| Op::Take { lane, grains, alignment_log2 }),
        8 => (0..3_u32, 1..40_u64, prop_oneof![4 => Just(8_u32), 1 => 9..14_u32])
            .prop_map(|(lane, grains, alignment_log2)| Op::Hit { lane, grains, alignment_log2 }),
        4 => (any::<usize>(), 0..3_u32).prop_map(|(which, lane)| Op::Free { which, lane }),
        8 => (any::<usize>(), 0..3_u32).prop_map(|(which, lane)| Op::FreeAtHand { which, lane }),
        4 => Just(Op::Check),
        1 => (0..3_u32, 0..3_u32).prop_map(|(lane, to)| Op::Relabel { lane, to }),
    ]
}

proptest! {
    #[test]
    fn any_program_keeps_the_ranges_consistent_and_takes_the_best_fit(
        ops in prop::collection::vec(op(), 1..120)
    ) {
        let mut space = space_with(1000, RangeState::Free(tag(0)));
        let mut live: Vec<(Slot, u64, u64)> = Vec::new();
        for op in ops {
            match op {
                Op::Take { lane, grains, alignment_log2 }
                | Op::Hit { lane, grains, alignment_log2 } => {
                    let need = Need { size: grains * GRAIN, alignment: 1 << alignment_log2 };
                    let best = brute_force(&space, lane, need);
                    let expected = best.and_then(|start| start.checked_next_multiple_of(need.alignment));
                    let found = match op {
                        Op::Hit { .. } => space.take_best(StreamIx(lane), need),
                        _ => {
                            space.list();
                            take(&mut space, lane, need)
                        }
                    };
                    prop_assert_eq!(found.map(|slot| space[slot].start), expected);
                    if let Some(slot) = found {
                        let range = space[slot];
                        prop_assert_eq!(range.size(), need.size);
                        let overlaps = live.iter().any(|&(_, start, size)| {
                            start < range.end() && range.start < start + size
                        });
                        prop_assert!(!overlaps);
                        if range.state() == RangeState::Claimed {
                            let layout = BlockLayout::new(need.size).unwrap();
                            space.ranges.begin_block(slot, layout, Label::NONE, StreamIx(lane));
                        }
                        live.push((slot, range.start, range.size()));
                    }
                }
                Op::FreeAtHand { which, lane } if !live.is_empty() => {
                    let (slot, start, size) = live.swap_remove(which % live.len());
                    prop_assert_eq!((space[slot].start, space[slot].size()), (start, size));
                    space.free(slot, tag(lane));
                }
                Op::Free { which, lane } if !live.is_empty() => {
                    let (slot, start, size) = live.swap_remove(which % live.len());
                    prop_assert_eq!((space[slot].start, space[slot].size()), (start, size));
                    space.set_state(slot, RangeState::Free(tag(lane)));
                }
                Op::Free { .. } | Op::FreeAtHand { .. } => {}
                Op::Check => {
                    space.list();
                    space.check();
                }
                Op::Relabel { lane, to } => {
                    space.list();
                    let slots: Vec<Slot> = space.indexes.free_of(StreamIx(lane)).filter(|_| lane != to).collect();
                    for slot in slots {
                        space.claim(slot);
                        space.set_state(slot, RangeState::Free(tag(to)));
                    }
                }
            }
        }
        for (slot, ..) in live {
            space.set_state(slot, RangeState::Free(tag(0)));
        }
        space.list();
        space.check();
        let free: Vec<Slot> = (0..3).flat_map(|lane| space.indexes.free_of(StreamIx(lane))).collect();
        free.iter().for_each(|&slot| space.claim(slot));
        let mut parts: Vec<(Slot, RangeState)> =
            space.ranges.iter().map(|(slot, range)| (slot, range.state())).collect();
        parts.sort_by_key(|&(slot, _)| space[slot].start);
        let whole = space.ranges.join_claimed(&parts);
        space.check();
        prop_assert_eq!(space.ranges.iter().count(), 1);
        space.set_state(whole, RangeState::Free(tag(0)));
        space.check();
        let all: u64 = space.free_stretches(|_| true).iter().map(|span| span.size).sum();
        prop_assert_eq!(all, 1000 * GRAIN);
        prop_assert_eq!(space.free_stretches(|_| true).len(), 1);
    }

    #[test]
    fn a_run_is_the_shortest_window_of_usable_neighbours(
        sizes in prop::collection::vec((1..6_u64, 0..4_u32), 1..30), wanted in 1..20_u64
    ) {
        // Lane 3 stands for live ranges: it is not usable.
        let space = split(&sizes);
        space.check();
        let usable = |tag: Tag| tag.lane.0 != 3;
        let found = space.best_run(need(wanted), usable);
        let mut best: Option<(u64, u64)> = None;
        let ranges = sorted(&space);
        for i in 0..ranges.len() {
            for j in i..ranges.len() {
                if !ranges[i..=j].iter().all(|r| r.tag().is_some_and(usable)) {
                    break;
                }
                let (start, end) = (ranges[i].start, ranges[j].end());
                let better = best.is_none_or(|(s, e)| (end - start, start) < (e - s, s));
                if end - start >= wanted * GRAIN && better {
                    best = Some((start, end));
                }
            }
        }
        // With one lane there is nothing to join.
        let lanes: std::collections::HashSet<u32> = sizes.iter().map(|(_, lane)| *lane).collect();
        let best = best.filter(|_| lanes.len() > 1);
        prop_assert_eq!(found.map(|run| (run.start, run.end())), best);
    }

    #[test]
    fn growth_maps_no_more_than_it_must_and_its_claim_can_be_undone(
        parts in prop::collection::vec((1..4_u64, 0..4_u32), 1..20), wanted in 1..200_u64
    ) {
        let mut space = granules(&parts);
        space.check();
        let before = sorted(&space).iter().map(|r| (r.span(), r.state())).collect::<Vec<_>>();
        let Some((stretch, missing)) = space.cheapest_growth(need(wanted), GRANULE, HOME, |tag| tag.lane.0 == 0) else {
            return Ok(());
        };
        prop_assert!(stretch.size >= wanted * GRAIN);
        let claim = space.claim_span(stretch);
        space.check();
        let fresh: u64 = claim
            .iter()
            .filter(|(_, state)| *state == RangeState::Unmapped)
            .map(|&(slot, _)| space[slot].size())
            .sum();
        prop_assert_eq!(fresh, missing);
        prop_assert!(fresh <= (wanted * GRAIN).next_multiple_of(GRANULE));
        for (slot, state) in claim {
            space.set_state(slot, state);
        }
        space.check();
        let after = sorted(&space).iter().map(|r| (r.span(), r.state())).collect::<Vec<_>>();
        prop_assert_eq!(before, after);
    }
}

/// The start of the smallest range that fits, found by looking at all of them.
fn brute_force(space: &Space, lane: u32, need: Need) -> Option<u64> {
    let fits = |range: &super::Range| {
        range.tag().is_some_and(|tag| tag.lane.0 == lane) && need.start_in(range.span()).is_some()
    };
    let ranges = space.ranges.iter().map(|(_, range)| range).filter(|range| fits(range));
    ranges.map(|range| (range.size(), range.start)).min().map(|(_, start)| start)
}

fn sorted(space: &Space) -> Vec<super::Range> {
    let mut ranges: Vec<_> = space.ranges.iter().map(|(_, range)| *range).collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

/// A segment cut into free ranges of these sizes (in grains) and lanes.
fn split(sizes: &[(u64, u32)]) -> Space {
    let total = sizes.iter().map(|(grains, _)| grains).sum();
    let mut space = space_with(total, RangeState::Claimed);
    fill(&mut space, sizes, GRAIN, |lane| RangeState::Free(tag(lane)));
    space
}

/// A segment of granules: lane 0 free, 1 unmapped, 2 and 3 live.
fn granules(parts: &[(u64, u32)]) -> Space {
    let total: u64 = parts.iter().map(|(granules, _)| granules * 16).sum();
    let mut space = space_with(total, RangeState::Claimed);
    fill(&mut space, parts, GRANULE, |kind| match kind {
        0 => RangeState::Free(tag(0)),
        1 => RangeState::Unmapped,
        _ => RangeState::Live,
    });
    space
}

fn fill(space: &mut Space, parts: &[(u64, u32)], unit: u64, state: impl Fn(u32) -> RangeState) {
    let mut rest = space.ranges.iter().next().map(|(slot, _)| slot);
    for (i, &(units, kind)) in parts.iter().enumerate() {
        let slot = rest.unwrap();
        rest = (i + 1 < parts.len()).then(|| {
            let at = space[slot].start + units * unit;
            space.ranges.split(slot, at)
        });
        space.set_state(slot, state(kind));
    }
}

#[test]
fn equal_fits_go_to_the_lowest_address() {
    let mut space = split(&[(4, 0), (1, 3), (4, 0), (1, 3), (3, 0)]);
    let lowest = take(&mut space, 0, need(4)).unwrap();
    assert_eq!(space[lowest].start, BASE);
}

#[test]
fn lanes_stay_apart_and_join_within_themselves() {
    let space = split(&[(2, 0), (2, 0), (2, 1), (2, 0)]);
    assert_eq!(space.indexes.largest_of(StreamIx(0)), 4 * GRAIN);
    assert_eq!(space.indexes.largest_of(StreamIx(1)), 2 * GRAIN);
}

#[test]
fn a_tail_is_extended_rather_than_left_behind() {
    let mut space = granules(&[(1, 2), (1, 0), (8, 1)]);
    let found = space.cheapest_growth(need(20), GRANULE, HOME, |_| true);
    let stretch = Span::new(BASE + GRANULE, 2 * GRANULE);
    assert_eq!(found, Some((stretch, GRANULE)));
    let parts = space.claim_span(stretch);
    let whole = space.ranges.join_claimed(&parts);
    space.set_state(whole, RangeState::Free(tag(0)));
    space.check();
}

#[test]
fn an_address_finds_only_the_live_range_that_starts_there() {
    let mut space = space_with(100_000, RangeState::Free(tag(0)));
    let slots: Vec<Slot> = (0..300).map(|_| take(&mut space, 0, need(100)).unwrap()).collect();
    for &slot in &slots {
        let start = space[slot].start;
        assert_eq!(space.ranges.find(start), Some(slot));
        assert_eq!(space.ranges.find(start + GRAIN), None);
    }
    space.set_state(slots[7], RangeState::Free(tag(0)));
    assert_eq!(space.ranges.find(BASE + 700 * GRAIN), None);
    assert_eq!(space.ranges.find(BASE - GRAIN), None);
    assert_eq!(space.ranges.find(BASE + 100_000 * GRAIN), None);
}

#[test]
fn a_look_at_lanes_says_that_it_was_cut_short() {
    let space_of = |lanes: &[u32]| {
        let parts: Vec<(u64, u32)> = lanes.iter().map(|&lane| (2, lane)).collect();
        split(&parts)
    };
    assert_eq!(
        space_of(&[1, 2, 3]).lanes_that_fit(need(2), 3),
        ([1, 2, 3].map(StreamIx).to_vec(), true)
    );
    assert!(space_of(&[1, 2, 3]).lanes_that_fit(need(2), 2).1);
    assert_eq!(
        space_of(&[1, 2]).lanes_that_fit(need(2), usize::MAX),
        ([1, 2].map(StreamIx).to_vec(), false)
    );
}

#[test]
fn what_is_joined_has_the_latest_epoch_of_its_parts() {
    let lane = StreamIx(0);
    for epochs in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0]] {
            let mut space = space_with(3, RangeState::Free(tag(0)));
            let slots = [(); 3].map(|()| {
                let slot = space.take_best(lane, need(1)).unwrap();
                space.ranges.begin_block(slot, BlockLayout::new(GRAIN).unwrap(), Label::NONE, lane);
                slot
            });
            for part in order {
                space.free(slots[part], Tag { lane, epoch: epochs[part] });
            }
            space.list();
            let whole = space.best_fit(lane, need(3)).unwrap();
            assert_eq!(space[whole].tag(), Some(Tag { lane, epoch: 3 }), "{epochs:?} {order:?}");
        }
    }
}

#[test]
fn a_request_of_as_much_as_a_range_can_have_is_served_and_one_of_more_is_refused() {
    let most = Need { size: MOST, alignment: GRAIN };
    // In 32 bits its grains are one.
    let beyond = Need { size: MOST + 3 * GRAIN, ..most };
    let mut own = space_with(MOST / GRAIN, RangeState::Free(tag(1)));
    assert_eq!(own.take_best(StreamIx(1), beyond), None);
    let all = own.take_best(StreamIx(1), most).unwrap();
    assert_eq!(own[all].size(), MOST);
    let mut clean = space_with(MOST / GRAIN, RangeState::Free(CLEAN));
    assert_eq!(clean.take_clean(beyond, tag(1)), None);
    let all = clean.take_clean(most, tag(1)).unwrap();
    assert_eq!(clean[all].size(), MOST);
}

#[test]
fn addresses_that_two_lanes_used_last_stay_apart_and_those_of_one_join_under_the_latest_use() {
    let dormant = |lanes: [(u32, u64); 2]| {
        let mut space = space_with(4, RangeState::Claimed);
        let lower = space.ranges.iter().next().map(|(slot, _)| slot).unwrap();
        let upper = space.ranges.split(lower, BASE + 2 * GRAIN);
        for (slot, (lane, epoch)) in [lower, upper].into_iter().zip(lanes) {
            space.set_state(slot, RangeState::Dormant(Tag { lane: StreamIx(lane), epoch }));
        }
        space.check();
        let tags = sorted(&space).into_iter().filter_map(|range| range.state().dormant());
        tags.map(|tag| (tag.lane.0, tag.epoch)).collect::<Vec<_>>()
    };
    assert_eq!(dormant([(1, 7), (2, 5)]), [(1, 7), (2, 5)]);
    assert_eq!(dormant([(1, 7), (1, 5)]), [(1, 7)]);
    assert_eq!(dormant([(1, 5), (1, 7)]), [(1, 7)]);
}
