//! Where memory for a request is to come from: mapped beside free neighbours at home, or gathered
//! from several places at an alias. Nothing is copied: the physical memory of whole free granules is
//! mapped a second time.

use vmem_core::DriverError;

use super::mapping::{Handles, Mapping};
use super::{Aliases, Ask, Miss, Plan, Supply, VirtualArena};
use crate::space::{Need, RangeState, Slot, Space, Span, Tag};
use crate::supply::Way;

/// What is to be mapped for a plan.
#[derive(Debug)]
pub(crate) struct Work {
    /// Homes that have no memory yet.
    fresh: Vec<Span>,
    place: Place,
}

/// Where a request is placed.
#[derive(Debug)]
enum Place {
    Home,
    /// At the alias that begins here.
    Alias(u64),
    /// At an alias that is to be mapped, which shows these homes.
    NewAlias {
        span: Span,
        homes: Vec<Span>,
        /// What the driver kept mapped of it when that was to be undone.
        left: Option<Span>,
    },
}

/// Plans with an alias that is mapped already and whose memory is free at home.
pub(super) fn resume(
    arena: &VirtualArena,
    space: &mut Space,
    aliases: &mut Aliases,
    need: Need,
    allowed: &dyn Fn(Tag) -> bool,
) -> Option<Plan<Work>> {
    let need = in_granules(arena, need);
    let (start, claim) = aliases.claim(space, need, allowed)?;
    let work = Work { fresh: Vec::new(), place: Place::Alias(start) };
    Some(Plan { claim, way: Way::Resumption, work })
}

/// Plans to map memory at home until `size` bytes, free neighbours included, lie together.
pub(super) fn extend(
    arena: &VirtualArena,
    held: &Handles,
    space: &mut Space,
    ask: &Ask<'_>,
    size: u64,
) -> Result<Plan<Work>, Miss> {
    let (stretch, fresh) = cheapest_growth(arena, space, ask, size).ok_or(Miss::Addresses)?;
    check_room(arena, held, ask, fresh)?;
    let claim = space.claim_all(stretch);
    let work = Work { fresh: space.unmapped_in(&claim), place: Place::Home };
    Ok(Plan { claim, way: Way::Growth, work })
}

/// Where at home `size` bytes for the request need the least new memory, and how much that is.
fn cheapest_growth(
    arena: &VirtualArena,
    space: &Space,
    ask: &Ask<'_>,
    size: u64,
) -> Option<(Span, u64)> {
    let need = Need { size, ..ask.need };
    space.cheapest_growth(need, arena.granule(), arena.aliases_from, ask.usable)
}

/// Whether an alias needs less new memory than growth at home.
pub(super) fn saves_memory(arena: &VirtualArena, space: &Space, ask: &Ask<'_>) -> bool {
    let at_home = cheapest_growth(arena, space, ask, ask.need.size);
    let (_, missing) = free_homes(arena, space, ask);
    at_home.is_none_or(|(_, fresh)| missing < fresh)
}

/// Plans with an alias of whole free granules, and new memory only for what is missing.
pub(super) fn gather(
    arena: &VirtualArena,
    held: &Handles,
    space: &mut Space,
    ask: &Ask<'_>,
) -> Result<Plan<Work>, Miss> {
    let span = room_for_alias(arena, space, ask.need).ok_or(Miss::Addresses)?;
    let (mut homes, missing) = free_homes(arena, space, ask);
    check_room(arena, held, ask, missing)?;
    let fresh = space.lowest_unmapped(arena.aliases_from, missing);
    if fresh.iter().map(|span| span.size).sum::<u64>() < missing {
        return Err(Miss::Addresses);
    }
    homes.extend(&fresh);
    let mut claim = space.begin_claim();
    homes.iter().for_each(|&home| space.add_to(&mut claim, home));
    space.add_alias(&mut claim, span);
    let work = Work { fresh, place: Place::NewAlias { span, homes, left: None } };
    Ok(Plan { claim, way: Way::Move(span.size - missing), work })
}

