//! Physical memory mapped into one range of addresses.
//!
//! The lower half of the range is *home*: every granule of memory that the arena takes is mapped
//! there, next to what is there already, and that is where it is free. The upper half is for
//! *aliases*: a request that finds no contiguous room at home gets free handles from several places,
//! mapped a second time side by side, and of the last one perhaps the lower end only. When its block is freed, the memory is free at home
//! again; the alias stays mapped, and the next request like it gets it without a driver call.

mod handles;
mod mapping;
mod plans;

use std::fmt;
use std::sync::Arc;

pub(crate) use mapping::{Handles, Mapping};
use vmem_core::{Allowance, BoxedError, Capabilities, Device, Features, Request};

use super::{Ask, Fresh, Growth, Memory, Miss, Plan, Return, Supply};
use crate::space::{MOST, Span, StreamIx, pointer};
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
/// by side; of the last one a free lower end is enough. Those addresses stay mapped, so that a program that repeats itself finds them again
/// without a driver call. Beyond four times the memory held, the longest unused are unmapped as
/// their work completes. Where the driver reserves no more addresses than the device has memory,
/// nothing moves.
pub struct VirtualArena {
    mapping: Mapping,
    /// Where addresses for aliases begin; below is home.
    aliases_from: u64,
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
                        aliases_from: base.get() + home,
                        mapping: Mapping::new(device, Span::new(base.get(), size), granule),
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
        self.mapping.allowance = Some(Arc::new(allowance));
        self
    }

    /// New memory at unmapped spans for a request.
    fn fresh(&self, spans: Vec<Span>, ask: &Ask<'_>) -> Fresh {
        let missing = spans.iter().map(|span| span.size).sum();
        let limit = ask.limit.min(self.most());
        let largest = match ask.own {
            true => handles::largest_to_rest(self.held(), missing, self.granule()),
            false => handles::largest(limit, self.held(), missing, self.granule()),
        };
        // What the request does not fill is to be a handle that others can share.
        let apart = ask.own && !ask.need.size.is_multiple_of(self.granule());
        Fresh { spans, largest, apart, handles: Vec::new() }
    }

    /// Where memory for a lane is mapped if nothing speaks for another place: lanes that grow apart have
    /// longer stretches of their own. Each part has room for all the memory there is.
    fn part_of(&self, lane: StreamIx) -> u64 {
        let Span { start, size } = Span::between(self.mapping.range.start, self.aliases_from);
        let memory = self.device().facts().total_memory.next_multiple_of(self.granule());
        let parts = (size / memory).max(1);
        start + memory * (u64::from(lane.0.saturating_sub(1)) % parts)
    }

    /// The length of the address range, in bytes.
    pub fn address_space(&self) -> u64 {
        self.mapping.range.size
    }
}

impl Supply for VirtualArena {
    type Held = Handles;

    fn device(&self) -> &Arc<dyn Device> {
        &self.mapping.device
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::empty())
    }

    fn granule(&self) -> u64 {
        self.mapping.granule
    }

    fn addresses(&self) -> Option<(Span, u64)> {
        Some((self.mapping.range, self.aliases_from))
    }

    fn most(&self) -> u64 {
        self.device().facts().total_memory.min(MOST)
    }

    fn held(&self) -> u64 {
        self.mapping.held()
    }

    fn default_growth(&self) -> Growth {
        Growth::Exact
    }

    fn mapping(&self) -> Option<&Mapping> {
        Some(&self.mapping)
    }

    fn mapped<'a>(&'a self, held: &'a mut Handles) -> Option<(&'a Mapping, &'a mut Handles)> {
        Some((&self.mapping, held))
    }

    fn extend(
        &self,
        held: &Handles,
        memory: &Memory<'_>,
        ask: &Ask<'_>,
        size: u64,
    ) -> Result<Plan, Miss> {
        plans::extend(self, held, memory, ask, size)
    }

    fn gathering_saves(&self, memory: &Memory<'_>, ask: &Ask<'_>) -> bool {
        plans::gathering_saves(self, memory, ask)
    }

    fn gather(&self, held: &Handles, memory: &Memory<'_>, ask: &Ask<'_>) -> Result<Plan, Miss> {
        plans::gather(self, held, memory, ask)
    }

    fn carry_out(
        &self,
        held: &mut Handles,
        plan: &mut Plan,
        _request: &Request<'_>,
    ) -> Result<(), Miss> {
        plans::carry_out(&self.mapping, held, plan).map_err(Miss::from)
    }

    fn surplus(&self, memory: &Memory<'_>, keep: u64) -> Vec<Span> {
        plans::surplus(self, memory, keep)
    }

    fn give_back(&self, held: &mut Handles, going: &mut Return) -> Result<(), BoxedError> {
        plans::give_back(&self.mapping, held, going).map_err(BoxedError::from)
    }

    fn returnable(&self, memory: &Memory<'_>, free: &[Span]) -> u64 {
        // What is held and not at home is spare.
        let Memory { space, aliases } = memory;
        let home = self.aliases_from - self.mapping.range.start;
        let away = aliases.resting.away.below(self.aliases_from);
        let above = Span::between(self.aliases_from, self.mapping.range.end());
        let settled = aliases.cuts.in_whole(&[above]);
        let at_home = home - space.unmapped_below(self.aliases_from) - away + settled;
        let spare = self.held().saturating_sub(at_home);
        aliases.cuts.in_whole(free) + spare
    }
}

impl fmt::Debug for VirtualArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualArena")
            .field("base", &pointer(self.mapping.range.start))
            .field("size", &self.address_space())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for VirtualArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualArena")
    }
}
