//! Allocating and freeing, of every kind of memory.

#![expect(unsafe_code, reason = "the driver's calls themselves are measured")]

use vmem_core::author::{HostAccess, host_view};
use vmem_core::{Advice, DriverError, Location};

use super::beside::{Company, Scratch};
use super::lab::{Lab, Setting};
use super::report::Beside;

/// The sizes of blocks, in bytes.
const SIZES: [u64; 5] = [4 << 10, 64 << 10, 2 << 20, 20 << 20, 128 << 20];

/// Pinned memory is locked page by page: the larger sizes take long.
const PINNED: [u64; 4] = [4 << 10, 2 << 20, 20 << 20, 64 << 20];

/// The unit in which managed pages move, in bytes.
pub(super) const PAGE_GROUP: u64 = 2 << 20;

/// Managed memory whose pages are moved, in bytes.
pub(super) const MOVED: u64 = 16 * PAGE_GROUP;

pub(super) fn measure(lab: &mut Lab) {
    lab.measure(["memory info"], Setting::ALONE, |lab| {
        Ok([lab.time(|| lab.device.memory_info())?.1])
    });
    plain(lab);
    pinned(lab);
    managed(lab);
    faults(lab);
    stream_ordered(lab);
}

fn plain(lab: &mut Lab) {
    for beside in Beside::ALL {
        for bytes in SIZES {
            if beside != Beside::Nothing && bytes != 2 << 20
                || !lab.has_room("allocate plain", bytes + Company::bytes(lab))
            {
                continue;
            }
            let company = match Company::start(lab, beside) {
                Ok(company) => company,
                Err(error) => {
                    lab.fail("allocate plain", &error);
                    continue;
                }
            };
            let setting = Setting::of(bytes).beside(beside);
            lab.measure(["allocate plain", "free plain"], setting, |lab| {
                company.keep_on()?;
                let (ptr, allocate) = lab.time(|| lab.device.allocate(bytes))?;
                company.keep_on()?;
                // SAFETY: contract, devices/pending-work: no work was queued on it.
                let ((), free) = lab.time(|| unsafe { lab.device.free(ptr) })?;
                Ok([allocate, free])
            });
            if let Err(error) = company.end() {
                lab.fail("allocate plain", &error);
            }
        }
    }
}

fn pinned(lab: &mut Lab) {
    let device = lab.device.clone();
    let Some(pinned) = device.pinned() else {
        return lab.leave_out("pinned memory", "the device has none");
    };
    for bytes in PINNED {
        lab.measure(["allocate pinned", "free pinned"], Setting::of(bytes), |lab| {
            let (ptr, allocate) = lab.time(|| pinned.allocate(bytes))?;
            // SAFETY: contract, devices/pending-work: no work was queued on it.
            let ((), free) = lab.time(|| unsafe { pinned.free(ptr) })?;
            Ok([allocate, free])
        });
    }
}

fn managed(lab: &mut Lab) {
    let device = lab.device.clone();
    let Some(managed) = device.managed() else {
        return lab.leave_out("managed memory", "the device has none");
    };
    for bytes in SIZES {
        if !lab.has_room("allocate managed", bytes) {
            continue;
        }
        lab.measure(["allocate managed", "free managed"], Setting::of(bytes), |lab| {
            let (ptr, allocate) = lab.time(|| managed.allocate(bytes))?;
            // SAFETY: contract, devices/pending-work: no work was queued on it.
            let ((), free) = lab.time(|| unsafe { managed.free(ptr) })?;
            Ok([allocate, free])
        });
    }
    lab.measure(["advise"], Setting::of(MOVED), |lab| {
        let ptr = managed.allocate(MOVED)?;
        let advice = Advice::PreferredLocation(Location::Device);
        // SAFETY: contract, devices/ranges: the range is all of a live managed allocation.
        let ((), advise) = lab.time(|| unsafe { managed.advise(ptr, MOVED, advice) })?;
        // SAFETY: contract, devices/pending-work: no work was queued on it.
        unsafe { managed.free(ptr) }?;
        Ok([advise])
    });
}

