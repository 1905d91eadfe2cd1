//! Address ranges and physical memory handled apart.
//!
//! The rules are those of the CUDA Driver API, "Virtual Memory Management".

use std::sync::Arc;

use vmem_core::{DevicePtr, DriverCode, DriverError, PhysicalHandle, VirtualMemory};

use super::Core;
use super::driver::pointer;
use crate::memory::{PhysicalId, Region, RegionKind};
use crate::state::State;
use crate::violation::{Refusal, ViolationKind};
use crate::{CallKind, Strictness};

/// A device's virtual memory management.
#[derive(Debug)]
pub(crate) struct SimVirtualMemory {
    core: Arc<Core>,
    granularity: u64,
    has_host_memory: bool,
}

impl SimVirtualMemory {
    pub(super) const fn new(core: Arc<Core>, granularity: u64, has_host_memory: bool) -> Self {
        Self { core, granularity, has_host_memory }
    }
}

// SAFETY: contract, devices: ranges are disjoint, handles live until released, and every misuse
// that the contract excludes is refused besides.
unsafe impl VirtualMemory for SimVirtualMemory {
    fn granularity(&self) -> u64 {
        self.granularity
    }

    fn reserve(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        let address = self.core.call(CallKind::Reserve, |state| state.reserve_range(bytes))?;
        Ok(pointer(address))
    }

    unsafe fn free_range(&self, base: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        self.core.call(CallKind::FreeRange, |state| state.free_range(base.get(), bytes))
    }

    fn create(&self, bytes: u64) -> Result<PhysicalHandle, DriverError> {
        self.core.call(CallKind::Create, |state| state.create_handle(bytes)).map(PhysicalHandle)
    }

    fn has_host_memory(&self) -> bool {
        self.has_host_memory
    }

    fn create_on_host(&self, bytes: u64) -> Result<PhysicalHandle, DriverError> {
        let has_some = self.has_host_memory;
        let create = |state: &mut State| match has_some {
            true => state.create_handle_on_host(bytes),
            false => {
                let detail = "this device has no handles of the host's memory";
                Err(Refusal::cannot(DriverCode::NOT_SUPPORTED, detail))
            }
        };
        self.core.call(CallKind::CreateOnHost, create).map(PhysicalHandle)
    }

    unsafe fn release(&self, handle: PhysicalHandle) -> Result<(), DriverError> {
        self.core.call(CallKind::Release, |state| {
            let physical = state.memory.handles.remove(handle.0)?;
            let released = state.memory.physicals.get(physical);
            if released.on_host {
                let costs = &state.config.costs;
                state.host_ns += mebibytes(released.size, costs.host_release_mebibyte_ns);
            }
            state.drop_physical(physical);
            Ok(())
        })
    }

    unsafe fn map(
        &self,
        at: DevicePtr,
        bytes: u64,
        handle: PhysicalHandle,
    ) -> Result<(), DriverError> {
        self.core.call(CallKind::Map, |state| state.map(at.get(), bytes, handle))
    }

    unsafe fn set_access(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        self.core.call(CallKind::SetAccess, |state| state.set_access(at.get(), bytes))
    }

    unsafe fn unmap(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        self.core.call(CallKind::Unmap, |state| state.unmap(at.get(), bytes))
    }
}

