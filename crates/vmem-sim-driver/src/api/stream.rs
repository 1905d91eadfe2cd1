//! Streams.

use std::ffi::{c_int, c_uint};

use vmem_core::{Completion, Device, DriverCode, RawStream};
use vmem_sim::{CaptureMode, CaptureStatus};

use super::event::event;
use super::exports;
use crate::driver::Driver;
use crate::refusal::{Answer, Refusal};
use crate::session::Here;
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
        let sim = driver.session()?.maker(stream)?.sim;
        // SAFETY: contract, devices/handles: the caller's stream; the simulation refuses a dead
        // handle.
        unsafe { sim.destroy_stream(RawStream(stream)) }?;
        driver.session()?.forget_stream(stream);
        Ok(())
    }

    fn cuStreamQuery(driver, stream: u64) {
        let session = driver.session()?;
        let Here { ordinal, sim } = session.maker(stream)?;
        session.unsafe_call(ordinal)?;
        // SAFETY: contract, devices/handles: the caller's stream; the simulation refuses a dead
        // handle.
        ready(unsafe { sim.query_stream(RawStream(stream)) }?)
    }

    fn cuStreamSynchronize(driver, stream: u64) {
        let session = driver.session()?;
        let Here { ordinal, sim } = session.maker(stream)?;
        session.unsafe_call(ordinal)?;
        // SAFETY: contract, devices/handles: the caller's stream; the simulation refuses a dead
        // handle.
        Ok(unsafe { sim.synchronize_stream(RawStream(stream)) }?)
    }

    fn cuStreamWaitEvent(driver, stream: u64, awaited: u64, flags: c_uint) {
        if flags > 1 {
            return Err(Refusal::value(format!("flags {flags} are not 0 or 1")));
        }
        let session = driver.session()?;
        let (awaited, by) = (event(awaited)?, session.maker(stream)?);
        let of = session.maker(awaited.0.get())?;
        if of.ordinal != by.ordinal {
            // The simulations know nothing of each other: the host sees it complete instead.
            // SAFETY: contract, devices/handles: the caller's event; the simulation refuses a dead
            // one.
            return Ok(unsafe { of.sim.synchronize_event(awaited) }?);
        }
        // SAFETY: contract, devices/handles: the caller's handles; the simulation refuses dead
        // ones.
        Ok(unsafe { by.sim.wait_event(RawStream(stream), awaited) }?)
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

    /// A number that no other stream of the process ever has. The default streams' are those of the
    /// current context, and of the calling thread.
    fn cuStreamGetId(driver, stream: u64, id: Out<u64>) {
        let slot = id.slot()?;
        let session = driver.session()?;
        let Here { ordinal, sim } = session.maker(stream)?;
        // SAFETY: contract, devices/handles: the simulation refuses a dead handle.
        unsafe { sim.name_stream(RawStream(stream), true) }?;
        slot.put(session.stream_id(ordinal, RawStream(stream)));
        Ok(())
    }

    /// 0 for no, 1 for yes, 2 if the capture was invalidated.
    fn cuStreamIsCapturing(driver, stream: u64, status: Out<c_int>) {
        let slot = status.slot()?;
        let sim = driver.session()?.maker(stream)?.sim;
        // SAFETY: contract, devices/handles: the caller's stream; the simulation refuses a dead
        // handle.
        slot.put(match unsafe { sim.capture_status(RawStream(stream)) }? {
            CaptureStatus::None => 0,
            CaptureStatus::Active => 1,
            CaptureStatus::Invalidated => 2,
        });
        Ok(())
    }

    fn cuThreadExchangeStreamCaptureMode(driver, mode: Out<c_int>) {
        let slot = mode.slot()?;
        let was = driver.session()?.exchange_capture_mode(capture_mode(slot.get())?);
        slot.put(match was {
            CaptureMode::Global => 0,
            CaptureMode::ThreadLocal => 1,
            CaptureMode::Relaxed => 2,
        });
        Ok(())
    }
}

/// A mode by its number.
pub(super) fn capture_mode(number: c_int) -> Answer<CaptureMode> {
    match number {
        0 => Ok(CaptureMode::Global),
        1 => Ok(CaptureMode::ThreadLocal),
        2 => Ok(CaptureMode::Relaxed),
        other => Err(Refusal::value(format!("capture mode {other}"))),
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
