//! Physical memory mapped into one range of addresses.
//!
//! The lower half of the range is *home*: every granule of memory that the arena takes is mapped
//! there, next to what is there already, and that is where it is free. The upper half is for
//! *windows*: a request that finds no contiguous room at home gets whole free granules from several
//! places, mapped a second time side by side. When its block is freed, the memory is free at home
//! again; the window stays mapped, and the next request like it gets it without a driver call.

mod give_back;
mod grow;
mod mapping;
mod purge;
mod relocate;
mod windows;

use std::fmt;
use std::sync::Arc;

use mapping::Mapping;
use vmem_core::author::fork;
use vmem_core::{Allowance, BoxedError, Capabilities, Device, Features, Stream};
use windows::Windows;

use super::{Growth, GrowthFailure, Pending, Sealed};
use crate::engine::{Core, Obstacle, State};
use crate::ladder::{Climb, Rung};
use crate::space::{MOST, Slot, Tag, visits};
use crate::sync::{Mutex, MutexGuard};
use crate::{BuildError, BuildErrorKind, Footprint, WindowInfo};

/// How many times the device's memory the address range spans at first; halved until the driver
/// agrees.
const RANGE_FACTOR: u64 = 8;

/// A backing that maps physical memory into one contiguous range of addresses, one granule at a
/// time, so that all of it joins, and moves it to where contiguous room is needed.
///
/// A move copies nothing: the physical memory of whole free granules is mapped at other addresses
/// as well, side by side. Those stay mapped, so that a program that repeats itself finds them again
/// without a driver call. Beyond four times the memory held, the longest unused are unmapped as
/// their work completes. Where the driver reserves no more addresses than the device has memory,
/// nothing moves.
pub struct VirtualArena {
    mapping: Mapping,
    /// Where addresses for windows begin; below is home.
    windows_from: u64,
    windows: Mutex<Windows>,
}

impl VirtualArena {
    /// Reserves an address range on `device`: eight times its memory, or half of that, and so on
    /// down to its memory, below 2 TiB. No memory is taken.
    ///
    /// # Errors
    /// [`Unsupported`](BuildErrorKind::Unsupported) if the device has no virtual memory,
    /// [`Refused`](BuildErrorKind::Refused) if even the smallest range is refused.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, BuildError> {
        let Some(vm) = device.virtual_memory() else {
            return Err(BuildError::new(BuildErrorKind::Unsupported));
        };
        let granule = vm.granularity();
        let memory = device.facts().total_memory.next_multiple_of(granule);
        let mut factor = RANGE_FACTOR;
        loop {
            let size = memory.saturating_mul(factor);
            if factor > 1 && size / 2 > MOST {
                factor /= 2;
                continue;
            }
            let size = if factor == 1 { size.min(MOST / granule * granule) } else { size };
            match vm.reserve(size) {
                Ok(base) => {
                    let home = if factor == 1 { size } else { size / 2 };
                    return Ok(Self {
                        windows_from: base.get() + home,
                        mapping: Mapping::new(device, base, size, granule),
                        windows: Mutex::default(),
                    });
                }
                Err(error) if factor == 1 => return Err(BuildError::refused(error)),
                Err(_) => factor /= 2,
            }
        }
    }

    /// Returns it as an arena that charges `allowance` for the physical memory that it holds, in
    /// use or not, and giving back what the device has taken back. A pool that is refused by it is
    /// out of memory, as if the device were. Several pools with parts of one budget hold no more than
    /// that together.
    #[must_use]
    pub fn charged_to(mut self, allowance: impl Allowance + 'static) -> Self {
        self.mapping.charge_to(Arc::new(allowance));
        self
    }

    /// The length of the address range, in bytes.
    pub fn address_space(&self) -> u64 {
        self.mapping.size()
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        visits::note_lock();
        fork::locked(|| self.windows.lock())
    }

    /// Bytes of addresses that are for windows.
    fn window_addresses(&self) -> u64 {
        self.mapping.base().get() + self.mapping.size() - self.windows_from
    }

    /// Where a new window for the request could begin.
    fn room_for_window(&self, state: &State, climb: &Climb<'_>) -> Option<u64> {
        let size = climb.need.size.next_multiple_of(self.granule());
        state.space.smallest_unmapped(self.windows_from, size, climb.need.alignment)
    }

    /// Gives up memory that a failure left held and unusable, if there is any.
    fn let_go(&self, core: &Core<Self>) {
        if self.mapping.has_stuck() {
            self.mapping.release_spares();
            core.lock().set_reserved(self.mapping.held());
        }
    }

    /// Whether the ceiling leaves room for so many bytes of new memory. Spare memory is reserved
    /// already.
    fn has_room(&self, core: &Core<Self>, state: &State, bytes: u64) -> bool {
        let fresh = bytes.saturating_sub(self.mapping.spare());
        fresh <= core.ceiling.saturating_sub(state.counters.reserved)
    }
}