impl State {
    fn reserve_range(&mut self, bytes: u64) -> Result<u64, Refusal> {
        self.check_granular("size", bytes)?;
        let largest = self.config.max_reservation;
        if largest.is_some_and(|largest| bytes > largest) {
            let detail = format!("{bytes} B is above the largest reservation of this host");
            return Err(Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail));
        }
        let base = self.memory.range_addresses.take(bytes).ok_or_else(|| {
            let detail = format!("no {bytes} B of address space are left");
            Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail)
        })?;
        self.memory.ranges.insert(base, bytes);
        Ok(base)
    }

    fn free_range(&mut self, base: u64, bytes: u64) -> Result<(), Refusal> {
        let wrong = |detail| Refusal::misuse(ViolationKind::BadFree, INVALID, detail);
        match self.memory.ranges.get(&base) {
            None => return Err(wrong(format!("no range is reserved at {base:#x}"))),
            Some(&size) if size != bytes => {
                let detail = format!("the range at {base:#x} has {size} B, not {bytes} B");
                return Err(wrong(detail));
            }
            Some(_) => {}
        }
        let mapped = self.memory.space.starting_in(base, base + bytes).next();
        if let Some((at, _)) = mapped {
            let detail = format!("something is still mapped at {at:#x} in the range at {base:#x}");
            return Err(wrong(detail));
        }
        self.memory.ranges.remove(&base);
        self.memory.range_addresses.give_back(base, bytes);
        Ok(())
    }

    fn create_handle(&mut self, bytes: u64) -> Result<u64, Refusal> {
        self.check_granular("size", bytes)?;
        self.check_size(bytes)?;
        self.take_memory(bytes)?;
        self.host_ns += bytes / self.config.granularity * self.config.costs.create_granule_ns;
        let made = (CallKind::Create.name(), self.call_number);
        let physical = self.memory.new_physical(bytes, made);
        Ok(self.memory.handles.insert(physical))
    }

    fn create_handle_on_host(&mut self, bytes: u64) -> Result<u64, Refusal> {
        self.check_granular("size", bytes)?;
        self.check_size(bytes)?;
        self.memory.take_of_host(bytes)?;
        self.host_ns += mebibytes(bytes, self.config.costs.host_create_mebibyte_ns);
        let made = (CallKind::CreateOnHost.name(), self.call_number);
        let physical = self.memory.new_physical(bytes, made);
        self.memory.physicals.get_mut(physical).on_host = true;
        Ok(self.memory.handles.insert(physical))
    }

    fn map(&mut self, at: u64, bytes: u64, handle: PhysicalHandle) -> Result<(), Refusal> {
        self.check_granular("address", at)?;
        self.check_granular("size", bytes)?;
        let physical = *self.memory.handles.get(handle.0)?;
        let size = self.memory.physicals.get(physical).size;
        let wrong = |detail| Err(Refusal::misuse(ViolationKind::BadArgument, INVALID, detail));
        if bytes != size {
            return wrong(format!("the handle has {size} B, not {bytes} B"));
        }
        if !self.is_reserved(at, bytes) {
            return wrong(format!("{bytes} B at {at:#x} lie in no reserved range"));
        }
        if self.memory.space.overlaps(at, at + bytes) {
            return wrong(format!("something is mapped in {bytes} B at {at:#x}"));
        }
        let mapped = self.memory.physicals.get_mut(physical);
        mapped.holders += 1;
        if mapped.on_host {
            self.host_ns += self.config.costs.host_map_ns;
        }
        let region = Region {
            kind: RegionKind::Mapping,
            size: bytes,
            physical,
            accessible: false,
            uses: Vec::new(),
            since: self.call_number,
        };
        self.memory.space.insert(at, region);
        Ok(())
    }

    fn set_access(&mut self, at: u64, bytes: u64) -> Result<(), Refusal> {
        let strictness = Strictness::PENDING_ACCESS;
        let bases = self.whole_mappings(at, bytes, strictness, "setting access to")?;
        let costs = self.config.costs;
        let (host, mebibyte) = (costs.host_set_access_handle_ns, costs.host_set_access_mebibyte_ns);
        self.charge(&bases, costs.set_access_handle_ns, host, mebibyte);
        for base in bases {
            if let Some(region) = self.memory.space.get_mut(base) {
                region.accessible = true;
            }
        }
        Ok(())
    }

    fn unmap(&mut self, at: u64, bytes: u64) -> Result<(), Refusal> {
        let bases = self.whole_mappings(at, bytes, Strictness::PENDING_UNMAP, "unmapping")?;
        let costs = self.config.costs;
        let (host, mebibyte) = (costs.host_unmap_handle_ns, costs.host_unmap_mebibyte_ns);
        self.charge(&bases, costs.unmap_handle_ns, host, mebibyte);
        for base in bases {
            if let Some(region) = self.memory.bury(base, self.call_number) {
                self.drop_physical(region.physical);
            }
        }
        Ok(())
    }

    /// Charges a call that goes through mappings: for each of the device's memory, for each of the
    /// host's, and for each MiB of those.
    fn charge(&mut self, bases: &[u64], device: u64, host: u64, mebibyte: u64) {
        for &base in bases {
            let physical = self.memory.space.get(base).map(|region| region.physical);
            let physical = physical.map(|id| self.memory.physicals.get(id));
            self.host_ns += match physical.filter(|physical| physical.on_host) {
                Some(physical) => host + mebibytes(physical.size, mebibyte),
                None => device,
            };
        }
    }

    /// The mappings that make up a range, if it is made of whole ones and nothing is pending on
    /// them, which is refused under `strictness`. `what` is what is to be done to them.
    fn whole_mappings(
        &mut self,
        at: u64,
        bytes: u64,
        strictness: Strictness,
        what: &str,
    ) -> Result<Vec<u64>, Refusal> {
        self.check_granular("address", at)?;
        self.check_granular("size", bytes)?;
        let end = at.saturating_add(bytes);
        let wrong = |detail| Err(Refusal::misuse(ViolationKind::BadFree, INVALID, detail));
        let mut bases = Vec::new();
        let mut next = at;
        while next < end {
            match self.memory.space.get(next) {
                Some(region) if region.kind == RegionKind::Mapping => {
                    let (size, uses) = (region.size, region.uses.clone());
                    self.refuse_pending(strictness, &uses, || {
                        format!("{what} {size} B at {next:#x}")
                    })?;
                    bases.push(next);
                    next += size;
                }
                // CUDA lets reserved space without a mapping be unmapped.
                None if strictness == Strictness::PENDING_UNMAP
                    && self.memory.space.holding(next).is_none()
                    && self.is_reserved(at, bytes) =>
                {
                    let detail = format!("no mapping starts at {next:#x}");
                    let refusal = Refusal::misuse(ViolationKind::BadFree, INVALID, detail);
                    self.refuse_if(Strictness::UNMAPPED_SPACE, refusal)?;
                    next += self.config.granularity;
                }
                _ => {
                    return wrong(format!("no mapping starts at {next:#x}, only whole ones count"));
                }
            }
        }
        if next != end {
            let last = bases.last().copied().unwrap_or(at);
            return wrong(format!("the range ends inside the mapping at {last:#x}"));
        }
        Ok(bases)
    }

    fn is_reserved(&self, at: u64, bytes: u64) -> bool {
        let range = self.memory.ranges.range(..=at).next_back();
        range.is_some_and(|(&base, &size)| {
            at.checked_add(bytes).is_some_and(|end| end <= base + size)
        })
    }

    /// One holder of physical memory less; the last returns it to where it came from.
    fn drop_physical(&mut self, physical: PhysicalId) {
        if let Some(physical) = self.memory.physicals.drop_holder(physical) {
            match physical.on_host {
                true => self.memory.host_used -= physical.size,
                false => self.memory.give_back(physical.size),
            }
        }
    }

    fn check_granular(&self, what: &str, value: u64) -> Result<(), Refusal> {
        let granularity = self.config.granularity;
        if value != 0 && value.is_multiple_of(granularity) {
            return Ok(());
        }
        let detail = format!("{what} {value:#x} is not a positive multiple of {granularity:#x}");
        Err(Refusal::misuse(ViolationKind::BadArgument, INVALID, detail))
    }
}

const INVALID: DriverCode = DriverCode::INVALID_VALUE;

/// What so many bytes cost at a price for each MiB.
const fn mebibytes(bytes: u64, each: u64) -> u64 {
    ((bytes >> 10) * each) >> 10
}
