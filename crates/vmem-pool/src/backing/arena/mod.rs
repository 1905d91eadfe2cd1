//! One range of address space that physical memory is mapped into.

mod give_back;
mod grow;
mod mapping;

use std::fmt;
use std::sync::Arc;

use mapping::Mapping;
use vmem_core::{BoxedError, Capabilities, Device, Features, Stream};

use super::{Growth, GrowthFailure, Sealed};
use crate::core::Core;
use crate::ladder::Climb;
use crate::space::Slot;
use crate::{BuildError, BuildErrorKind};

/// How many times the device's memory the address range spans at first; halved until the driver
/// agrees.
const RANGE_FACTOR: u64 = 8;

/// A backing that maps physical memory into one contiguous range of addresses, one granule at a
/// time, so that all of it joins.
pub struct VirtualArena {
    mapping: Mapping,
}

impl VirtualArena {
    /// Reserves an address range on `device`: eight times its memory, or half of that, and so on
    /// down to its memory. No memory is taken.
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
            match vm.reserve(size) {
                Ok(base) => return Ok(Self { mapping: Mapping::new(device, base, size, granule) }),
                Err(error) if factor == 1 => return Err(BuildError::refused(error)),
                Err(_) => factor /= 2,
            }
        }
    }

    /// How long the address range is, in bytes.
    pub fn address_space(&self) -> u64 {
        self.mapping.size()
    }
}

impl Sealed for VirtualArena {
    fn device(&self) -> &Arc<dyn Device> {
        self.mapping.device()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::PEER_ACCESS)
    }

    fn granule(&self) -> u64 {
        self.mapping.granule()
    }

    fn address_range(&self) -> Option<(u64, u64)> {
        Some((self.mapping.base().get(), self.mapping.size()))
    }

    fn default_growth(&self) -> Growth {
        Growth::Exact
    }

    fn grow(core: &Core<Self>, climb: &Climb<'_>) -> Result<Slot, GrowthFailure> {
        grow::grow(core, climb)
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
