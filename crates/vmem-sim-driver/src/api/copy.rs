//! Copies and fills, on streams of the current context.

use std::ffi::{c_uchar, c_uint, c_ushort};

use vmem_core::{Device, RawStream};
use vmem_sim::{CaptureStatus, Kernel, SimDevice};

use super::exports;
use super::memory::pointer;
use crate::refusal::Answer;
use crate::session::Session;

exports! {
    /// A strict driver reads pageable memory when the copy runs: nobody may rely on what the real one
    /// does, which reads it before the call returns.
    fn cuMemcpyHtoDAsync_v2(driver, to: u64, from: usize, bytes: usize, stream: u64) {
        let session = driver.session()?;
        let sim = session.maker(stream)?.sim;
        let host = std::ptr::with_exposed_provenance::<u8>(from);
        let (to, on) = (pointer(to)?, RawStream(stream));
        if session.copies_now(&sim, from, bytes, on)? {
            // SAFETY: the C caller's promise for the host's side.
            let staged = unsafe { std::slice::from_raw_parts(host, bytes) }.to_vec();
            let kernel = Kernel::new("cuMemcpyHtoDAsync").writes(to, bytes as u64);
            let kernel = kernel.with_body(move |memory| memory.write(to, &staged));
            // SAFETY: contract, devices/handles and devices/pending-work: the simulation refuses dead
            // handles and ranges.
            return Ok(unsafe { sim.launch_raw(on, kernel) }?);
        }
        // SAFETY: contract, devices/handles, devices/pending-work and devices/threads: the C
        // caller's promise for the host's side; the simulation refuses the rest.
        Ok(unsafe { sim.copy_from_host(to, host, bytes as u64, on) }?)
    }

    /// A strict driver writes pageable memory when the copy runs, the real one before the call returns.
    fn cuMemcpyDtoHAsync_v2(driver, to: usize, from: u64, bytes: usize, stream: u64) {
        let session = driver.session()?;
        let sim = session.maker(stream)?.sim;
        let host = std::ptr::with_exposed_provenance_mut(to);
        let (from, on) = (pointer(from)?, RawStream(stream));
        let now = session.copies_now(&sim, to, bytes, on)?;
        // SAFETY: contract, devices/handles, devices/pending-work and devices/threads: the C
        // caller's promise for the host's side; the simulation refuses the rest.
        unsafe { sim.copy_to_host(host, from, bytes as u64, on) }?;
        if now {
            // SAFETY: contract, devices/handles: a handle that the copy was queued on.
            unsafe { sim.synchronize_stream(on) }?;
        }
        Ok(())
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

impl Session {
    /// Whether a copy from or to this memory of the host's is done with it when the call returns: pageable
    /// memory, outside of captures.
    fn copies_now(
        &self,
        sim: &SimDevice,
        host: usize,
        bytes: usize,
        stream: RawStream,
    ) -> Answer<bool> {
        if self.config.late_pageable_copies || bytes == 0 || host == 0 {
            return Ok(false);
        }
        // SAFETY: contract, devices/handles: the simulation refuses a dead handle.
        let status = unsafe { sim.capture_status(stream) }?;
        Ok(self.holder(host as u64).is_err() && status == CaptureStatus::None)
    }
}
