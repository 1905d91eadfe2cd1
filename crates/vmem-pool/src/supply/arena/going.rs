//! Returning granules that hold nothing, and the addresses of aliases that nothing uses.

use vmem_core::DriverError;

use super::mapping::{Handles, Mapping};
use super::{Aliases, Return, Supply, VirtualArena};
use crate::space::{CLEAN, RangeState, Slot, Space, Span, Tag};

/// How many times the memory held may be mapped at aliases.
const ALIASES: u64 = 4;

/// How many bytes of aliases are to be left if there are more than the cap, four times the memory
/// held: fewer by a quarter, so that this is rare.
pub(super) fn too_many(arena: &VirtualArena, aliases: &Aliases) -> Option<u64> {
    let cap = arena.held().saturating_mul(ALIASES);
    (aliases.bytes() > cap).then_some(cap / 4 * 3)
}

/// Claims whole granules without a live or pending byte, the highest first, no more than what is held
/// above `keep`, and the aliases that show them.
pub(super) fn surplus(
    arena: &VirtualArena,
    space: &mut Space,
    aliases: &mut Aliases,
    keep: u64,
) -> Option<Return> {
    let granule = arena.granule();
    let mut surplus = arena.held().saturating_sub(keep) / granule * granule;
    let whole = |slot| Some((slot, space[slot].span().whole_granules(granule)?));
    let mut runs: Vec<(Slot, Span)> = space.free_of(CLEAN.lane).filter_map(whole).collect();
    runs.sort_unstable_by_key(|(_, run)| std::cmp::Reverse(run.end()));
    let mut going = Return::default();
    for (slot, run) in runs {
        let size = run.size.min(surplus);
        if size == 0 {
            break;
        }
        surplus -= size;
        let run = Span::new(run.end() - size, size);
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

/// Unmaps the aliases, then returns the memory, as far as the driver agrees.
pub(super) fn give_back(
    mapping: &Mapping,
    held: &mut Handles,
    going: &mut Return,
) -> Result<(), DriverError> {
    for alias in &mut going.aliases {
        let (unmapped, stopped) = mapping.hide(alias.span);
        alias.unmapped = Some(unmapped);
        stopped.map_or(Ok(()), Err)?;
    }
    for &(_, run) in &going.memory {
        let (unmapped, stopped) = mapping.unmap(held, run);
        going.gone += unmapped;
        stopped.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Notes how far that came; the rest is free again.
pub(super) fn note_gone(space: &mut Space, aliases: &mut Aliases, going: Return) {
    let Return { memory, aliases: hidden, gone } = going;
    hidden.into_iter().for_each(|alias| aliases.hidden(space, alias));
    let mut left = gone;
    for (slot, run) in memory {
        let gone = left.min(run.size);
        left -= gone;
        if gone < run.size {
            let rest = if gone > 0 { space.split(slot, run.start + gone) } else { slot };
            space.set_state(rest, RangeState::Free(CLEAN));
        }
        if gone > 0 {
            space.set_state(slot, RangeState::Unmapped);
        }
    }
}

/// Bytes in whole granules that are free with a `usable` tag.
pub(super) fn free_granules(
    arena: &VirtualArena,
    space: &Space,
    usable: &dyn Fn(Tag) -> bool,
) -> u64 {
    space.free_granules(arena.granule(), usable).into_iter().map(|run| run.size).sum()
}
