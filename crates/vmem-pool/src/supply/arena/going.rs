//! Returning granules that hold nothing, and the addresses of aliases that nothing uses.

use vmem_core::DriverError;

use super::mapping::{Handles, Mapping};
use super::{Aliases, Return, Supply, VirtualArena};
use crate::space::{CLEAN, RangeState, Slot, Space, Span};

/// How many times the memory held may be mapped at aliases.
const ALIASES: u64 = 4;

/// How many bytes of aliases are to be left if there are more than the cap, four times the memory
/// held: fewer by a quarter, so that this is rare.
pub(super) fn too_many(arena: &VirtualArena, aliases: &Aliases) -> Option<u64> {
    let cap = arena.held().saturating_mul(ALIASES);
    (aliases.bytes() > cap).then_some(cap / 4 * 3)
}

/// Claims whole handles without a live or pending byte, the highest first, no more than what is held
/// above `keep`, and the aliases that show them.
pub(super) fn surplus(
    arena: &VirtualArena,
    space: &mut Space,
    aliases: &mut Aliases,
    keep: u64,
) -> Option<Return> {
    let mut surplus = arena.held().saturating_sub(keep);
    let mut free: Vec<Slot> = space.free_of(CLEAN.lane).collect();
    free.sort_unstable_by_key(|&slot| std::cmp::Reverse(space[slot].start));
    let mut going = Return::default();
    for slot in free {
        let Some(run) = highest(aliases.cuts.whole(space[slot].span()), surplus) else { continue };
        surplus -= run.size;
        space.claim(slot);
        space.cut(slot, run, RangeState::Free(CLEAN));
        going.memory.push((slot, run));
    }
    if going.memory.is_empty() {
        return None;
    }
    let memory: Vec<Span> = going.memory.iter().map(|&(_, run)| run).collect();
    going.aliases = aliases.hide_showing(space, &memory);
    Some(going)
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
    for &(_, run) in &going.memory {
        let (unmapped, stopped) = mapping.unmap(held, run, going.is_kept);
        going.gone += unmapped;
        stopped.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Notes how far that came; the rest is free again.
pub(super) fn note_gone(space: &mut Space, aliases: &mut Aliases, going: Return) {
    let Return { memory, aliases: hidden, gone, .. } = going;
    hidden.into_iter().for_each(|alias| aliases.hidden(space, alias));
    let mut left = gone;
    for (slot, run) in memory {
        let gone = left.min(run.size);
        left -= gone;
        aliases.cuts.remove(Span::new(run.start, gone));
        if gone < run.size {
            let rest = if gone > 0 { space.split(slot, run.start + gone) } else { slot };
            space.set_state(rest, RangeState::Free(CLEAN));
        }
        if gone > 0 {
            space.set_state(slot, RangeState::Unmapped);
        }
    }
}
