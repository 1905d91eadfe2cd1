//! Events.

use std::ffi::c_uint;
use std::num::NonZeroU64;

use vmem_core::{Device, RawEvent, RawStream};

use super::exports;
use super::stream::ready;
use crate::driver::Driver;
use crate::refusal::{Answer, Refusal};
use crate::session::Here;
use crate::types::Out;

exports! {
    /// The flag 2 (`CU_EVENT_DISABLE_TIMING`) makes one that keeps no time; others mean nothing.
    fn cuEventCreate(driver, event: Out<u64>, flags: c_uint) {
        let slot = event.slot()?;
        if flags > 7 {
            return Err(Refusal::value(format!("flags {flags:#x} are not those of events")));
        }
        let sim = driver.session()?.here()?.sim;
        let created = if flags & 2 == 0 { sim.create_timed_event() } else { sim.create_event() };
        slot.put(created?.0.get());
        Ok(())
    }

    fn cuEventRecord(driver, recorded: u64, stream: u64) {
        let session = driver.session()?;
        let (recorded, on) = (event(recorded)?, session.maker(stream)?);
        if session.maker(recorded.0.get())?.ordinal != on.ordinal {
            return Err(Refusal::handle("the event and the stream are of two devices"));
        }
        let sim = on.sim;
        // SAFETY: contract, devices/handles: the caller's handles; the simulation refuses dead
        // ones.
        Ok(unsafe { sim.record_event(recorded, RawStream(stream)) }?)
    }

    fn cuEventQuery(driver, asked: u64) {
        let (session, asked) = (driver.session()?, event(asked)?);
        let Here { ordinal, sim } = session.maker(asked.0.get())?;
        session.unsafe_call(ordinal)?;
        // SAFETY: contract, devices/handles: the caller's event; the simulation refuses a dead
        // handle.
        ready(unsafe { sim.query_event(asked) }?)
    }

    fn cuEventSynchronize(driver, awaited: u64) {
        let (session, awaited) = (driver.session()?, event(awaited)?);
        let Here { ordinal, sim } = session.maker(awaited.0.get())?;
        session.unsafe_call(ordinal)?;
        // SAFETY: contract, devices/handles: the caller's event; the simulation refuses a dead
        // handle.
        Ok(unsafe { sim.synchronize_event(awaited) }?)
    }

    /// Milliseconds of virtual time.
    fn cuEventElapsedTime(driver, milliseconds: Out<f32>, start: u64, end: u64) {
        elapsed(driver, &milliseconds, start, end)
    }

    fn cuEventElapsedTime_v2(driver, milliseconds: Out<f32>, start: u64, end: u64) {
        elapsed(driver, &milliseconds, start, end)
    }

    fn cuEventDestroy_v2(driver, destroyed: u64) {
        let destroyed = event(destroyed)?;
        let sim = driver.session()?.maker(destroyed.0.get())?.sim;
        // SAFETY: contract, devices/handles: the caller's event; the simulation refuses a dead
        // handle.
        Ok(unsafe { sim.destroy_event(destroyed) }?)
    }
}

fn elapsed(driver: &mut Driver, milliseconds: &Out<f32>, start: u64, end: u64) -> Answer {
    let slot = milliseconds.slot()?;
    let (session, start, end) = (driver.session()?, event(start)?, event(end)?);
    let sim = session.maker(start.0.get())?.sim;
    // SAFETY: contract, devices/handles: the caller's events; the simulation refuses dead handles.
    let elapsed = unsafe { sim.elapsed_ns(start, end) }?;
    #[expect(clippy::cast_possible_truncation, reason = "the answer has so few digits")]
    slot.put((elapsed as f64 / 1e6) as f32);
    Ok(())
}

/// An event that is not null.
pub(super) fn event(raw: u64) -> Answer<RawEvent> {
    NonZeroU64::new(raw).map(RawEvent).ok_or_else(|| Refusal::handle("the event is null"))
}
