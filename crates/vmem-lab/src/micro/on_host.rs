//! Handles of the host's memory that the device maps, and copies between them and the device's memory.

#![expect(unsafe_code, reason = "the driver's calls themselves are measured")]

use vmem_core::{DevicePtr, DriverError, VirtualMemory};

use super::beside::Scratch;
use super::lab::{Lab, Setting};

/// The sizes of handles, in bytes, before they are rounded to the device's unit.
const SIZES: [u64; 3] = [SMALL, 20 << 20, LARGE];

/// The sizes that costs are computed from.
pub(super) const SMALL: u64 = 2 << 20;
pub(super) const LARGE: u64 = 128 << 20;

pub(super) fn measure(lab: &mut Lab) {
    const WHAT: &str = "handles of the host's memory";
    let device = lab.device.clone();
    let Some(memory) = device.virtual_memory().filter(|memory| memory.has_host_memory()) else {
        return lab.leave_out(WHAT, "the device maps none");
    };
    for bytes in SIZES.map(|bytes| bytes.next_multiple_of(memory.granularity())) {
        if !lab.has_room(WHAT, bytes) {
            continue;
        }
        let measured = Scratch::new(device.clone(), bytes).and_then(|scratch| {
            one_by_one(lab, memory, bytes, &scratch);
            scratch.end()
        });
        if let Err(error) = measured {
            lab.fail(WHAT, &error);
        }
    }
}

/// The life of a handle, call by call, with a copy each way.
fn one_by_one(lab: &mut Lab, memory: &dyn VirtualMemory, bytes: u64, scratch: &Scratch) {
    let operations = [
        "create on the host",
        "map on the host",
        "set access on the host",
        "copy to a handle on the host",
        "copy from a handle on the host",
        "unmap on the host",
        "release on the host",
    ];
    lab.measure(operations, Setting::of(bytes), |lab| {
        let at = memory.reserve(bytes)?;
        let (handle, create) = lab.time(|| memory.create_on_host(bytes))?;
        // SAFETY: contract, devices/handles: a new handle of that size, and a range that is its
        // own.
        let ((), map) = lab.time(|| unsafe { memory.map(at, bytes, handle) })?;
        // SAFETY: contract, devices/ranges: one whole mapping that no work uses.
        let ((), access) = lab.time(|| unsafe { memory.set_access(at, bytes) })?;
        let there = copy(lab, at, scratch.ptr(), bytes, scratch)?;
        let back = copy(lab, scratch.ptr(), at, bytes, scratch)?;
        // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping, and the copies
        // were waited for.
        let ((), unmap) = lab.time(|| unsafe { memory.unmap(at, bytes) })?;
        // SAFETY: contract, devices/handles: the handle is used no more.
        let ((), release) = lab.time(|| unsafe { memory.release(handle) })?;
        // SAFETY: contract, devices/handles: a range as it was reserved, with nothing mapped in it.
        unsafe { memory.free_range(at, bytes) }?;
        Ok([create, map, access, there, back, unmap, release])
    });
}

/// How long a copy takes, from the call to the end of a wait for it.
fn copy(
    lab: &Lab,
    to: DevicePtr,
    from: DevicePtr,
    bytes: u64,
    scratch: &Scratch,
) -> Result<u64, DriverError> {
    let ((), taken) = lab.time(|| {
        // SAFETY: contract, devices/handles and devices/ranges: memory of that size each, accessible
        // until the copy was waited for, and a live stream.
        unsafe { lab.device.copy_within(to, from, bytes, scratch.stream()) }?;
        scratch.wait()
    })?;
    Ok(taken)
}
