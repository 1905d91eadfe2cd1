//! Plain device memory, and pinned host memory.

use std::ffi::c_uint;

use vmem_core::{Device, DevicePtr};

use super::exports;
use crate::driver::Driver;
use crate::refusal::{Answer, Refusal};
use crate::session::AllocationKind;
use crate::types::Out;

exports! {
    fn cuMemAlloc_v2(driver, address: Out<u64>, bytes: usize) {
        let slot = address.slot()?;
        let session = driver.session()?;
        let here = session.here()?;
        session.unsafe_call(here.ordinal)?;
        let ptr = here.sim.allocate(bytes as u64)?.get();
        session.own(&here, ptr, AllocationKind::Plain, bytes);
        slot.put(ptr);
        Ok(())
    }

    /// Frees plain and managed memory of any device. What has pending work is refused by a strict
    /// driver: the real one waits for it in practice, and promises nothing.
    fn cuMemFree_v2(driver, address: u64) {
        let session = driver.session()?;
        session.want_context()?;
        // Freeing nothing does nothing.
        if address == 0 {
            return Ok(());
        }
        let (found, sim) = session.owner(address)?;
        session.unsafe_call(found.ordinal)?;
        let at = pointer(address)?;
        match found.kind {
            AllocationKind::Plain => {
                // SAFETY: contract, devices/pending-work: a live allocation of this kind; the
                // simulation refuses what is pending.
                unsafe { sim.free(at) }?;
            }
            AllocationKind::Managed => {
                let managed = sim.managed().ok_or_else(|| Refusal::unsupported("no managed"))?;
                // SAFETY: as above.
                unsafe { managed.free(at) }?;
            }
            AllocationKind::Pinned | AllocationKind::StreamOrdered(_) => {
                return Err(Refusal::value("memory that another function frees"));
            }
        }
        session.allocations.remove(&address);
        Ok(())
    }

    fn cuMemGetInfo_v2(driver, free: Out<usize>, total: Out<usize>) {
        let (free, total) = (free.slot()?, total.slot()?);
        let info = driver.session()?.here()?.sim.memory_info()?;
        free.put(usize::try_from(info.free).unwrap_or(usize::MAX));
        total.put(usize::try_from(info.total).unwrap_or(usize::MAX));
        Ok(())
    }

    /// The address is the host's and the device's.
    fn cuMemHostAlloc(driver, address: Out<u64>, bytes: usize, flags: c_uint) {
        if flags > 7 {
            return Err(Refusal::value(format!("flags {flags:#x} are not those of host memory")));
        }
        allocate_pinned(driver, &address, bytes)
    }

    /// The older form, without flags.
    fn cuMemAllocHost_v2(driver, address: Out<u64>, bytes: usize) {
        allocate_pinned(driver, &address, bytes)
    }

    fn cuMemFreeHost(driver, address: u64) {
        let session = driver.session()?;
        session.want_context()?;
        let (found, sim) = session.owner(address)?;
        session.unsafe_call(found.ordinal)?;
        let pinned = sim.pinned().filter(|_| found.kind == AllocationKind::Pinned);
        let pinned = pinned.ok_or_else(|| Refusal::value("not pinned memory"))?;
        // SAFETY: contract, devices/pending-work: a live allocation of this kind; the simulation
        // refuses what is pending.
        unsafe { pinned.free(pointer(address)?) }?;
        session.allocations.remove(&address);
        Ok(())
    }
}

fn allocate_pinned(driver: &mut Driver, address: &Out<u64>, bytes: usize) -> Answer {
    let slot = address.slot()?;
    let session = driver.session()?;
    let here = session.here()?;
    let pinned = here.sim.pinned().ok_or_else(|| Refusal::unsupported("no pinned memory"))?;
    session.unsafe_call(here.ordinal)?;
    let ptr = pinned.allocate(bytes as u64)?.get();
    session.own(&here, ptr, AllocationKind::Pinned, bytes);
    slot.put(ptr);
    Ok(())
}

/// An address that is not zero.
pub(super) fn pointer(address: u64) -> Answer<DevicePtr> {
    DevicePtr::new(address).ok_or_else(|| Refusal::value("the address is zero"))
}
