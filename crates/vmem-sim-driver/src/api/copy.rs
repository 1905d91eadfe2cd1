//! Copies and fills, on streams of the current context.

use std::ffi::{c_uchar, c_uint, c_ushort};

use vmem_core::{Device, RawStream};

use super::exports;
use super::memory::pointer;

exports! {
    /// Unlike the real driver's, a copy from pageable memory reads it when it runs, not before the
    /// call returns: nobody may rely on that.
    fn cuMemcpyHtoDAsync_v2(driver, to: u64, from: usize, bytes: usize, stream: u64) {
        let sim = driver.session()?.maker(stream)?.sim;
        let from = std::ptr::with_exposed_provenance(from);
        let (to, stream) = (pointer(to)?, RawStream(stream));
        // SAFETY: contract, devices/handles, devices/pending-work and devices/threads: the C
        // caller's promise for the host's side; the simulation refuses the rest.
        Ok(unsafe { sim.copy_from_host(to, from, bytes as u64, stream) }?)
    }

    fn cuMemcpyDtoHAsync_v2(driver, to: usize, from: u64, bytes: usize, stream: u64) {
        let sim = driver.session()?.maker(stream)?.sim;
        let to = std::ptr::with_exposed_provenance_mut(to);
        let (from, stream) = (pointer(from)?, RawStream(stream));
        // SAFETY: contract, devices/handles, devices/pending-work and devices/threads: the C
        // caller's promise for the host's side; the simulation refuses the rest.
        Ok(unsafe { sim.copy_to_host(to, from, bytes as u64, stream) }?)
    }

    fn cuMemcpyDtoDAsync_v2(driver, to: u64, from: u64, bytes: usize, stream: u64) {
        let sim = driver.session()?.maker(stream)?.sim;
        let (to, from, stream) = (pointer(to)?, pointer(from)?, RawStream(stream));
        // SAFETY: contract, devices/handles and devices/pending-work: the simulation refuses dead
        // handles and ranges.
        Ok(unsafe { sim.copy_within(to, from, bytes as u64, stream) }?)
    }

    fn cuMemsetD8Async(driver, to: u64, value: c_uchar, count: usize, stream: u64) {
        let sim = driver.session()?.maker(stream)?.sim;
        let (to, stream) = (pointer(to)?, RawStream(stream));
        // SAFETY: contract, devices/handles and devices/pending-work: the simulation refuses dead
        // handles and ranges.
        Ok(unsafe { sim.fill(to, value, count as u64, stream) }?)
    }

    fn cuMemsetD16Async(driver, to: u64, value: c_ushort, count: usize, stream: u64) {
        let sim = driver.session()?.maker(stream)?.sim;
        let (to, stream) = (pointer(to)?, RawStream(stream));
        // SAFETY: contract, devices/handles and devices/pending-work: the simulation refuses dead
        // handles and ranges.
        Ok(unsafe { sim.fill_u16(to, value, count as u64, stream) }?)
    }

    fn cuMemsetD32Async(driver, to: u64, value: c_uint, count: usize, stream: u64) {
        let sim = driver.session()?.maker(stream)?.sim;
        let (to, stream) = (pointer(to)?, RawStream(stream));
        // SAFETY: contract, devices/handles and devices/pending-work: the simulation refuses dead
        // handles and ranges.
        Ok(unsafe { sim.fill_u32(to, value, count as u64, stream) }?)
    }
}