impl Sealed for VirtualArena {
    fn device(&self) -> &Arc<dyn Device> {
        self.mapping.device()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::empty())
    }

    fn granule(&self) -> u64 {
        self.mapping.granule()
    }

    fn address_ranges(&self) -> Vec<(u64, u64)> {
        let base = self.mapping.base().get();
        let end = base + self.mapping.size();
        let ranges = [(base, self.windows_from), (self.windows_from, end)];
        let ranges = ranges.into_iter().filter(|(start, end)| start < end);
        ranges.map(|(start, end)| (start, end - start)).collect()
    }

    fn most(&self) -> u64 {
        self.device().facts().total_memory.min(MOST)
    }

    fn pending(&self) -> Pending {
        Pending::Moves
    }

    fn default_growth(&self) -> Growth {
        Growth::Exact
    }

    fn resume(core: &Core<Self>, climb: &Climb<'_>) -> Option<Slot> {
        relocate::resume(core, climb)
    }

    fn grow(core: &Core<Self>, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        if let Some(slot) = relocate::wait_and_resume(core, climb)? {
            return Ok(slot);
        }
        core.backing.let_go(core);
        if core.config.footprint == Footprint::Tight && saves_memory(core, climb) {
            match move_into_window(core, climb) {
                // Short of addresses or of memory: growth at home may need neither.
                Err(GrowthFailure::Refused(_)) => {}
                moved => return moved,
            }
        }
        grow::grow(core, climb)
    }

    fn make_room(
        core: &Core<Self>,
        climb: &mut Climb<'_>,
        _service: &mut Option<Stream>,
    ) -> Result<Option<Slot>, GrowthFailure> {
        let moved = move_into_window(core, climb);
        if moved.is_err() {
            climb.tried(Rung::Move, Self::movable(core));
        }
        moved.map(Some)
    }

    fn give_back(
        core: &Core<Self>,
        keep: u64,
        _service: &mut Option<Stream>,
    ) -> (u64, Option<BoxedError>) {
        give_back::give_back(core, keep)
    }

    fn returnable(core: &Core<Self>) -> u64 {
        give_back::returnable(core)
    }

    fn movable(core: &Core<Self>) -> u64 {
        give_back::free_granules(core).min(core.backing.window_addresses())
    }

    fn windows_info(&self) -> Vec<WindowInfo> {
        self.windows().info()
    }

    #[inline]
    fn lends(&self, start: u64) -> bool {
        start >= self.windows_from
    }

    fn take_back(core: &Core<Self>, state: &mut State, slot: Slot, tag: Tag) {
        relocate::take_back(core, state, slot, tag);
    }
}

/// Whether a window needs less new memory than growth at home.
fn saves_memory(core: &Core<VirtualArena>, climb: &Climb<'_>) -> bool {
    let state = core.lock();
    let at_home = state.cheapest_growth(core, climb, climb.need.size);
    let missing = state.missing_for_window(climb, core.backing.granule());
    at_home.is_none_or(|stretch| missing < stretch.fresh)
}

/// Moves memory to where the request can be placed and takes what is missing. Gives up the addresses
/// of windows where addresses are short or windows too many.
fn move_into_window(
    core: &Core<VirtualArena>,
    climb: &mut Climb<'_>,
) -> Result<Slot, GrowthFailure> {
    make_addresses(core, climb)?;
    let slot = relocate::map_window(core, climb)?;
    if let Err(error) = purge::hold_under_cap(core) {
        tracing::warn!(%error, "unused addresses could not be unmapped");
    }
    Ok(slot)
}

/// Unmaps as many unused windows as it takes to place a new one. If work through them is pending,
/// that is left to a later try, after a wait.
fn make_addresses(core: &Core<VirtualArena>, climb: &mut Climb<'_>) -> Result<(), GrowthFailure> {
    let has_room = || core.backing.room_for_window(&core.lock(), climb).is_some();
    if has_room() {
        return Ok(());
    }
    if core.backing.windows().bytes() == 0 {
        return Err(out_of_addresses());
    }
    if let Err(error) = core.observe().and_then(|()| purge::unmap_until(core, has_room)) {
        tracing::warn!(%error, "addresses could not be unmapped");
    }
    if !has_room() {
        climb.lacks_addresses();
        return Err(out_of_addresses());
    }
    Ok(())
}

fn out_of_addresses() -> GrowthFailure {
    GrowthFailure::Refused("no stretch of the address range is long enough".into())
}

/// Maps memory at all of several unmapped ranges, or at none.
fn map_all(mapping: &Mapping, ranges: &[(u64, u64)]) -> Result<(), Obstacle> {
    for (i, &(start, size)) in ranges.iter().enumerate() {
        if let Err(error) = mapping.map(start, size) {
            for &(start, size) in &ranges[..i] {
                mapping.undo(start, size);
            }
            return Err(error.into());
        }
    }
    Ok(())
}

impl fmt::Debug for VirtualArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualArena")
            .field("base", &self.mapping.base())
            .field("size", &self.mapping.size())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for VirtualArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualArena")
    }
}
