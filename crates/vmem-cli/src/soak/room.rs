//! Which requests a pool cannot refuse, told from what lies in it.

use vmem_core::BlockLayout;
use vmem_pool::{RangeState, Segment, Snapshot};

use super::shape::{Source, StackShape, Upstream};

/// Sizes are rounded up to this, in bytes.
const GRAIN: u64 = 256;

/// Whether the pool has room for such a block for certain, without taking more memory: an arena in
/// whole granules that are free, wherever they are; chunks in one free stretch.
pub(super) fn has_room(shape: &StackShape, snapshot: &Snapshot, layout: BlockLayout) -> bool {
    let size = layout.rounded_to(GRAIN);
    match shape.source {
        Source::Arena => {
            let granule = shape.granularity;
            let free =
                snapshot.segments.iter().flat_map(|segment| stretches(segment, Reuse::Waits));
            let granules = free.map(|(start, end)| {
                (end / granule).saturating_sub(start.div_ceil(granule)) * granule
            });
            layout.alignment() <= granule && granules.sum::<u64>() >= size.next_multiple_of(granule)
        }
        Source::Chunks(upstream) => {
            let reuse = match upstream {
                Upstream::Pinned | Upstream::Managed => Reuse::Complete,
                Upstream::Device | Upstream::Async | Upstream::Arena => Reuse::Waits,
            };
            let mut free = snapshot.segments.iter().flat_map(|segment| stretches(segment, reuse));
            free.any(|(start, end)| {
                start.next_multiple_of(layout.alignment()).saturating_add(size) <= end
            })
        }
        // A block is reused only for its own size: another rule.
        Source::Bins => false,
    }
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
