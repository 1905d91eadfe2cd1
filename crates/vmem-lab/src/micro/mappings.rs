//! Address ranges, physical handles and mappings.

#![expect(unsafe_code, reason = "the driver's calls themselves are measured")]

use vmem_core::{DriverError, PhysicalHandle, VirtualMemory};

use super::beside::Company;
use super::lab::{Lab, Setting};
use super::report::Beside;

/// The sizes of handles, in bytes, before they are rounded to the device's unit.
const SIZES: [u64; 3] = [2 << 20, 20 << 20, 128 << 20];

/// How many handles are mapped in a row.
pub(super) const ROW: u64 = 32;

pub(super) fn measure(lab: &mut Lab) {
    let device = lab.device.clone();
    let Some(memory) = device.virtual_memory() else {
        return lab.leave_out("virtual memory", "the device has none");
    };
    let unit = memory.granularity();
    for beside in Beside::ALL {
        for bytes in SIZES.map(|bytes| bytes.next_multiple_of(unit)) {
            if !lab.has_room("map", bytes + Company::bytes(lab)) {
                continue;
            }
            let company = match Company::start(lab, beside) {
                Ok(company) => company,
                Err(error) => {
                    lab.fail("map", &error);
                    continue;
                }
            };
            let setting = Setting::of(bytes).beside(beside);
            one_by_one(lab, memory, setting, bytes, &company);
            remap(lab, memory, setting, bytes, &company);
            if let Err(error) = company.end() {
                lab.fail("map", &error);
            }
        }
    }
    if lab.has_room("map in a row", ROW * unit) {
        row(lab, memory, unit);
    }
}

/// The life of a handle, call by call.
fn one_by_one(
    lab: &mut Lab,
    memory: &dyn VirtualMemory,
    setting: Setting,
    bytes: u64,
    company: &Company,
) {
    let operations = ["reserve", "create", "map", "set access", "unmap", "release", "free range"];
    lab.measure(operations, setting, |lab| {
        company.keep_on()?;
        let (at, reserve) = lab.time(|| memory.reserve(bytes))?;
        let (handle, create) = lab.time(|| memory.create(bytes))?;
        company.keep_on()?;
        // SAFETY: contract, devices/handles: a new handle of that size, and a range that is its
        // own.
        let ((), map) = lab.time(|| unsafe { memory.map(at, bytes, handle) })?;
        // SAFETY: contract, devices/ranges: one whole mapping that no work uses.
        let ((), access) = lab.time(|| unsafe { memory.set_access(at, bytes) })?;
        company.keep_on()?;
        // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping that no work
        // uses.
        let ((), unmap) = lab.time(|| unsafe { memory.unmap(at, bytes) })?;
        // SAFETY: contract, devices/handles: the handle is used no more.
        let ((), release) = lab.time(|| unsafe { memory.release(handle) })?;
        // SAFETY: contract, devices/handles: a range as it was reserved, with nothing mapped in it.
        let ((), free) = lab.time(|| unsafe { memory.free_range(at, bytes) })?;
        Ok([reserve, create, map, access, unmap, release, free])
    });
}

/// A new handle made usable, against one that is held already and is mapped at another address.
fn remap(
    lab: &mut Lab,
    memory: &dyn VirtualMemory,
    setting: Setting,
    bytes: u64,
    company: &Company,
) {
    let operations = ["create, map, set access", "map again, set access"];
    lab.measure(operations, setting, |lab| {
        let (first, second) = (memory.reserve(bytes)?, memory.reserve(bytes)?);
        let show = |at, handle| -> Result<(), DriverError> {
            // SAFETY: contract, devices/handles: a live handle of that size, and a range of its
            // own.
            unsafe { memory.map(at, bytes, handle) }?;
            // SAFETY: contract, devices/ranges: one whole mapping that no work uses.
            unsafe { memory.set_access(at, bytes) }
        };
        company.keep_on()?;
        let (handle, fresh) = lab.time(|| -> Result<PhysicalHandle, DriverError> {
            let handle = memory.create(bytes)?;
            show(first, handle)?;
            Ok(handle)
        })?;
        company.keep_on()?;
        let ((), again) = lab.time(|| show(second, handle))?;
        for at in [first, second] {
            // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping that no
            // work uses.
            unsafe { memory.unmap(at, bytes) }?;
            // SAFETY: contract, devices/handles: a range as it was reserved, with nothing mapped in
            // it.
            unsafe { memory.free_range(at, bytes) }?;
        }
        // SAFETY: contract, devices/handles: the handle is used no more.
        unsafe { memory.release(handle) }?;
        Ok([fresh, again])
    });
}

/// Many small handles side by side, given access and unmapped with one call each.
fn row(lab: &mut Lab, memory: &dyn VirtualMemory, unit: u64) {
    let bytes = ROW * unit;
    lab.measure(["set access to a row", "unmap a row"], Setting::of(bytes), |lab| {
        let start = memory.reserve(bytes)?;
        let mut handles = Vec::new();
        for number in 0..ROW {
            let handle = memory.create(unit)?;
            let at = start.checked_add(number * unit).expect("it lies in the range");
            // SAFETY: contract, devices/handles: a new handle of that size, and a place of its own.
            unsafe { memory.map(at, unit, handle) }?;
            handles.push(handle);
        }
        // SAFETY: contract, devices/ranges: whole mappings that no work uses.
        let ((), access) = lab.time(|| unsafe { memory.set_access(start, bytes) })?;
        // SAFETY: contract, devices/ranges and devices/pending-work: whole mappings that no work
        // uses.
        let ((), unmap) = lab.time(|| unsafe { memory.unmap(start, bytes) })?;
        for handle in handles {
            // SAFETY: contract, devices/handles: the handle is used no more.
            unsafe { memory.release(handle) }?;
        }
        // SAFETY: contract, devices/handles: a range as it was reserved, with nothing mapped in it.
        unsafe { memory.free_range(start, bytes) }?;
        Ok([access, unmap])
    });
}
