//! Where memory for a request is to come from: mapped beside free neighbours at home, or gathered
//! from several places at an alias. Nothing is copied: the physical memory is mapped a second time. And
//! which of it goes back.

use vmem_core::DriverError;

use super::mapping::{Handles, Mapping};
use super::{Ask, Memory, Miss, Plan, Return, Supply, VirtualArena};
use crate::space::{CLEAN, Need, Span};
use crate::supply::Way;
use crate::supply::cuts::Cuts;

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
    let fresh = arena.fresh(memory.space.unmapped_in(stretch), ask);
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
    let missing = gatherable(arena, memory, ask).missing;
    at_home.is_none_or(|(_, fresh)| missing < fresh)
}

/// Plans with an alias of free memory from wherever it is, and new memory only for what is missing.
pub(super) fn gather(
    arena: &VirtualArena,
    held: &Handles,
    memory: &Memory<'_>,
    ask: &Ask<'_>,
) -> Result<Plan, Miss> {
    let Gathered { whole, missing, last } = gatherable(arena, memory, ask);
    check_room(arena, held, ask, missing)?;
    let home = Span::between(arena.part_of(ask.lane), arena.aliases_from);
    let fresh = memory.space.lowest_unmapped(home, missing);
    if fresh.iter().map(|span| span.size).sum::<u64>() < missing {
        return Err(Miss::Addresses);
    }
    let shown = last.and_then(|last| memory.aliases.cuts.at(last.start));
    let shown = shown.map(|(handle, _)| handle);
    let mut homes = [&whole[..], &fresh[..]].concat();
    let mapped: u64 = homes.iter().chain(&shown).map(|home| home.size).sum();
    let alias = memory.addresses(Need { size: mapped, ..ask.need });
    let alias = Some(alias.ok_or(Miss::Addresses)?);
    homes.extend(last);
    let moved = ask.need.size.saturating_sub(missing);
    let fresh = arena.fresh(fresh, ask);
    Ok(Plan { alias, fresh, ..Plan::new(Way::Move(moved), homes) })
}

/// Memory for a request from several places: whole handles, then what is missing, then the lower end of
/// one handle.
struct Gathered {
    whole: Vec<Span>,
    /// Bytes of new memory, whole granules.
    missing: u64,
    last: Option<Span>,
}

/// Where the request's memory could come from: what is ready if that suffices, otherwise also what is to
/// be waited for.
fn gatherable(arena: &VirtualArena, memory: &Memory<'_>, ask: &Ask<'_>) -> Gathered {
    let cuts = &memory.aliases.cuts;
    let ready = choose(arena, cuts, memory.space.free_stretches(ask.ready), ask);
    if ready.missing == 0 {
        return ready;
    }
    choose(arena, cuts, memory.space.free_stretches(ask.usable), ask)
}

/// Handles of the largest order of magnitude first, because each costs a driver call, and of those the
/// ones in the shortest stretches, so that long ones stay whole.
fn choose(arena: &VirtualArena, cuts: &Cuts, stretches: Vec<Span>, ask: &Ask<'_>) -> Gathered {
    let size = ask.need.size;
    let mut handles: Vec<(u64, Span)> = Vec::new();
    let mut ends: Vec<Span> = Vec::new();
    for stretch in stretches {
        handles.extend(cuts.whole(stretch).map(|handle| (stretch.size, handle)));
        ends.extend(cuts.lower_end(stretch));
    }
    let order = |&(stretch, Span { start, size }): &(u64, Span)| {
        (std::cmp::Reverse(size.ilog2()), stretch, std::cmp::Reverse(start))
    };
    handles.sort_unstable_by_key(order);
    let mut missing = size;
    let mut whole = Vec::new();
    for (_, handle) in handles {
        if handle.size <= missing {
            missing -= handle.size;
            whole.push(handle);
        } else {
            ends.push(handle);
        }
    }
    if missing == 0 {
        return Gathered { whole, missing, last: None };
    }
    if ask.own {
        // What it shares with others is to be a granule at most.
        ends.retain(|end| cuts.at(end.start).is_some_and(|(it, _)| it.size <= arena.granule()));
    }
    let enough =
        ends.iter().filter(|end| end.size >= missing).min_by_key(|end| (end.size, end.start));
    if let Some(&Span { start, .. }) = enough {
        return Gathered { whole, missing: 0, last: Some(Span::new(start, missing)) };
    }
    let most = ends.iter().max_by_key(|end| (end.size, std::cmp::Reverse(end.start)));
    let fresh = |less: u64| (missing - less).next_multiple_of(arena.granule());
    match most {
        Some(end) if fresh(end.size) < fresh(0) && fresh(end.size) < missing => {
            let taken = missing - fresh(end.size);
            Gathered { whole, missing: fresh(end.size), last: Some(Span::new(end.start, taken)) }
        }
        _ => Gathered { whole, missing: fresh(0), last: None },
    }
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
    let free = memory.space.free_of(CLEAN.lane).map(|slot| memory.space[slot].span());
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
