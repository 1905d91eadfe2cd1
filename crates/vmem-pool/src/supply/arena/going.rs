//! Returning granules that hold nothing, and the addresses of aliases that nothing uses.

use vmem_core::DriverError;

use super::mapping::{Handles, Mapping};
use super::{Memory, Return, Supply, VirtualArena};
use crate::space::{CLEAN, Span};

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
        let (unmapped, stopped) = mapping.unmap(held, run);
        going.gone += unmapped;
        stopped.map_or(Ok(()), Err)?;
    }
    Ok(())
}
