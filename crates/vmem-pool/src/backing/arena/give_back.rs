//! Returning granules that hold nothing.

use vmem_core::BoxedError;

use super::VirtualArena;
use super::purge::unmap_showing;
use crate::engine::Core;
use crate::lanes::CLEAN;
use crate::space::{RangeState, Slot, whole_granules};

/// Returns whole granules without a live or pending byte, the highest first, while more than `keep`
/// bytes are held.
///
/// Windows that show them are unmapped first.
pub(super) fn give_back(core: &Core<VirtualArena>, keep: u64) -> (u64, Option<BoxedError>) {
    let mapping = &core.backing.mapping;
    let before = mapping.held();
    mapping.release_spares();
    let mut error = None;
    while error.is_none()
        && let Some((slot, start, size)) = claim_granules(core, keep)
    {
        let (done, stopped) = match unmap_showing(core, start, start + size) {
            Ok(()) => mapping.unmap(start, size),
            Err(error) => (0, Some(error)),
        };
        let mut state = core.lock();
        if done < size {
            let rest = if done > 0 { state.space.split(slot, start + done) } else { slot };
            state.space.set_state(rest, RangeState::Free(CLEAN));
        }
        if done > 0 {
            state.space.set_state(slot, RangeState::Unmapped);
        }
        state.set_reserved(mapping.held());
        error = stopped.map(BoxedError::from);
    }
    core.lock().set_reserved(mapping.held());
    (before - mapping.held(), error)
}

/// Claims the highest run of granules that can go, no longer than what is held above `keep`.
fn claim_granules(core: &Core<VirtualArena>, keep: u64) -> Option<(Slot, u64, u64)> {
    let mapping = &core.backing.mapping;
    let granule = mapping.granule();
    let mut state = core.lock();
    state.settle();
    let surplus = mapping.held().saturating_sub(keep) / granule * granule;
    let runs = state.space.free_of(CLEAN.lane).filter_map(|slot| {
        let range = state.space[slot];
        let (start, end) = whole_granules(range.start, range.end(), granule)?;
        Some((slot, start.max(end.saturating_sub(surplus)), end))
    });
    let highest = runs.filter(|(_, start, end)| start < end).max_by_key(|&(_, _, end)| end);
    if let Some((slot, start, end)) = highest {
        state.space.claim(slot);
        state.space.cut(slot, start, end - start, RangeState::Free(CLEAN));
    }
    drop(state);
    highest.map(|(slot, start, end)| (slot, start, end - start))
}

/// Bytes in whole granules that are free, whatever work is pending on them, unless in quarantine.
pub(super) fn free_granules(core: &Core<VirtualArena>) -> u64 {
    let granule = core.backing.mapping.granule();
    let state = core.lock();
    let whole = state.space.free_granules(granule, |tag| !state.is_out_of_reach(tag));
    whole.into_iter().map(|(start, end)| end - start).sum()
}

/// What `give_back` could return if everything pending were complete.
pub(super) fn returnable(core: &Core<VirtualArena>) -> u64 {
    free_granules(core) + core.backing.mapping.spare()
}
