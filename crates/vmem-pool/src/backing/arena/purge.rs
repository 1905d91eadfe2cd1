//! Giving up the addresses of windows that are not in use.

use vmem_core::DriverError;

use super::VirtualArena;
use super::windows::Window;
use crate::core::Core;
use crate::sabotage;
use crate::space::{Slot, State as Range};

/// How many times the memory held may be mapped in windows.
const ALIASES: u64 = 4;

/// Unmaps windows beyond the cap, four times the memory held, as far as the work through them has
/// completed.
pub(super) fn hold_under_cap(core: &Core<VirtualArena>) -> Result<(), DriverError> {
    let cap = core.backing.mapping.held().saturating_mul(ALIASES);
    if core.backing.windows().bytes() <= cap {
        return Ok(());
    }
    if core.may_ask() {
        core.close_all()?;
        core.refresh()?;
    } else {
        core.wait_for_all()?;
    }
    // By a quarter, so that this is rare.
    unmap_windows(core, cap / 4 * 3)
}

/// Unmaps windows that are not in use, the longest unused first, until all windows take at most
/// `keep` bytes of addresses, as far as the host has observed that the work through them completed.
pub(super) fn unmap_windows(core: &Core<VirtualArena>, keep: u64) -> Result<(), DriverError> {
    let longest_unused = core.backing.windows().longest_unused();
    for start in longest_unused {
        if core.backing.windows().bytes() <= keep {
            break;
        }
        unmap_window(core, start)?;
    }
    Ok(())
}

/// Unmaps a window, unless it is in use or work through it may be pending.
fn unmap_window(core: &Core<VirtualArena>, start: u64) -> Result<(), DriverError> {
    let Some(window) = core.backing.windows().at(start).cloned() else { return Ok(()) };
    let mut state = core.lock();
    let idle = |slot: Slot| match state.space[slot].state() {
        Range::Dormant(tag) => state.lanes.is_complete(tag) || sabotage::unmap_early(),
        _ => false,
    };
    if !state.space.within(start, start + window.size).all(idle) {
        return Ok(());
    }
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
        let Some(window) = core.backing.windows().at(start).cloned() else { continue };
        let parts = core.lock().space.claim_between(start, start + window.size);
        hide(core, &window, parts)?;
    }
    Ok(())
}

/// Unmaps a window whose addresses, `parts`, are claimed.
fn hide(
    core: &Core<VirtualArena>,
    window: &Window,
    parts: Vec<(Slot, Range)>,
) -> Result<(), DriverError> {
    let arena = &core.backing;
    let (done, stopped) = arena.mapping.hide(window.start, window.size);
    let mut state = core.lock();
    for (slot, before) in parts {
        state.space.release(slot, before);
    }
    let mut windows = arena.windows();
    windows.remove(window.start);
    for (slot, _) in state.space.claim_between(window.start, window.start + done) {
        state.space.release(slot, Range::Hole);
    }
    if done < window.size {
        windows.add_broken(window.start, &window.homes, done, window.size - done);
    }
    state.counters.aliased = windows.bytes();
    stopped.map_or(Ok(()), Err)
}
