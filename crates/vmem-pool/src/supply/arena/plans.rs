//! Where memory for a request is to come from: mapped beside free neighbours at home, or gathered
//! from several places at an alias. Nothing is copied: the physical memory is mapped a second time.

use vmem_core::DriverError;

use super::gathering::{Gathered, gatherable};
use super::mapping::{Fresh, Handles, Mapping};
use super::{Aliases, Ask, Miss, Plan, Supply, VirtualArena};
use crate::space::{CLEAN, Need, RangeState, Slot, Space, Span, Tag};
use crate::supply::Way;

/// What is to be mapped for a plan.
#[derive(Debug)]
pub(crate) struct Work {
    /// Homes that have no memory yet.
    fresh: Fresh,
    place: Place,
}

/// Where a request is placed.
#[derive(Debug)]
enum Place {
    Home,
    /// At the alias that begins here.
    Alias(u64),
    /// At an alias that is to be mapped, which shows these homes: whole handles, but for the first, of
    /// which it may be the upper end that the request gets, and the last, of which it may be the lower.
    NewAlias {
        span: Span,
        /// Where the request begins.
        start: u64,
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
    ask: &Ask<'_>,
    allowed: &dyn Fn(Tag) -> bool,
) -> Option<Plan<Work>> {
    let shared = if ask.own { arena.granule() } else { u64::MAX };
    let (start, claim) = aliases.claim(space, ask.need, shared, allowed)?;
    let work = Work { fresh: Fresh::default(), place: Place::Alias(start) };
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
    let fresh = arena.fresh(space.unmapped_in(&claim), ask);
    let work = Work { fresh, place: Place::Home };
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
    let home = Span::between(arena.part_of(ask.lane), arena.aliases_from);
    // Free neighbours are in handles of others.
    let usable = |tag| !ask.own && (ask.usable)(tag);
    space.cheapest_growth(need, arena.granule(), home, usable)
}

/// Whether an alias needs less new memory than growth at home.
pub(super) fn gathering_saves(
    arena: &VirtualArena,
    space: &Space,
    aliases: &Aliases,
    ask: &Ask<'_>,
) -> bool {
    let at_home = cheapest_growth(arena, space, ask, ask.need.size);
    let missing = gatherable(arena, space, aliases, ask).missing;
    at_home.is_none_or(|(_, fresh)| missing < fresh)
}

/// Plans with an alias of free memory from wherever it is, and new memory only for what is missing.
pub(super) fn gather(
    arena: &VirtualArena,
    held: &Handles,
    space: &mut Space,
    aliases: &Aliases,
    ask: &Ask<'_>,
) -> Result<Plan<Work>, Miss> {
    let Gathered { first, whole, missing, last } = gatherable(arena, space, aliases, ask);
    check_room(arena, held, ask, missing)?;
    let home = Span::between(arena.part_of(ask.lane), arena.aliases_from);
    let fresh = space.lowest_unmapped(home, missing);
    if fresh.iter().map(|span| span.size).sum::<u64>() < missing {
        return Err(Miss::Addresses);
    }
    let handle = |end: Option<Span>| aliases.cuts.touching(end?).next();
    let (first_handle, last_handle) = (handle(first), handle(last));
    let whole = [&whole[..], &fresh[..]].concat();
    let mapped: u64 =
        whole.iter().chain(&first_handle).chain(&last_handle).map(|home| home.size).sum();
    let need = Need { size: mapped, ..ask.need };
    let span = space.smallest_unmapped(arena.aliases_from, need).ok_or(Miss::Addresses)?;
    // What the request gets of the first handle is its upper end.
    let start =
        span.start + first_handle.zip(first).map_or(0, |(handle, end)| end.start - handle.start);
    let mut homes: Vec<Span> = first.into_iter().chain(whole).chain(last).collect();
    let mut claim = space.begin_claim();
    homes.iter().for_each(|&home| space.add_to(&mut claim, home));
    space.add_alias(&mut claim, span);
    // Of new memory what is more than the request needs is free.
    let all: u64 = homes.iter().map(|home| home.size).sum();
    if let Some(last) = homes.last_mut() {
        last.size -= all - ask.need.size;
    }
    let work = Work {
        fresh: arena.fresh(fresh, ask),
        place: Place::NewAlias { span, start, homes, left: None },
    };
    let moved = ask.need.size.saturating_sub(missing);
    Ok(Plan { claim, way: Way::Move(moved), work })
}

/// Whether an alias for the request would find addresses, whatever handles it shows.
pub(super) fn has_addresses(
    arena: &VirtualArena,
    space: &Space,
    aliases: &Aliases,
    need: Need,
) -> bool {
    let granule = arena.granule();
    // Of the first handle and of the last it may need little.
    let more = (2 * aliases.cuts.largest()).saturating_sub(granule);
    let size = need.size.next_multiple_of(granule) + more;
    space.smallest_unmapped(arena.aliases_from, Need { size, ..need }).is_some()
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
        mapping.map_all(held, &mut self.fresh)?;
        let Place::NewAlias { span, homes, left, .. } = &mut self.place else { return Ok(()) };
        mapping.show(held, span.start, homes).map_err(|(error, kept)| {
            // What an alias shows cannot be given back.
            if kept.is_none() {
                self.fresh.spans.iter().for_each(|&home| mapping.undo(held, home));
                self.fresh.handles.clear();
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
    aliases.cuts.add(&work.fresh.handles);
    match work.place {
        Place::Home => space.finish(claim, need, rest),
        Place::Alias(_) => space.lend(claim),
        Place::NewAlias { span, start, homes, .. } => {
            let slot = space.lend(claim);
            // Only the last home may be less than a handle: of new memory the rest is free.
            if let Some(used) = homes.last()
                && let Some(fresh) = work.fresh.spans.last()
                && fresh.start == used.start
            {
                space.wake(Span::between(used.end(), fresh.end()), |_| CLEAN);
            }
            space.cut(slot, Span::new(start, need.size), RangeState::Dormant(CLEAN));
            aliases.add(span, start, homes);
            slot
        }
    }
}

/// Puts everything back.
pub(super) fn give_up(space: &mut Space, aliases: &mut Aliases, plan: Plan<Work>) {
    let Plan { claim, work, .. } = plan;
    aliases.cuts.add(&work.fresh.handles);
    space.give_up(claim);
    match work.place {
        Place::Alias(start) => aliases.put(start),
        Place::NewAlias { start, homes, left: Some(left), .. } => {
            // The driver did not take these mappings back. The memory behind them stays.
            aliases.add_broken(start, &homes, left);
            space.change(left, RangeState::Dormant(CLEAN));
            for home in work.fresh.spans {
                space.change(home, RangeState::Free(CLEAN));
            }
        }
        Place::Home | Place::NewAlias { left: None, .. } => {}
    }
}
