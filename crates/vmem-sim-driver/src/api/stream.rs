//! Streams.

use std::ffi::{c_int, c_uint};

use vmem_core::{Completion, Device, DriverCode, RawStream};
use vmem_sim::CaptureMode;

use super::event::event;
use super::exports;
use crate::driver::Driver;
use crate::refusal::{Answer, Refusal};
use crate::types::Out;

exports! {
    fn cuStreamCreate(driver, stream: Out<u64>, flags: c_uint) {
        create(driver, &stream, flags)
    }

    /// Priorities are accepted and mean nothing.
    fn cuStreamCreateWithPriority(
        driver,
        stream: Out<u64>,
        flags: c_uint,
        _priority: c_int,
    ) {
        create(driver, &stream, flags)
    }

    fn cuStreamDestroy_v2(driver, stream: u64) {
        let sim = driver.session()?.here()?.sim;
        // SAFETY: contract, devices 1: the caller's stream; the simulation refuses a dead handle.
        Ok(unsafe { sim.destroy_stream(RawStream(stream)) }?)
    }

    fn cuStreamQuery(driver, stream: u64) {
        let sim = driver.session()?.here()?.sim;
        // SAFETY: contract, devices 1: the caller's stream; the simulation refuses a dead handle.
        ready(unsafe { sim.query_stream(RawStream(stream)) }?)
    }

    fn cuStreamSynchronize(driver, stream: u64) {
        let sim = driver.session()?.here()?.sim;
        // SAFETY: contract, devices 1: the caller's stream; the simulation refuses a dead handle.
        Ok(unsafe { sim.synchronize_stream(RawStream(stream)) }?)
    }

    fn cuStreamWaitEvent(driver, stream: u64, awaited: u64, flags: c_uint) {
        if flags > 1 {
            return Err(Refusal::value(format!("flags {flags} are not 0 or 1")));
        }
        let sim = driver.session()?.here()?.sim;
        let awaited = event(awaited)?;
        // SAFETY: contract, devices 1: the caller's handles; the simulation refuses dead ones.
        Ok(unsafe { sim.wait_event(RawStream(stream), awaited) }?)
    }

    /// The context that a stream was made in, whichever is current. The default streams are the
    /// current context's.
    fn cuStreamGetCtx(driver, stream: u64, context: Out<u64>) {
        let slot = context.slot()?;
        slot.put(driver.session()?.context_of_stream(RawStream(stream))?);
        Ok(())
    }

    /// The same, and no green context: there are none here.
    fn cuStreamGetCtx_v2(driver, stream: u64, context: Out<u64>, green: Out<u64>) {
        let (context, green) = (context.slot()?, green.slot()?);
        context.put(driver.session()?.context_of_stream(RawStream(stream))?);
        green.put(0);
        Ok(())
    }

    /// 0 for no, 1 for yes.
    fn cuStreamIsCapturing(driver, stream: u64, status: Out<c_int>) {
        let slot = status.slot()?;
        let sim = driver.session()?.here()?.sim;
        // SAFETY: contract, devices 1: the caller's stream; the simulation refuses a dead handle.
        slot.put(c_int::from(unsafe { sim.is_capturing(RawStream(stream)) }?));
        Ok(())
    }

    /// Knows the modes global (0) and relaxed (2).
    fn cuThreadExchangeStreamCaptureMode(driver, mode: Out<c_int>) {
        let slot = mode.slot()?;
        let new = match slot.get() {
            0 => CaptureMode::Global,
            2 => CaptureMode::Relaxed,
            other => return Err(Refusal::unsupported(format!("capture mode {other}"))),
        };
        let was = driver.session()?.exchange_capture_mode(new);
        slot.put(match was {
            CaptureMode::Global => 0,
            CaptureMode::Relaxed => 2,
        });
        Ok(())
    }
}

fn create(driver: &mut Driver, stream: &Out<u64>, flags: c_uint) -> Answer {
    let slot = stream.slot()?;
    let sim = driver.session()?.here()?.sim;
    let raw = match flags {
        0 => sim.create_blocking_stream()?,
        1 => sim.create_stream()?,
        _ => return Err(Refusal::value(format!("flags {flags} are not 0 or 1"))),
    };
    slot.put(raw.0);
    Ok(())
}

/// What a query answers.
pub(super) fn ready(completion: Completion) -> Answer {
    match completion {
        Completion::Complete => Ok(()),
        Completion::Pending => Err(Refusal::new(DriverCode::NOT_READY, "work is pending")),
    }
}