/// Touching managed pages where they are, and where they are not.
fn faults(lab: &mut Lab) {
    let device = lab.device.clone();
    let Some(managed) = device.managed().filter(|managed| managed.concurrent_access()) else {
        return lab.leave_out("faults", "the device has no concurrent managed access");
    };
    if !lab.has_room("faults", MOVED) {
        return;
    }
    let scratch = match Scratch::new(device.clone(), 1) {
        Ok(scratch) => scratch,
        Err(error) => return lab.fail("faults", &error),
    };
    let stream = scratch.stream();
    let operations = [
        "fill managed on the host",
        "fill managed on the device",
        "read managed on the device",
        "read managed on the host",
    ];
    lab.measure(operations, Setting::of(MOVED), |lab| {
        let ptr = managed.allocate(MOVED)?;
        let go = |to| -> Result<(), DriverError> {
            // SAFETY: contract, devices/handles and devices/ranges: a live managed allocation and a
            // live stream.
            unsafe { managed.prefetch(ptr, MOVED, to, stream) }?;
            scratch.wait()
        };
        let fill = || -> Result<(), DriverError> {
            // SAFETY: contract, devices/handles and devices/ranges: a live managed allocation and a
            // live stream.
            unsafe { device.fill(ptr, 1, MOVED, stream) }?;
            scratch.wait()
        };
        let read = || -> Result<(), DriverError> {
            touch(host_view(&*device, ptr, MOVED, HostAccess::Read)?);
            Ok(())
        };
        fill()?;
        go(Location::Host)?;
        let ((), faulting) = lab.time(fill)?;
        let ((), resident) = lab.time(fill)?;
        let ((), fetched) = lab.time(read)?;
        let ((), at_hand) = lab.time(read)?;
        // SAFETY: contract, devices/pending-work: everything queued on it has completed.
        unsafe { managed.free(ptr) }?;
        Ok([faulting, resident, fetched, at_hand])
    });
    if let Err(error) = scratch.end() {
        lab.fail("faults", &error);
    }
}

/// Reads a byte of every page, as a host that faults does.
fn touch(start: *const u8) {
    for page in (0..MOVED).step_by(4 << 10) {
        let at = start.wrapping_add(usize::try_from(page).unwrap_or(0));
        // SAFETY: contract, devices/ranges: a byte of the range that the device has just shown; no
        // work is queued on it.
        std::hint::black_box(unsafe { at.read_volatile() });
    }
}

fn stream_ordered(lab: &mut Lab) {
    let device = lab.device.clone();
    let Some(pool) = device.async_pool() else {
        return lab.leave_out("stream-ordered memory", "the device has none");
    };
    let scratch = match Scratch::new(device.clone(), 1) {
        Ok(scratch) => scratch,
        Err(error) => return lab.fail("stream-ordered memory", &error),
    };
    let stream = scratch.stream();
    for bytes in SIZES {
        if !lab.has_room("allocate async", bytes) {
            continue;
        }
        lab.measure(["allocate async", "free async"], Setting::of(bytes), |lab| {
            // SAFETY: contract, devices/handles: a live stream.
            let (ptr, allocate) = lab.time(|| unsafe { pool.allocate(bytes, stream) })?;
            // SAFETY: contract, devices/handles and devices/pending-work: a live stream, and no
            // work was queued on it.
            let ((), free) = lab.time(|| unsafe { pool.free(ptr, stream) })?;
            Ok([allocate, free])
        });
        lab.measure(["grow async", "trim async"], Setting::of(bytes), |lab| {
            scratch.wait()?;
            pool.trim_to(0)?;
            // SAFETY: contract, devices/handles: a live stream.
            let (ptr, grow) = lab.time(|| unsafe { pool.allocate(bytes, stream) })?;
            // SAFETY: contract, devices/handles and devices/pending-work: a live stream, and no
            // work was queued on it.
            unsafe { pool.free(ptr, stream) }?;
            scratch.wait()?;
            let ((), trim) = lab.time(|| pool.trim_to(0))?;
            Ok([grow, trim])
        });
    }
    if let Err(error) = scratch.end() {
        lab.fail("stream-ordered memory", &error);
    }
}
