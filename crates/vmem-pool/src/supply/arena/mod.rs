//! Physical memory mapped into one range of addresses.
//!
//! The lower half of the range is *home*: every granule of memory that the arena takes is mapped
//! there, next to what is there already, and that is where it is free. The upper half is for
//! *aliases*: a request that finds no contiguous room at home gets free handles from several places,
//! mapped a second time side by side, of the last one perhaps the lower end only and, where memory is short,
//! of the first the upper end. When its block is freed, the memory is free at home again; the alias stays
//! mapped, and the next request like it gets it without a driver call.

mod gathering;
mod handles;
mod mapping;
mod plans;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(crate) use mapping::Handles;
use vmem_core::author::fork;
use vmem_core::{Allowance, Device, VirtualMemory};

use super::{Ask, Growth, Memory, Miss, Plan, Return, Supply, Way};
use crate::space::{MOST, Span, pointer};
use crate::{BuildError, BuildErrorKind};

/// How many times the device's memory the address range spans at first; halved until the driver
/// agrees.
const RANGE_FACTOR: u64 = 8;

/// A backing that maps physical memory into one contiguous range of addresses, so that all of it joins,
/// and moves it to where contiguous room is needed.
///
/// It takes memory in handles of whole granules: one to five for a request, of up to a two-thousandth of
/// a device of 80 GiB, and of one granule where the device has, or the ceiling is, less than 25 GiB. A
/// handle is mapped and returned whole.
///
/// A move copies nothing: the physical memory of free handles is mapped at other addresses as well, side
/// by side; of the last one a free lower end is enough, and of the first an upper end, which counts once
/// seven sixteenths of what there may be are held, or no more is to be had. Those addresses stay mapped, so
/// that a program that repeats itself finds them again without a driver call. Beyond four times the memory
/// held, the longest unused are unmapped as their work completes. Where the driver reserves no more
/// addresses than the device has memory, nothing moves.
pub struct VirtualArena {
    device: Arc<dyn Device>,
    /// All of its addresses.
    range: Span,
    /// Where addresses for aliases begin; below is home.
    aliases_from: u64,
    granule: u64,
    /// What is charged for every handle, if anything is.
    allowance: Option<Arc<dyn Allowance>>,
    /// Bytes of the device's memory, wherever they are, that the driver has not confirmed to have taken
    /// back, whichever call fails. Changed by whoever has the handles.
    held: AtomicU64,
    /// The same of the host's memory.
    host_held: AtomicU64,
    /// The most of the host's memory that may be held.
    host_limit: AtomicU64,
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
        while factor > 1 && memory.saturating_mul(factor) / 2 > MOST {
            factor /= 2;
        }
        loop {
            let size = match factor {
                1 => memory.min(MOST / granule * granule),
                _ => memory.saturating_mul(factor),
            };
            match vm.reserve(size) {
                Ok(base) => {
                    let home = if factor == 1 { size } else { size / 2 };
                    return Ok(Self {
                        range: Span::new(base.get(), size),
                        aliases_from: base.get() + home,
                        granule,
                        allowance: None,
                        held: AtomicU64::new(0),
                        host_held: AtomicU64::new(0),
                        host_limit: AtomicU64::new(u64::MAX),
                        device,
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
        self.allowance = Some(Arc::new(allowance));
        self
    }

    /// The length of the address range, in bytes.
    pub fn address_space(&self) -> u64 {
        self.range.size
    }

    fn vm(&self) -> &dyn VirtualMemory {
        self.device.virtual_memory().expect("the device had virtual memory at construction")
    }
}

impl Drop for VirtualArena {
    /// Gives the address range back. What is still held is live, or could not be returned: it leaks
    /// with its addresses, and the pool has reported it.
    fn drop(&mut self) {
        if fork::is_child() || self.held() + self.held_on_host() > 0 {
            return;
        }
        let Span { start, size } = self.range;
        // SAFETY: contract, devices/ranges: the whole range, in which nothing is mapped any more.
        if let Err(error) = unsafe { self.vm().free_range(pointer(start), size) } {
            self.device.base().drop_failures().record("an address range", &error);
        }
    }
}

impl fmt::Debug for VirtualArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualArena")
            .field("base", &pointer(self.range.start))
            .field("size", &self.address_space())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for VirtualArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualArena")
    }
}
