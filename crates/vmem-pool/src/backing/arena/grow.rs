//! Mapping more memory, beside free neighbours where that saves some.

use super::VirtualArena;
use crate::backing::{GrowthFailure, Sealed};
use crate::core::{Core, Obstacle};
use crate::ladder::Climb;
use crate::lanes::Access;
use crate::space::{GRAIN, Need, Slot, Tag};

/// Whose free memory may be joined with newly mapped memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbours {
    /// What must be waited for, too.
    Any,
    /// Only what the lane may use at once.
    Ready,
}

enum Failure {
    /// A neighbour could not be ordered after its last use.
    Neighbour,
    Growth(GrowthFailure),
}

pub(super) fn grow(core: &Core<VirtualArena>, climb: &Climb<'_>) -> Result<Slot, GrowthFailure> {
    let needed = climb.need.size;
    let reserved = core.lock().counters.reserved;
    let policy = core.config.growth.unwrap_or_else(|| core.backing.default_growth());
    let room = core.ceiling.saturating_sub(reserved);
    let target = policy.target(needed, reserved, room) / GRAIN * GRAIN;
    match grow_by(core, climb, target, Neighbours::Any) {
        Ok(slot) => Ok(slot),
        Err(Failure::Growth(GrowthFailure::Fault(error))) => Err(GrowthFailure::Fault(error)),
        Err(Failure::Growth(failure)) if target == needed => Err(failure),
        Err(Failure::Growth(_)) => match grow_by(core, climb, needed, Neighbours::Any) {
            Err(Failure::Neighbour) => last(grow_by(core, climb, needed, Neighbours::Ready)),
            attempt => last(attempt),
        },
        Err(Failure::Neighbour) => last(grow_by(core, climb, needed, Neighbours::Ready)),
    }
}

fn last(attempt: Result<Slot, Failure>) -> Result<Slot, GrowthFailure> {
    attempt.map_err(|failure| match failure {
        Failure::Growth(failure) => failure,
        Failure::Neighbour => GrowthFailure::Refused("a neighbour is in use".into()),
    })
}

/// Maps until `target` bytes, free neighbours included, lie together, and cuts the request out.
fn grow_by(
    core: &Core<VirtualArena>,
    climb: &Climb<'_>,
    target: u64,
    neighbours: Neighbours,
) -> Result<Slot, Failure> {
    let mapping = &core.backing.mapping;
    let mut state = core.lock();
    let lanes = &state.lanes;
    let usable = |tag: Tag| match neighbours {
        Neighbours::Any => climb.may_use(lanes, tag),
        Neighbours::Ready => matches!(lanes.access(tag, climb.lane), Access::Now),
    };
    let wanted = Need { size: target, ..climb.need };
    let Some(stretch) = state.space.cheapest_growth(wanted, mapping.granule(), usable) else {
        let spent = "no stretch of the address range is long enough";
        return Err(Failure::Growth(GrowthFailure::Refused(spent.into())));
    };
    // Spare memory is reserved already.
    let fresh = stretch.fresh.saturating_sub(mapping.spare());
    if fresh > core.ceiling.saturating_sub(state.counters.reserved) {
        return Err(Failure::Growth(GrowthFailure::Ceiling));
    }
    let claim = state.claim_stretch(stretch);
    let holes: Vec<(u64, u64)> = claim.holes().map(|slot| state.space[slot].extent()).collect();
    drop(state);

    let outcome = core.order_after(&claim, climb.lane, climb.request.stream).and_then(|waited| {
        map_all(core, &holes)?;
        Ok(waited)
    });
    let mut state = core.lock();
    state.set_reserved(mapping.held());
    match outcome {
        Ok(waited) => Ok(state.finish(claim, climb.lane, climb.need, waited)),
        Err(obstacle) => {
            state.give_up(claim);
            Err(match obstacle {
                Obstacle::Unavailable(_) => Failure::Neighbour,
                Obstacle::Fault(error) if error.is_out_of_memory() => {
                    Failure::Growth(GrowthFailure::Refused(error.into()))
                }
                Obstacle::Fault(error) => Failure::Growth(GrowthFailure::Fault(error.into())),
            })
        }
    }
}

/// Maps all of several unmapped ranges, or none.
fn map_all(core: &Core<VirtualArena>, holes: &[(u64, u64)]) -> Result<(), Obstacle> {
    let mapping = &core.backing.mapping;
    for (i, &(start, size)) in holes.iter().enumerate() {
        if let Err(error) = mapping.map(start, size) {
            for &(start, size) in &holes[..i] {
                let _ = mapping.unmap(start, size);
            }
            return Err(error.into());
        }
    }
    Ok(())
}
