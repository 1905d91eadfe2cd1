//! Copies each way and fills, from the call to the end of a wait for them.

#![expect(unsafe_code, reason = "the driver's calls themselves are measured")]

use vmem_core::DriverError;
use vmem_core::author::{HostAccess, host_view};

use super::beside::Scratch;
use super::lab::{Lab, Setting};

/// The sizes of copies, in bytes.
pub(super) const SIZES: [u64; 5] = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20];

pub(super) fn measure(lab: &mut Lab) {
    for bytes in SIZES {
        if !lab.has_room("copies", 2 * bytes) {
            continue;
        }
        let both = Scratch::new(lab.device.clone(), bytes)
            .and_then(|from| Ok((from, Scratch::new(lab.device.clone(), bytes)?)));
        let (from, to) = match both {
            Ok(both) => both,
            Err(error) => {
                lab.fail("copies", &error);
                continue;
            }
        };
        within(lab, bytes, &from, &to);
        pageable(lab, bytes, &to);
        if let Err(error) = pinned(lab, bytes, &to) {
            lab.fail("copies of pinned memory", &error);
        }
        for ended in [from.end(), to.end()] {
            if let Err(error) = ended {
                lab.fail("copies", &error);
            }
        }
    }
}

fn within(lab: &mut Lab, bytes: u64, from: &Scratch, to: &Scratch) {
    lab.measure(["fill", "copy on the device"], Setting::of(bytes), |lab| {
        let ((), fill) = lab.time(|| {
            from.fill(1)?;
            from.wait()
        })?;
        let ((), copy) = lab.time(|| {
            // SAFETY: contract, devices/handles and devices/ranges: two live allocations and a live
            // stream.
            unsafe { lab.device.copy_within(to.ptr(), from.ptr(), bytes, to.stream()) }?;
            to.wait()
        })?;
        Ok([fill, copy])
    });
}

fn pageable(lab: &mut Lab, bytes: u64, scratch: &Scratch) {
    let mut host = vec![1_u8; usize::try_from(bytes).unwrap_or(0)];
    let operations = ["copy from pageable memory", "copy to pageable memory"];
    lab.measure(operations, Setting::of(bytes), |lab| {
        both_ways(lab, bytes, scratch, host.as_mut_ptr())
    });
}

fn pinned(lab: &mut Lab, bytes: u64, scratch: &Scratch) -> Result<(), DriverError> {
    let device = lab.device.clone();
    let Some(pinned) = device.pinned() else {
        return Ok(());
    };
    let ptr = pinned.allocate(bytes)?;
    let host = host_view(&*device, ptr, bytes, HostAccess::Write)?;
    let operations = ["copy from pinned memory", "copy to pinned memory"];
    lab.measure(operations, Setting::of(bytes), |lab| both_ways(lab, bytes, scratch, host));
    // SAFETY: contract, devices/pending-work: everything queued on it has completed, or the device
    // failed.
    unsafe { pinned.free(ptr) }
}

/// A copy from `host` and one to it, each waited for.
fn both_ways(
    lab: &Lab,
    bytes: u64,
    scratch: &Scratch,
    host: *mut u8,
) -> Result<[u64; 2], DriverError> {
    let ((), there) = lab.time(|| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: a live
        // allocation and stream, and host memory of that size that nobody touches before the wait
        // is over.
        unsafe { lab.device.copy_from_host(scratch.ptr(), host, bytes, scratch.stream()) }?;
        scratch.wait()
    })?;
    let ((), back) = lab.time(|| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: as above.
        unsafe { lab.device.copy_to_host(host, scratch.ptr(), bytes, scratch.stream()) }?;
        scratch.wait()
    })?;
    Ok([there, back])
}
