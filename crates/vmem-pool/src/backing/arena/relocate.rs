//! Giving a request memory from several places, side by side in a window. Nothing is copied: the
//! physical memory of whole free granules is mapped a second time.

use super::VirtualArena;
use super::windows::Window;
use crate::backing::{GrowthFailure, Sealed};
use crate::engine::{Claim, Core, Obstacle, State};
use crate::ladder::Climb;
use crate::lanes::{Access, Lanes};
use crate::space::{RangeState, Slot, Tag};

/// Gives the request a window that is mapped already and whose memory is free at home, for this
/// stream at once. Makes no driver call. `None` if there is no such window.
pub(super) fn resume(core: &Core<VirtualArena>, climb: &Climb<'_>) -> Option<Slot> {
    if !climb.may_resume() {
        return None;
    }
    let mut state = core.lock();
    let ready = |lanes: &Lanes, tag| matches!(lanes.access(tag, climb.lane), Access::Now);
    let (_, claim) = state.claim_mapped(core, climb, ready)?;
    Some(state.give_window(claim))
}

/// The same, after what the stream must wait for on the device.
pub(super) fn wait_and_resume(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
) -> Result<Option<Slot>, GrowthFailure> {
    while climb.may_resume() {
        let usable = |lanes: &Lanes, tag| climb.may_use(lanes, tag);
        let claimed = core.lock().claim_mapped(core, climb, usable);
        let Some((start, claim)) = claimed else { return Ok(None) };
        let ordered = core.order_after(&claim, climb.lane, climb.request.stream);
        let mut state = core.lock();
        match ordered {
            Ok(_) => return Ok(Some(state.give_window(claim))),
            Err(obstacle) => {
                state.give_up(claim, climb);
                core.backing.windows().put(start);
                drop(state);
                climb.pass_by(obstacle)?;
            }
        }
    }
    Ok(None)
}

impl State {
    /// Claims a mapped window and the memory it shows, all of it with a `usable` tag.
    fn claim_mapped(
        &mut self,
        core: &Core<VirtualArena>,
        climb: &Climb<'_>,
        usable: impl Fn(&Lanes, Tag) -> bool,
    ) -> Option<(u64, Claim)> {
        let size = climb.need.size.next_multiple_of(core.backing.granule());
        let is_free = |start, end| self.space.is_free(start, end, |tag| usable(&self.lanes, tag));
        let mut windows = core.backing.windows();
        let window = windows.oldest(size, climb.need.alignment, is_free)?;
        let Window { start, size, homes, .. } = window.clone();
        windows.take(start);
        drop(windows);
        let mut claim = self.claim_nothing();
        for &(start, end) in &*homes {
            self.add_to(&mut claim, start, end);
        }
        self.add_window(&mut claim, start, start + size);
        Some((start, claim))
    }

    fn give_window(&mut self, claim: Claim) -> Slot {
        self.counters.returns += 1;
        self.lend(claim)
    }
}

/// What a request that is placed in a new window needs.
struct Plan {
    claim: Claim,
    window: (u64, u64),
    /// The memory to show there, in order.
    homes: Vec<(u64, u64)>,
    /// Those of them that have no memory yet, as start and size.
    unmapped: Vec<(u64, u64)>,
    /// Bytes of memory that is mapped already.
    moved: u64,
}

/// Maps memory that is in whole free granules into a new window, and new memory only for what is
/// missing.
pub(super) fn map_window(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
) -> Result<Slot, GrowthFailure> {
    loop {
        let plan = plan(core, climb)?;
        match carry_out(core, climb, plan) {
            Ok(slot) => return Ok(slot),
            Err(obstacle) => climb.pass_by(obstacle)?,
        }
    }
}

