//! Which requests a pool cannot refuse, told from what lies in it.

use std::time::Duration;

use vmem_core::BlockLayout;
use vmem_pool::{RangeState, Segment, Snapshot};

use super::shape::{Source, StackShape, Upstream};

/// Sizes are rounded up to this, in bytes.
const GRAIN: u64 = 256;

/// Whether the pool must serve such a block, whatever else it is asked for: an arena out of whole
/// granules that are free, wherever they are, and what the ceiling leaves; chunks out of one free
/// stretch, bins out of a free block of the same power of two, and both out of a new chunk that the
/// ceiling leaves once all pending frees are complete and every chunk that nobody uses was returned.
///
/// The device has more memory than the highest ceiling. Without a ceiling its memory is what is left
/// to take, where that is known, and the budget says what must be served besides.
pub(super) fn has_room(shape: &StackShape, snapshot: &Snapshot, layout: BlockLayout) -> bool {
    let size = layout.rounded_to(GRAIN);
    let reserved = snapshot.counters.reserved;
    let allowed = |granule| shape.most().map_or(0, |most| most - most % granule);
    // The host waits until no work touches what is free, unless it may not wait at all.
    let seen = if shape.host_wait != Some(Duration::ZERO) { Reuse::Waits } else { Reuse::Complete };
    let stretches_of = |reuse| {
        let segments = snapshot.segments.iter();
        segments.flat_map(move |segment| stretches(segment, reuse))
    };
    let new_chunk = |size| {
        let unused: u64 =
            snapshot.segments.iter().filter_map(|segment| unused_chunk(segment, seen)).sum();
        reserved - unused + size <= allowed(GRAIN)
    };
    match shape.source {
        Source::Arena => {
            let granule = shape.granularity;
            let granules = stretches_of(Reuse::Waits).map(|(start, end)| {
                (end / granule).saturating_sub(start.div_ceil(granule)) * granule
            });
            let left = allowed(granule).saturating_sub(reserved);
            layout.alignment() <= granule
                && granules.sum::<u64>() + left >= size.next_multiple_of(granule)
        }
        Source::Chunks(upstream) => {
            let reuse = match upstream {
                Upstream::Pinned | Upstream::Managed => seen,
                Upstream::Device | Upstream::Async | Upstream::Arena => Reuse::Waits,
            };
            let fits = stretches_of(reuse).any(|(start, end)| {
                start.next_multiple_of(layout.alignment()).saturating_add(size) <= end
            });
            fits || new_chunk(size)
        }
        Source::Bins => {
            let size = size.next_power_of_two();
            let fits = stretches_of(Reuse::Waits).any(|(start, end)| {
                end - start == size && start.is_multiple_of(layout.alignment())
            });
            fits || new_chunk(size)
        }
    }
}

/// The largest request that the pool must serve when nothing is live and no work is pending.
pub(super) fn most_when_idle(shape: &StackShape) -> u64 {
    let Some(ceiling) = shape.ceiling else { return shape.budget() };
    match shape.source {
        Source::Arena => ceiling - ceiling % shape.granularity,
        Source::Chunks(_) => ceiling - ceiling % GRAIN,
        Source::Bins => 1 << ceiling.ilog2(),
    }
}

/// The size of a chunk that is wholly free.
fn unused_chunk(segment: &Segment, reuse: Reuse) -> Option<u64> {
    let free = segment.ranges.iter().all(|range| is_free(range.state, reuse));
    free.then_some(segment.size)
}

/// Which free memory counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// Also such that must be waited for.
    Waits,
    /// Only such that no work touches.
    Complete,
}

fn is_free(state: RangeState, reuse: Reuse) -> bool {
    match state {
        RangeState::Free => true,
        RangeState::Pending => reuse == Reuse::Waits,
        _ => false,
    }
}

/// The free stretches of a segment, as start and end.
fn stretches(segment: &Segment, reuse: Reuse) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for range in &segment.ranges {
        let (start, end) = (range.start.get(), range.start.get() + range.size);
        let free = is_free(range.state, reuse);
        match all.last_mut() {
            Some(last) if free && last.1 == start => last.1 = end,
            _ if free => all.push((start, end)),
            _ => {}
        }
    }
    all
}
