//! Where memory for a request is to come from: mapped beside free neighbours at home, or gathered
//! from several places at an alias. Nothing is copied: the physical memory is mapped a second time. And
//! which of it goes back.

use vmem_core::DriverError;

use super::gathering::{Gathered, gatherable};
use super::mapping::{Handles, Mapping};
use super::{Ask, Memory, Miss, Plan, Return, Supply, VirtualArena};
use crate::space::{CLEAN, Need, Span};
use crate::supply::Way;

/// Plans to map memory at home until `size` bytes, free neighbours included, lie together.
pub(super) fn extend(
    arena: &VirtualArena,
    held: &Handles,
    memory: &Memory<'_>,
    ask: &Ask<'_>,
    size: u64,
) -> Result<Plan, Miss> {
    let (stretch, fresh) = cheapest_growth(arena, memory, ask, size).ok_or(Miss::Addresses)?;
    check_room(arena, held, ask, fresh)?;
    let fresh = arena.fresh(memory.space.ranges.unmapped_in(stretch), ask);
    Ok(Plan { fresh, ..Plan::new(Way::Growth, vec![stretch]) })
}

/// Where at home `size` bytes for the request need the least new memory, and how much that is.
fn cheapest_growth(
    arena: &VirtualArena,
    memory: &Memory<'_>,
    ask: &Ask<'_>,
    size: u64,
) -> Option<(Span, u64)> {
    let need = Need { size, ..ask.need };
    let home = Span::between(arena.part_of(ask.lane), arena.aliases_from);
    // Free neighbours are in handles of others.
    let usable = |tag| !ask.own && (ask.usable)(tag);
    memory.space.cheapest_growth(need, arena.granule(), home, usable)
}

/// Whether an alias needs less new memory than growth at home.
pub(super) fn gathering_saves(arena: &VirtualArena, memory: &Memory<'_>, ask: &Ask<'_>) -> bool {
    let at_home = cheapest_growth(arena, memory, ask, ask.need.size);
    let missing = gatherable(arena, memory, ask, true).missing;
    at_home.is_none_or(|(_, fresh)| missing < fresh)
}

/// Plans with an alias of free memory from wherever it is, and new memory only for what is missing.
pub(super) fn gather(
    arena: &VirtualArena,
    held: &Handles,
    memory: &Memory<'_>,
    ask: &Ask<'_>,
) -> Result<Plan, Miss> {
    let gathered = gatherable(arena, memory, ask, true);
    let begins_inside = gathered.first.is_some();
    match show(arena, held, memory, ask, gathered) {
        // A handle of which only an end is used takes addresses for all of it.
        Err(Miss::Addresses) if begins_inside => {
            let plain = gatherable(arena, memory, ask, false);
            show(arena, held, memory, ask, plain).map_err(|_| Miss::Addresses)
        }
        plan => plan,
    }
}

/// Plans with an alias of this memory.
fn show(
    arena: &VirtualArena,
    held: &Handles,
    memory: &Memory<'_>,
    ask: &Ask<'_>,
    gathered: Gathered,
) -> Result<Plan, Miss> {
    let Gathered { first, whole, missing, last } = gathered;
    check_room(arena, held, ask, missing)?;
    let home = Span::between(arena.part_of(ask.lane), arena.aliases_from);
    let fresh = memory.space.lowest_unmapped(home, missing);
    if fresh.iter().map(|span| span.size).sum::<u64>() < missing {
        return Err(Miss::Addresses);
    }
    let handle = |end: Option<Span>| memory.aliases.cuts.touching(end?).next();
    let (first_handle, last_handle) = (handle(first), handle(last));
    let ends = first_handle.iter().chain(&last_handle).map(|(handle, _)| handle);
    let mapped: u64 = whole.iter().chain(&fresh).chain(ends).map(|home| home.size).sum();
    let alias = memory.addresses(Need { size: mapped, ..ask.need }).ok_or(Miss::Addresses)?;
    // What the request gets of the first handle is its upper end.
    let above = first.zip(first_handle).map_or(0, |(end, (handle, _))| end.start - handle.start);
    let homes = first.into_iter().chain(whole).chain(fresh.iter().copied()).chain(last).collect();
    let moved = ask.need.size.saturating_sub(missing);
    let fresh = arena.fresh(fresh, ask);
    let (begin, alias) = (alias.start + above, Some(alias));
    Ok(Plan { alias, begin, fresh, ..Plan::new(Way::Move(moved), homes) })
}

/// Whether so many bytes of new memory may be had. Spare memory is held already.
fn check_room(arena: &VirtualArena, held: &Handles, ask: &Ask<'_>, bytes: u64) -> Result<(), Miss> {
    let fresh = bytes.saturating_sub(arena.mapping.spare(held));
    if fresh <= ask.room { Ok(()) } else { Err(Miss::Ceiling) }
}

/// Maps what is missing at home, and everything at a new alias; or nothing, if a call fails.
pub(super) fn carry_out(
    mapping: &Mapping,
    held: &mut Handles,
    plan: &mut Plan,
) -> Result<(), DriverError> {
    mapping.map_all(held, &mut plan.fresh)?;
    let (Way::Move(_), Some(alias)) = (plan.way, plan.alias) else { return Ok(()) };
    mapping.show(held, alias.start, &plan.homes).map_err(|(error, kept)| {
        // What an alias shows cannot be given back.
        if kept.is_none() {
            plan.fresh.spans.iter().for_each(|&home| mapping.undo(held, home));
            plan.fresh.handles.clear();
        }
        plan.left = kept;
        error
    })
}

/// Whole handles without a live or pending byte, the highest first, no more than what is held above `keep`.
pub(super) fn surplus(arena: &VirtualArena, memory: &Memory<'_>, keep: u64) -> Vec<Span> {
    let mut surplus = arena.held().saturating_sub(keep);
    let free = memory.space.indexes.free_of(CLEAN.lane).map(|slot| memory.space[slot].span());
    let mut free: Vec<Span> = free.collect();
    free.sort_unstable_by_key(|free| std::cmp::Reverse(free.start));
    let mut going = Vec::new();
    for free in free {
        let Some(run) = highest(memory.aliases.cuts.whole(free), surplus) else { continue };
        surplus -= run.size;
        going.push(run);
    }
    going
}

/// The highest neighbouring handles that are no more than `most` bytes together.
fn highest(handles: impl DoubleEndedIterator<Item = Span>, most: u64) -> Option<Span> {
    let mut run: Option<Span> = None;
    for handle in handles.rev() {
        let end = run.map_or(handle.end(), Span::end);
        if end - handle.start <= most {
            run = Some(Span::between(handle.start, end));
        } else if run.is_some() {
            break;
        }
    }
    run
}

/// Unmaps the aliases, then returns the memory, as far as the driver agrees.
pub(super) fn give_back(
    mapping: &Mapping,
    held: &mut Handles,
    going: &mut Return,
) -> Result<(), DriverError> {
    for alias in &mut going.aliases {
        let (unmapped, stopped) = mapping.hide(held, alias.span, &alias.homes);
        alias.unmapped = Some(unmapped);
        stopped.map_or(Ok(()), Err)?;
    }
    for &run in &going.memory {
        let (unmapped, stopped) = mapping.unmap(held, run, going.is_kept);
        going.gone += unmapped;
        stopped.map_or(Ok(()), Err)?;
    }
    Ok(())
}
