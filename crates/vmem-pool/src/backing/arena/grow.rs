//! Mapping new memory at home, beside free neighbours where that saves some.

use super::VirtualArena;
use crate::backing::{GrowthFailure, Sealed};
use crate::engine::{Core, Obstacle, State};
use crate::ladder::Climb;
use crate::space::{GRAIN, Need, RangeState, Slot};

/// Maps as much as the growth policy has it, or what is needed if that is refused.
pub(super) fn grow(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
) -> Result<Slot, GrowthFailure> {
    let needed = climb.need.size;
    let reserved = core.lock().counters.reserved;
    let policy = core.config.growth.unwrap_or_else(|| core.backing.default_growth());
    let room = core.ceiling.saturating_sub(reserved);
    let target = policy.target(needed, reserved, room) / GRAIN * GRAIN;
    match grow_by(core, climb, target) {
        Err(GrowthFailure::Ceiling | GrowthFailure::Refused(_)) if target > needed => {
            grow_by(core, climb, needed)
        }
        grown => grown,
    }
}

/// Maps until `size` bytes, free neighbours included, lie together, and cuts the request out. A
/// lane that cannot be waited for now is done without.
fn grow_by(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
    size: u64,
) -> Result<Slot, GrowthFailure> {
    loop {
        match try_grow(core, climb, size)? {
            Ok(slot) => return Ok(slot),
            Err(obstacle) => climb.pass_by(obstacle)?,
        }
    }
}

fn try_grow(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
    size: u64,
) -> Result<Result<Slot, Obstacle>, GrowthFailure> {
    let mapping = &core.backing.mapping;
    let mut state = core.lock();
    let Some(stretch) = state.cheapest_growth(core, climb, size) else {
        return Err(super::out_of_addresses());
    };
    if !core.backing.has_room(core, &state, stretch.fresh) {
        return Err(GrowthFailure::Ceiling);
    }
    let claim = state.claim_between(stretch.start, stretch.end);
    let unmapped = claim.parts_in(RangeState::Unmapped).map(|slot| state.space[slot].extent());
    let unmapped: Vec<(u64, u64)> = unmapped.collect();
    drop(state);
    let outcome = core
        .order_after(&claim, climb.lane, climb.request.stream)
        .and_then(|waited| super::map_all(mapping, &unmapped).map(|()| waited));
    let mut state = core.lock();
    state.set_reserved(mapping.held());
    Ok(match outcome {
        Ok(waited) => Ok(state.finish(claim, climb.lane, climb.need, waited)),
        Err(obstacle) => {
            state.give_up(claim, climb);
            Err(obstacle)
        }
    })
}

impl State {
    /// Where at home `size` bytes for the request need the least new memory.
    pub(super) fn cheapest_growth(
        &self,
        core: &Core<VirtualArena>,
        climb: &Climb<'_>,
        size: u64,
    ) -> Option<crate::space::Stretch> {
        let wanted = Need { size, ..climb.need };
        let usable = |tag| climb.may_use(&self.lanes, tag);
        let arena = &core.backing;
        self.space.cheapest_growth(wanted, arena.granule(), arena.windows_from, usable)
    }
}