fn plan(core: &Core<VirtualArena>, climb: &Climb<'_>) -> Result<Plan, GrowthFailure> {
    let arena = &core.backing;
    let granule = arena.granule();
    let mut state = core.lock();
    let size = climb.need.size.next_multiple_of(granule);
    let window = arena.room_for_window(&state, climb).ok_or_else(super::out_of_addresses)?;
    let (mut homes, missing) = state.free_homes(climb, granule, size);
    if !arena.has_room(core, &state, missing) {
        return Err(GrowthFailure::Ceiling);
    }
    let unmapped = state.space.lowest_unmapped(arena.windows_from, missing);
    if unmapped.iter().map(|(_, size)| size).sum::<u64>() < missing {
        return Err(super::out_of_addresses());
    }
    homes.extend(unmapped.iter().map(|&(start, size)| (start, start + size)));
    let mut claim = state.claim_nothing();
    for &(start, end) in &homes {
        state.add_to(&mut claim, start, end);
    }
    state.add_window(&mut claim, window, window + size);
    Ok(Plan { claim, window: (window, size), homes, unmapped, moved: size - missing })
}

/// Orders the stream after every last use of the memory, maps it, and gives the window to the
/// request; or puts everything back.
fn carry_out(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
    plan: Plan,
) -> Result<Slot, Obstacle> {
    let mapping = &core.backing.mapping;
    let Plan { claim, window: (start, size), homes, unmapped, moved } = plan;
    let mut left = None;
    let mapped = core.order_after(&claim, climb.lane, climb.request.stream).and_then(|_| {
        super::map_all(mapping, &unmapped)?;
        mapping.show(start, &homes).map_err(|(error, stuck)| {
            left = stuck;
            if left.is_none() {
                unmapped.iter().for_each(|&(start, size)| mapping.undo(start, size));
            }
            Obstacle::from(error)
        })
    });
    let mut state = core.lock();
    state.set_reserved(mapping.held());
    let mut windows = core.backing.windows();
    if let Err(obstacle) = mapped {
        state.give_up(claim, climb);
        if let Some((from, upto)) = left {
            // The driver did not take these mappings back. The memory behind them stays.
            windows.add_broken(start, &homes, from - start, upto - from);
            state.retire_addresses(from, upto);
            state.adopt(&unmapped);
            state.counters.aliased = windows.bytes();
        }
        return Err(obstacle);
    }
    windows.add(start, size, homes);
    state.counters.moves += 1;
    state.counters.bytes_moved += moved;
    state.counters.aliased = windows.bytes();
    climb.moved(moved);
    Ok(state.lend(claim))
}

/// The block in a window is freed: its memory is free at home again, at once.
pub(super) fn take_back(core: &Core<VirtualArena>, state: &mut State, slot: Slot, tag: Tag) {
    let start = state.space[slot].start;
    let mut windows = core.backing.windows();
    windows.put(start);
    if let Some(window) = windows.at(start) {
        for &(start, end) in &*window.homes {
            state.wake(start, end, tag);
        }
    }
    state.space.set_state(slot, RangeState::Dormant(tag));
}

impl State {
    /// Whole free granules, `size` bytes at most, from the shortest stretches first so that long
    /// ones stay whole: those that are ready if they suffice, otherwise also those to be waited
    /// for. As start and end, and how many bytes are missing.
    fn free_homes(&self, climb: &Climb<'_>, granule: u64, size: u64) -> (Vec<(u64, u64)>, u64) {
        let ready = |tag| matches!(self.lanes.access(tag, climb.lane), Access::Now);
        let (chosen, missing) = take_first(self.space.free_granules(granule, ready), size);
        if missing == 0 {
            return (chosen, 0);
        }
        let usable = |tag| climb.may_use(&self.lanes, tag);
        take_first(self.space.free_granules(granule, usable), size)
    }

    /// Bytes that a new window for the request would need besides what is free.
    pub(super) fn missing_for_window(&self, climb: &Climb<'_>, granule: u64) -> u64 {
        self.free_homes(climb, granule, climb.need.size.next_multiple_of(granule)).1
    }
}

/// The first `size` bytes, the upper ones of the last stretch, and how many are missing.
fn take_first(stretches: Vec<(u64, u64)>, size: u64) -> (Vec<(u64, u64)>, u64) {
    let mut missing = size;
    let mut chosen = Vec::new();
    for (start, end) in stretches {
        if missing == 0 {
            break;
        }
        let taken = missing.min(end - start);
        missing -= taken;
        chosen.push((end - taken, end));
    }
    (chosen, missing)
}
