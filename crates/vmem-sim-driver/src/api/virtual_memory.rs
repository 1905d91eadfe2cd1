//! Virtual memory management. A range belongs to the device whose context was current.

use std::ffi::{c_int, c_ulonglong};

use vmem_core::{Device, PhysicalHandle, VirtualMemory};

use super::exports;
use super::memory::pointer;
use crate::refusal::{Answer, INVALID_DEVICE, Refusal};
use crate::session::{Here, Session};
use crate::types::{ALLOCATION_PINNED, AccessDescription, AllocationProperties, In, Out};

exports! {
    /// The minimum and the recommended granularity are one.
    fn cuMemGetAllocationGranularity(
        driver,
        granularity: Out<usize>,
        properties: In<AllocationProperties>,
        option: c_int,
    ) {
        let slot = granularity.slot()?;
        if option != 0 && option != 1 {
            return Err(Refusal::value(format!("granularity option {option} is not 0 or 1")));
        }
        let session = driver.session()?;
        let properties = properties.get()?;
        let ordinal = match properties.location.is_host()? {
            true => 0,
            false => device_of(session, &properties)?,
        };
        let part = session.gpus[ordinal].sim.virtual_memory().ok_or_else(absent)?;
        slot.put(usize::try_from(part.granularity()).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Alignments above the granularity are not modelled; the address asked for is only a hint.
    fn cuMemAddressReserve(
        driver,
        address: Out<u64>,
        bytes: usize,
        alignment: usize,
        _hint: u64,
        flags: c_ulonglong,
    ) {
        let slot = address.slot()?;
        none(flags)?;
        let here = driver.session()?.here()?;
        let part = part(&here)?;
        if alignment != 0 && !alignment.is_power_of_two() {
            return Err(Refusal::value(format!("alignment {alignment} is no power of two")));
        }
        if alignment as u64 > part.granularity() {
            let why = format!("alignment {alignment} is above the granularity");
            return Err(Refusal::unsupported(why));
        }
        slot.put(part.reserve(bytes as u64)?.get());
        Ok(())
    }

    fn cuMemAddressFree(driver, address: u64, bytes: usize) {
        let here = driver.session()?.place(address)?;
        // SAFETY: contract, devices/host-memory: the simulation refuses what is not one whole free
        // range.
        Ok(unsafe { part(&here)?.free_range(pointer(address)?, bytes as u64) }?)
    }

    /// The memory must be that of the current context's device, or the host's.
    fn cuMemCreate(
        driver,
        handle: Out<u64>,
        bytes: usize,
        properties: In<AllocationProperties>,
        flags: c_ulonglong,
    ) {
        let slot = handle.slot()?;
        none(flags)?;
        let session = driver.session()?;
        let here = session.here()?;
        let properties = properties.get()?;
        if properties.location.is_host()? {
            check(&properties)?;
            slot.put(part(&here)?.create_on_host(bytes as u64)?.0);
            return Ok(());
        }
        if device_of(session, &properties)? != here.ordinal {
            let why = "memory of another device than the current context's is not modelled";
            return Err(Refusal::new(INVALID_DEVICE, why));
        }
        slot.put(part(&here)?.create(bytes as u64)?.0);
        Ok(())
    }

    fn cuMemRelease(driver, handle: u64) {
        let here = driver.session()?.maker(handle)?;
        // SAFETY: contract, devices/host-memory: the simulation refuses a dead handle.
        Ok(unsafe { part(&here)?.release(PhysicalHandle(handle)) }?)
    }

    fn cuMemMap(
        driver,
        address: u64,
        bytes: usize,
        offset: usize,
        handle: u64,
        flags: c_ulonglong,
    ) {
        none(flags)?;
        if offset != 0 {
            return Err(Refusal::value(format!("offset {offset} is not 0")));
        }
        let here = driver.session()?.place(address)?;
        let (at, handle) = (pointer(address)?, PhysicalHandle(handle));
        // SAFETY: contract, devices/host-memory: the simulation refuses dead handles and ranges in
        // use.
        Ok(unsafe { part(&here)?.map(at, bytes as u64, handle) }?)
    }

    fn cuMemUnmap(driver, address: u64, bytes: usize) {
        let here = driver.session()?.place(address)?;
        // SAFETY: contract, devices/host-memory: the simulation refuses what is not whole or is
        // pending.
        Ok(unsafe { part(&here)?.unmap(pointer(address)?, bytes as u64) }?)
    }

    /// Reading and writing (3), for the current context's device alone.
    fn cuMemSetAccess(
        driver,
        address: u64,
        bytes: usize,
        descriptions: In<AccessDescription>,
        count: usize,
    ) {
        let session = driver.session()?;
        let here = session.place(address)?;
        if count != 1 {
            return Err(Refusal::unsupported(format!("{count} access descriptions")));
        }
        let wanted = descriptions.get()?;
        if session.ordinal(wanted.location.device()?)? != here.ordinal || wanted.flags != 3 {
            return Err(Refusal::unsupported("access but reading and writing by the own device"));
        }
        // SAFETY: contract, devices/host-memory: the simulation refuses what is not whole mappings.
        Ok(unsafe { part(&here)?.set_access(pointer(address)?, bytes as u64) }?)
    }
}

/// The device that properties name, if they are such as this library models.
fn device_of(session: &Session, properties: &AllocationProperties) -> Answer<usize> {
    let ordinal = session.ordinal(properties.location.device()?)?;
    check(properties)?;
    Ok(ordinal)
}

/// Properties besides the location, if they are such as this library models.
fn check(properties: &AllocationProperties) -> Answer {
    if properties.kind != ALLOCATION_PINNED || properties.reserved != [0; 4] {
        return Err(Refusal::value("the type must be pinned (1), the reserved bytes zero"));
    }
    let extras = [properties.handle_types != 0, !properties.win32.is_null()];
    let flags = [properties.compression != 0, properties.rdma != 0, properties.usage != 0];
    if extras.into_iter().chain(flags).any(|asked| asked) {
        return Err(Refusal::unsupported("sharing, compression, RDMA and usages"));
    }
    Ok(())
}

fn part(here: &Here) -> Answer<&dyn VirtualMemory> {
    here.sim.virtual_memory().ok_or_else(absent)
}

fn none(flags: c_ulonglong) -> Answer {
    match flags {
        0 => Ok(()),
        flags => Err(Refusal::value(format!("flags {flags} are not 0"))),
    }
}

fn absent() -> Refusal {
    Refusal::unsupported("the device has no virtual memory management")
}
