//! Which requests a pool cannot refuse, told from what lies in it.

use vmem_core::BlockLayout;
use vmem_pool::{RangeState, Segment, Snapshot};

use super::shape::{Source, StackShape, Upstream};

/// Sizes are rounded up to this, in bytes.
const GRAIN: u64 = 256;

/// Whether the pool must serve such a block, whatever else it is asked for: an arena out of whole
/// granules that are free, wherever they are, and what the ceiling leaves; chunks out of one free
/// stretch, bins out of a free block of the same power of two, and both out of a new chunk that the
/// ceiling leaves once what is unused was returned.
///
/// The device has more memory than the highest ceiling. Without a ceiling the budget says what must
/// be served.
pub(super) fn has_room(shape: &StackShape, snapshot: &Snapshot, layout: BlockLayout) -> bool {
    let size = layout.rounded_to(GRAIN);
    let reserved = snapshot.counters.reserved;
    let allowed = |granule| shape.ceiling.map_or(0, |ceiling| ceiling - ceiling % granule);
    let new_chunk = |size| {
        let unused: u64 = snapshot.segments.iter().filter_map(unused_chunk).sum();
        reserved - unused + size <= allowed(GRAIN)
    };
    match shape.source {
        Source::Arena => {
            let granule = shape.granularity;
            let free =
                snapshot.segments.iter().flat_map(|segment| stretches(segment, Reuse::Waits));
            let granules = free.map(|(start, end)| {
                (end / granule).saturating_sub(start.div_ceil(granule)) * granule
            });
            let left = allowed(granule).saturating_sub(reserved);
            layout.alignment() <= granule
                && granules.sum::<u64>() + left >= size.next_multiple_of(granule)
        }
        Source::Chunks(upstream) => {
            let reuse = match upstream {
                Upstream::Pinned | Upstream::Managed => Reuse::Complete,
                Upstream::Device | Upstream::Async | Upstream::Arena => Reuse::Waits,
            };
            let mut free = snapshot.segments.iter().flat_map(|segment| stretches(segment, reuse));
            let fits = free.any(|(start, end)| {
                start.next_multiple_of(layout.alignment()).saturating_add(size) <= end
            });
            fits || new_chunk(size)
        }
        Source::Bins => {
            let size = size.next_power_of_two();
            let mut free =
                snapshot.segments.iter().flat_map(|segment| stretches(segment, Reuse::Waits));
            let fits = free.any(|(start, end)| {
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

/// The size of a chunk that is wholly free and that no work touches.
fn unused_chunk(segment: &Segment) -> Option<u64> {
    let free = segment.ranges.iter().all(|range| range.state == RangeState::Free);
    free.then_some(segment.size)
}

/// Which free memory may be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// Also such that a stream must wait for on the device.
    Waits,
    /// Only such that no work touches: the host may be the next to touch it.
    Complete,
}

/// The free stretches of a segment, as start and end.
fn stretches(segment: &Segment, reuse: Reuse) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for range in &segment.ranges {
        let (start, end) = (range.start.get(), range.start.get() + range.size);
        let free = match range.state {
            RangeState::Free => true,
            RangeState::Pending => reuse == Reuse::Waits,
            _ => false,
        };
        match all.last_mut() {
            Some(last) if free && last.1 == start => last.1 = end,
            _ if free => all.push((start, end)),
            _ => {}
        }
    }
    all
}
