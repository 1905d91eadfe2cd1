//! Managed memory's calls.
//!
//! The rules are those of the CUDA C++ Programming Guide, "Unified Memory Programming".

use std::sync::Arc;

use vmem_core::{Advice, DevicePtr, DriverCode, DriverError, Location, Managed, RawStream};

use super::Core;
use super::driver::pointer;
use crate::checker::Access;
use crate::memory::{Piece, RegionKind, Residency};
use crate::state::State;
use crate::stream::Submission;
use crate::violation::{Refusal, ViolationKind};
use crate::{CallKind, Parts};

/// `CUDA_ERROR_INVALID_DEVICE`, which prefetching answers without concurrent access.
const INVALID_DEVICE: DriverCode = DriverCode(101);

/// A device's managed memory.
#[derive(Debug)]
pub(crate) struct SimManaged {
    core: Arc<Core>,
    concurrent: bool,
}

impl SimManaged {
    pub(super) const fn new(core: Arc<Core>, concurrent: bool) -> Self {
        Self { core, concurrent }
    }
}

// SAFETY: contract, devices: the host's allocator keeps allocations disjoint, and every misuse that
// the contract excludes is refused besides.
unsafe impl Managed for SimManaged {
    fn concurrent_access(&self) -> bool {
        self.concurrent
    }

    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        let kind = CallKind::ManagedAllocate;
        let address = self.core.call(kind, |state| state.allocate_managed(bytes))?;
        Ok(pointer(address))
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        self.core.call(CallKind::ManagedFree, |state| state.free_managed(ptr.get()))
    }

    unsafe fn advise(&self, ptr: DevicePtr, bytes: u64, advice: Advice) -> Result<(), DriverError> {
        self.core.call(CallKind::Advise, |state| {
            let piece = state.managed_range(ptr.get(), bytes)?;
            let physical = state.memory.physicals.get_mut(piece.physical);
            if let Some(residency) = &mut physical.residency {
                residency.advise(piece.offset, piece.len, advice);
            }
            Ok(())
        })
    }

    unsafe fn prefetch(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        to: Location,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        self.core.call(CallKind::Prefetch, |state| {
            if !self.concurrent {
                let detail = "prefetching needs concurrent managed access";
                return Err(Refusal::cannot(INVALID_DEVICE, detail));
            }
            if !matches!(to, Location::Device | Location::Host) {
                let detail = format!("prefetching to {to:?} is not modelled");
                return Err(Refusal::cannot(DriverCode::NOT_SUPPORTED, detail));
            }
            let piece = state.managed_range(ptr.get(), bytes)?;
            let range = (piece.offset, piece.len);
            let costs = state.config.costs;
            let time = state.memory.prefetch(piece.physical, range, to, &costs);
            let work = Submission { device_ns: time, ..Submission::mark("cuMemPrefetchAsync") };
            state.submit_to(stream, work)
        })
    }

    unsafe fn last_prefetch(
        &self,
        ptr: DevicePtr,
        bytes: u64,
    ) -> Result<Option<Location>, DriverError> {
        self.core.call(CallKind::LastPrefetch, |state| {
            let piece = state.managed_range(ptr.get(), bytes)?;
            let residency = &state.memory.physicals.get(piece.physical).residency;
            Ok(residency
                .as_ref()
                .and_then(|residency| residency.last_prefetch(piece.offset, piece.len)))
        })
    }
}

impl State {
    /// With concurrent access, pages come to the device as it touches them, and more can be
    /// allocated than it holds. Without, all of them count against it from the start.
    fn allocate_managed(&mut self, bytes: u64) -> Result<u64, Refusal> {
        self.refuse_unsafe_allocation()?;
        self.check_size(bytes)?;
        let pages = self.has_concurrent_access();
        if !pages {
            self.take_memory(bytes)?;
        }
        let kind = CallKind::ManagedAllocate;
        let inserted = self.insert_host_memory(bytes, RegionKind::Managed, kind);
        match inserted {
            Err(_) if !pages => self.memory.give_back(bytes),
            Ok(address) if pages => {
                let physical = self.memory.allocation(address, RegionKind::Managed)?.physical;
                let residency = Some(Box::new(Residency::new(bytes)));
                self.memory.physicals.get_mut(physical).residency = residency;
            }
            _ => {}
        }
        inserted
    }

    fn free_managed(&mut self, address: u64) -> Result<(), Refusal> {
        self.refuse_unsafe_allocation()?;
        let bytes = self.memory.allocation(address, RegionKind::Managed)?.size;
        self.remove_host_memory(address, RegionKind::Managed)?;
        self.await_device();
        if !self.has_concurrent_access() {
            self.memory.give_back(bytes);
        }
        Ok(())
    }

    /// The one allocation that a managed range lies in.
    fn managed_range(&self, at: u64, bytes: u64) -> Result<Piece, Refusal> {
        let pieces = self.memory.resolve(at, bytes)?;
        let managed = pieces.first().filter(|piece| {
            let region = self.memory.space.get(piece.region);
            region.is_some_and(|region| region.kind == RegionKind::Managed)
        });
        managed.copied().ok_or_else(|| {
            let detail = format!("{bytes} B at {at:#x} are no managed memory");
            let code = DriverCode::INVALID_VALUE;
            Refusal::misuse(ViolationKind::BadAddress, code, detail)
        })
    }

    /// The host touches managed memory: its pages come to it. Without concurrent access the host
    /// must not touch any managed memory while the device works at all.
    pub(super) fn fault_on_host(&mut self, piece: &Piece, access: Access) -> Result<(), Refusal> {
        if !self.has_concurrent_access() {
            if self.lanes.busy.is_empty() {
                return Ok(());
            }
            let detail = "the host touches managed memory while the device works, and the device \
                          has no concurrent managed access";
            let code = DriverCode::ILLEGAL_STATE;
            return Err(Refusal::misuse(ViolationKind::HostAccess, code, detail));
        }
        let costs = self.config.costs;
        let range = (piece.offset, piece.len);
        self.host_ns += self.memory.host_touches(piece.physical, range, access, &costs);
        Ok(())
    }

    fn has_concurrent_access(&self) -> bool {
        self.config.parts.contains(Parts::CONCURRENT_MANAGED)
    }
}
