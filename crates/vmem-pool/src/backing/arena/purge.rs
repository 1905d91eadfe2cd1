//! Giving up the addresses of windows that nothing uses.

use vmem_core::DriverError;

use super::VirtualArena;
use super::windows::Window;
use crate::engine::Core;
use crate::lanes::CLEAN;
use crate::space::{RangeState, Slot};

/// How many times the memory held may be mapped in windows.
const ALIASES: u64 = 4;

/// Unmaps windows beyond the cap, four times the memory held, as far as the work through them has
/// completed.
pub(super) fn hold_under_cap(core: &Core<VirtualArena>) -> Result<(), DriverError> {
    let cap = core.backing.mapping.held().saturating_mul(ALIASES);
    let bytes = || core.backing.windows().bytes();
    if bytes() <= cap {
        return Ok(());
    }
    core.observe()?;
    // By a quarter, so that this is rare.
    unmap_until(core, || bytes() <= cap / 4 * 3)
}

/// Unmaps windows that nothing uses, the longest unused first, until there is enough, as far as the
/// host has observed that the work through them completed. Goes on past failures; the first is
/// returned.
pub(super) fn unmap_until(
    core: &Core<VirtualArena>,
    is_enough: impl Fn() -> bool,
) -> Result<(), DriverError> {
    let longest_unused = core.backing.windows().longest_unused();
    let mut result = Ok(());
    for start in longest_unused {
        if is_enough() {
            break;
        }
        result = result.and(unmap_window(core, start));
    }
    result
}

/// Unmaps a window, unless it is in use or work through it may be pending.
fn unmap_window(core: &Core<VirtualArena>, start: u64) -> Result<(), DriverError> {
    let mut state = core.lock();
    let mut windows = core.backing.windows();
    let Some(window) = windows.at(start).cloned() else { return Ok(()) };
    let idle = |slot: Slot| match state.space[slot].state() {
        RangeState::Dormant(tag) => state.lanes.is_complete(tag),
        _ => false,
    };
    if !state.space.within(start, start + window.size).all(idle) {
        return Ok(());
    }
    // Before the lock is dropped: nobody may be given a window that is being unmapped.
    windows.take(start);
    drop(windows);
    let parts = state.space.claim_between(start, start + window.size);
    drop(state);
    hide(core, &window, parts)
}

/// Unmaps all windows that show memory which is at home in `start..end`, for a caller that has
/// claimed that memory and knows that no work is pending on it: whoever used it last was ordered
/// after every earlier use, through whatever window.
pub(super) fn unmap_showing(
    core: &Core<VirtualArena>,
    start: u64,
    end: u64,
) -> Result<(), DriverError> {
    let showing = core.backing.windows().showing(start, end);
    for start in showing {
        let mut state = core.lock();
        let mut windows = core.backing.windows();
        let Some(window) = windows.at(start).cloned() else { continue };
        windows.take(start);
        drop(windows);
        let parts = state.space.claim_between(start, start + window.size);
        drop(state);
        hide(core, &window, parts)?;
    }
    Ok(())
}

/// Unmaps a window whose addresses, `parts`, are claimed, and through which all work has completed.
fn hide(
    core: &Core<VirtualArena>,
    window: &Window,
    parts: Vec<(Slot, RangeState)>,
) -> Result<(), DriverError> {
    let arena = &core.backing;
    let (done, stopped) = arena.mapping.hide(window.start, window.size);
    let mut state = core.lock();
    for (slot, _) in parts {
        let (start, size) = state.space[slot].extent();
        let unmapped = (window.start + done).saturating_sub(start).min(size);
        let now = if unmapped > 0 {
            state.space.cut(slot, start, unmapped, RangeState::Dormant(CLEAN));
            RangeState::Unmapped
        } else {
            RangeState::Dormant(CLEAN)
        };
        state.space.set_state(slot, now);
    }
    let mut windows = arena.windows();
    windows.remove(window.start);
    if done < window.size {
        windows.add_broken(window.start, &window.homes, done, window.size - done);
    }
    state.counters.aliased = windows.bytes();
    stopped.map_or(Ok(()), Err)
}
