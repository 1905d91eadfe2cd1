//! Managed memory.

use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use vmem_core::{Advice, Device, Location, RawStream};
use vmem_sim::SimDevice;

use super::exports;
use super::memory::pointer;
use crate::refusal::{Answer, INVALID_DEVICE, Refusal};
use crate::session::{AllocationKind, Session};
use crate::types::Out;

exports! {
    fn cuMemAllocManaged(driver, address: Out<u64>, bytes: usize, flags: c_uint) {
        let slot = address.slot()?;
        if flags != 1 && flags != 2 {
            return Err(Refusal::value(format!("flags {flags} are not 1 (global) or 2 (host)")));
        }
        let session = driver.session()?;
        let here = session.here()?;
        let managed = here.sim.managed().ok_or_else(absent)?;
        session.unsafe_call(here.ordinal)?;
        let ptr = managed.allocate(bytes as u64)?.get();
        session.own(&here, ptr, AllocationKind::Managed, bytes);
        slot.put(ptr);
        Ok(())
    }

    fn cuMemAdvise(driver, address: u64, bytes: usize, advice: c_uint, device: c_int) {
        let session = driver.session()?;
        session.want_context()?;
        let (place, sim) = target(session, address, device)?;
        let advice = match advice {
            1 => Advice::ReadMostly,
            2 => Advice::UnsetReadMostly,
            3 => Advice::PreferredLocation(place?),
            4 => Advice::UnsetPreferredLocation,
            5 => Advice::AccessedBy(place?),
            6 => Advice::UnsetAccessedBy(place?),
            other => return Err(Refusal::value(format!("advice {other} is none"))),
        };
        let managed = sim.managed().ok_or_else(absent)?;
        let sets = matches!(
            advice,
            Advice::PreferredLocation(Location::Device) | Advice::AccessedBy(Location::Device)
        );
        if sets && !managed.concurrent_access() {
            let why = "such advice needs concurrent managed access of the device";
            return Err(Refusal::new(INVALID_DEVICE, why));
        }
        // SAFETY: contract, devices/pending-work: the simulation refuses a range that is no managed
        // one.
        Ok(unsafe { managed.advise(pointer(address)?, bytes as u64, advice) }?)
    }

    fn cuMemPrefetchAsync(
        driver,
        address: u64,
        bytes: usize,
        device: c_int,
        stream: u64,
    ) {
        let session = driver.session()?;
        session.want_context()?;
        let (place, sim) = target(session, address, device)?;
        let managed = sim.managed().ok_or_else(absent)?;
        let (at, stream) = (pointer(address)?, RawStream(stream));
        // SAFETY: contract, devices/handles and devices/pending-work: the simulation refuses dead
        // handles and a range that is no managed one.
        Ok(unsafe { managed.prefetch(at, bytes as u64, place?, stream) }?)
    }

    /// Knows the last prefetch location (4): a device, -1 for the host, -2 for no single one.
    fn cuMemRangeGetAttribute(
        driver,
        data: Out<c_int>,
        size: usize,
        attribute: c_uint,
        address: u64,
        bytes: usize,
    ) {
        let slot = data.slot()?;
        if attribute != 4 {
            return Err(Refusal::unsupported(format!("range attribute {attribute}")));
        }
        if size != size_of::<c_int>() {
            return Err(Refusal::value(format!("{size} B for an attribute of 4 B")));
        }
        let session = driver.session()?;
        session.want_context()?;
        let (found, sim) = session.holder(address)?;
        let managed = sim.managed().ok_or_else(absent)?;
        // SAFETY: contract, devices/pending-work: the simulation refuses a range that is no managed
        // one.
        let last = unsafe { managed.last_prefetch(pointer(address)?, bytes as u64) }?;
        slot.put(match last {
            Some(Location::Device) => c_int::try_from(found.ordinal).unwrap_or(c_int::MAX),
            Some(Location::Host) => CPU,
            _ => -2,
        });
        Ok(())
    }
}

/// `CU_DEVICE_CPU`.
const CPU: c_int = -1;

/// The device of managed memory, and what a device's number means to it.
fn target(
    session: &Session,
    address: u64,
    device: c_int,
) -> Answer<(Answer<Location>, Arc<SimDevice>)> {
    let (found, sim) = session.holder(address)?;
    let place = match device {
        CPU => Ok(Location::Host),
        number => session.ordinal(number).and_then(|ordinal| {
            if ordinal == found.ordinal {
                return Ok(Location::Device);
            }
            let why = "managed memory of one device on another is not modelled";
            Err(Refusal::unsupported(why))
        }),
    };
    Ok((place, sim))
}

fn absent() -> Refusal {
    Refusal::unsupported("the device has no managed memory")
}
