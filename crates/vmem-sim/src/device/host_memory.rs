//! Memory that the host can touch: pinned memory, and what it shares with managed memory.

use std::sync::Arc;

use vmem_core::author::HostAccess;
use vmem_core::{DevicePtr, DriverCode, DriverError, Pinned};

use super::Core;
use super::driver::pointer;
use crate::checker::Access;
use crate::memory::{Region, RegionKind, Store};
use crate::state::State;
use crate::violation::{Refusal, ViolationKind};
use crate::{CallKind, Strictness};

/// A device's pinned host memory.
#[derive(Debug)]
pub(crate) struct SimPinned {
    core: Arc<Core>,
}

impl SimPinned {
    pub(super) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

// SAFETY: contract, devices: the host's allocator keeps allocations disjoint, and every misuse that
// the contract excludes is refused besides.
unsafe impl Pinned for SimPinned {
    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        let allocate = |state: &mut State| {
            state.refuse_unsafe_allocation()?;
            state.check_size(bytes)?;
            let (kind, call) = (RegionKind::Pinned, CallKind::PinnedAllocate);
            let address = state.insert_host_memory(bytes, kind, call)?;
            // Charged once it is there: what the host refuses may be too large to multiply.
            state.host_ns += (bytes >> 20) * state.config.costs.pinned_mebibyte_ns;
            Ok(address)
        };
        self.core.call(CallKind::PinnedAllocate, allocate).map(pointer)
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        self.core.call(CallKind::PinnedFree, |state| {
            state.refuse_unsafe_allocation()?;
            state.remove_host_memory(ptr.get(), RegionKind::Pinned)
        })
    }
}

impl State {
    /// A new allocation in the host's memory.
    pub(super) fn insert_host_memory(
        &mut self,
        bytes: u64,
        kind: RegionKind,
        call: CallKind,
    ) -> Result<u64, Refusal> {
        let made = (call.name(), self.call_number);
        let Some((physical, address)) = self.memory.new_host_physical(bytes, made) else {
            let detail = format!("the host does not have {bytes} B");
            return Err(Refusal::cannot(DriverCode::OUT_OF_MEMORY, detail));
        };
        let region = Region {
            kind,
            size: bytes,
            physical,
            accessible: true,
            uses: Vec::new(),
            since: self.call_number,
        };
        self.memory.space.insert(address, region);
        Ok(address)
    }

    pub(super) fn remove_host_memory(
        &mut self,
        address: u64,
        kind: RegionKind,
    ) -> Result<(), Refusal> {
        self.refuse_pending_free(address, kind)?;
        let Some(region) = self.memory.bury(address, self.call_number) else {
            return Ok(());
        };
        let Some(physical) = self.memory.physicals.drop_holder(region.physical) else {
            return Ok(());
        };
        if physical.simulated {
            self.memory.give_back_address(address, physical.size);
        }
        if let Some(residency) = &physical.residency {
            self.memory.forget_residency(residency, physical.size);
        }
        Ok(())
    }

    /// Refuses to free an allocation under pending work.
    pub(super) fn refuse_pending_free(
        &mut self,
        address: u64,
        kind: RegionKind,
    ) -> Result<(), Refusal> {
        let region = self.memory.allocation(address, kind)?;
        let (size, uses) = (region.size, region.uses.clone());
        self.refuse_pending(Strictness::PENDING_FREE, &uses, || {
            format!("freeing {size} B at {address:#x}")
        })
    }

    /// Checks that the host may touch a range now, and charges what that takes. The host finds the
    /// bytes at their device address.
    pub(super) fn check_host_access(
        &mut self,
        at: u64,
        bytes: u64,
        access: HostAccess,
    ) -> Result<(), Refusal> {
        if self.script.is_lost() {
            let detail = "the device was lost; this answer is for ever";
            return Err(Refusal::cannot(DriverCode::LAUNCH_FAILED, detail));
        }
        self.calling = HOST_ACCESS;
        let pieces = self.memory.resolve(at, bytes)?;
        let Some(&piece) = pieces.first() else {
            return Ok(());
        };
        let kind = self.memory.space.get(piece.region).map(|region| region.kind);
        if !matches!(kind, Some(RegionKind::Pinned | RegionKind::Managed)) {
            let detail = format!("the host does not see the {bytes} B at {at:#x}");
            let code = DriverCode::INVALID_VALUE;
            return Err(Refusal::misuse(ViolationKind::BadAddress, code, detail));
        }
        let access = match access {
            HostAccess::Read => Access::Read,
            HostAccess::Write => Access::Write,
        };
        self.refuse_unseen(&piece, access)?;
        if kind == Some(RegionKind::Managed) {
            self.fault_on_host(&piece, access)?;
        }
        match &self.memory.physicals.get(piece.physical).store {
            Store::Host(_) => Ok(()),
            _ => Err(Refusal::cannot(
                DriverCode::NOT_SUPPORTED,
                "the device stores no bytes, so the host has none to view",
            )),
        }
    }

    pub(super) fn refuse_host_access(&mut self, refusal: Refusal) -> DriverError {
        self.refuse(HOST_ACCESS, refusal)
    }

    /// Refuses if work that conflicts with a host access is not known complete: seen by the host,
    /// or, without the checker, simply run. A device that is not so strict reports it, and runs the
    /// work.
    fn refuse_unseen(
        &mut self,
        piece: &crate::memory::Piece,
        access: Access,
    ) -> Result<(), Refusal> {
        let physical = self.memory.physicals.get(piece.physical);
        let range = (piece.offset, piece.offset + piece.len);
        let unseen = match self.config.checker {
            crate::Checker::On => {
                let seen = |point| self.seen.covers(point);
                physical.shadow.find_conflict(range, access, seen).map(|found| found.earlier.point)
            }
            crate::Checker::Off => {
                let region = self.memory.space.get(piece.region);
                let uses = region.map_or(&[][..], |region| &region.uses);
                uses.iter().copied().find(|&point| !self.lanes.is_done(point))
            }
        };
        let Some(point) = unseen else {
            return Ok(());
        };
        let detail = format!(
            "the host touches {} B at {:#x} while it has not seen work on {} complete",
            piece.len,
            piece.at,
            self.lanes.describe(point.lane)
        );
        let code = DriverCode::ILLEGAL_STATE;
        let refusal = Refusal::misuse(ViolationKind::HostAccess, code, detail);
        self.refuse_if(Strictness::HOST_ACCESS, refusal)?;
        self.drain();
        Ok(())
    }
}

const HOST_ACCESS: &str = "host access";