/// Where a new alias for the request could be.
pub(super) fn room_for_alias(arena: &VirtualArena, space: &Space, need: Need) -> Option<Span> {
    space.smallest_unmapped(arena.aliases_from, in_granules(arena, need))
}

/// Whole free granules, as many as the request needs at most, from the shortest stretches first so
/// that long ones stay whole: those that are ready if they suffice, otherwise also those to be
/// waited for; and how many bytes are missing.
fn free_homes(arena: &VirtualArena, space: &Space, ask: &Ask<'_>) -> (Vec<Span>, u64) {
    let size = in_granules(arena, ask.need).size;
    let (chosen, missing) = take_first(space.free_granules(arena.granule(), ask.ready), size);
    if missing == 0 {
        return (chosen, 0);
    }
    take_first(space.free_granules(arena.granule(), ask.usable), size)
}

/// The first `size` bytes, the upper ones of the last stretch, and how many are missing.
fn take_first(stretches: Vec<Span>, size: u64) -> (Vec<Span>, u64) {
    let mut missing = size;
    let mut chosen = Vec::new();
    for stretch in stretches {
        if missing == 0 {
            break;
        }
        let taken = missing.min(stretch.size);
        missing -= taken;
        chosen.push(Span::new(stretch.end() - taken, taken));
    }
    (chosen, missing)
}

fn in_granules(arena: &VirtualArena, need: Need) -> Need {
    Need { size: need.size.next_multiple_of(arena.granule()), ..need }
}

/// Whether so many bytes of new memory may be had. Spare memory is held already.
fn check_room(arena: &VirtualArena, held: &Handles, ask: &Ask<'_>, bytes: u64) -> Result<(), Miss> {
    let fresh = bytes.saturating_sub(arena.mapping.spare(held));
    if fresh <= ask.room { Ok(()) } else { Err(Miss::Ceiling) }
}

impl Work {
    /// Maps what is missing at home, and everything at a new alias; or nothing, if a call fails.
    pub(super) fn carry_out(
        &mut self,
        mapping: &Mapping,
        held: &mut Handles,
    ) -> Result<(), DriverError> {
        mapping.map_all(held, &self.fresh)?;
        let Place::NewAlias { span, homes, left } = &mut self.place else { return Ok(()) };
        mapping.show(held, span.start, homes).map_err(|(error, kept)| {
            // What an alias shows cannot be given back.
            if kept.is_none() {
                self.fresh.iter().for_each(|&home| mapping.undo(held, home));
            }
            *left = kept;
            error
        })
    }
}

/// Gives the request what was mapped.
pub(super) fn finish(
    space: &mut Space,
    aliases: &mut Aliases,
    plan: Plan<Work>,
    need: Need,
    rest: Tag,
) -> Slot {
    let Plan { claim, work, .. } = plan;
    match work.place {
        Place::Home => space.finish(claim, need, rest),
        Place::Alias(_) => space.lend(claim),
        Place::NewAlias { span, homes, .. } => {
            aliases.add(span, homes);
            space.lend(claim)
        }
    }
}

/// Puts everything back.
pub(super) fn give_up(space: &mut Space, aliases: &mut Aliases, plan: Plan<Work>) {
    let Plan { claim, work, .. } = plan;
    space.give_up(claim);
    match work.place {
        Place::Alias(start) => aliases.put(start),
        Place::NewAlias { span, homes, left: Some(left) } => {
            // The driver did not take these mappings back. The memory behind them stays.
            aliases.add_broken(span.start, &homes, left);
            space.change(left, RangeState::Dormant(crate::space::CLEAN));
            for home in work.fresh {
                space.change(home, RangeState::Free(crate::space::CLEAN));
            }
        }
        Place::Home | Place::NewAlias { left: None, .. } => {}
    }
}
