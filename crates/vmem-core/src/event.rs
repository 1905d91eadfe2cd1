//! Events as owned handles whose state the type knows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::author::fork;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::{Completion, Device, DeviceId, DriverCode, DriverError, RawEvent};

/// An event that stands for nothing: new, or observed complete.
///
/// Only an idle event can be recorded, so an event is never recorded again before its completion
/// was observed, and an event that was never recorded (which a driver reports as complete) cannot
/// be mistaken for a marker.
pub struct IdleEvent(Handle);

/// A point in a stream's work. Clones stand for the same point.
#[derive(Clone)]
pub struct Event(Arc<Recorded>);

struct Recorded {
    handle: Handle,
    observed: AtomicBool,
}

struct Handle {
    raw: RawEvent,
    device: Arc<dyn Device>,
}

impl IdleEvent {
    /// Creates an event. One driver call.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        Ok(Self(Handle { raw: device.create_event()?, device }))
    }

    /// Creates an event that keeps when it is reached. One driver call.
    pub(crate) fn timed(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        Ok(Self(Handle { raw: device.create_timed_event()?, device }))
    }

    /// The driver's event of a point, available for recording again, because `later`, a point of the
    /// same stream's work behind it, was observed complete. No driver call.
    ///
    /// # Errors
    /// Gives the point back if `later` was not observed, or there are other handles of the point.
    pub fn before(point: Event, later: &Event) -> Result<Self, Event> {
        if later.was_observed() {
            point.0.observed.store(true, Ordering::Release);
        }
        point.recycle()
    }

    /// The identity of the device it belongs to.
    pub fn device_id(&self) -> DeviceId {
        self.0.device.id()
    }

    pub(crate) fn raw(&self) -> RawEvent {
        self.0.raw
    }

    /// The caller has just recorded it.
    pub(crate) fn into_recorded(self) -> Event {
        Event(Arc::new(Recorded { handle: self.0, observed: AtomicBool::new(false) }))
    }
}

impl Event {
    /// Returns true if the work before this point has completed. One driver call until it was once
    /// observed, none afterwards.
    ///
    /// # Errors
    /// Any answer of the driver but success and not ready.
    pub fn is_complete(&self) -> Result<bool, DriverError> {
        if self.was_observed() {
            return Ok(true);
        }
        let handle = &self.0.handle;
        // SAFETY: contract, devices/handles: the handle owns the event.
        let completion = unsafe { handle.device.query_event(handle.raw) }?;
        if completion == Completion::Complete {
            self.0.observed.store(true, Ordering::Release);
        }
        Ok(completion.is_complete())
    }

    /// Waits on the host until the work before this point has completed.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        if !self.was_observed() {
            let handle = &self.0.handle;
            // SAFETY: contract, devices/handles: the handle owns the event.
            unsafe { handle.device.synchronize_event(handle.raw) }?;
            self.0.observed.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Returns true if completion was already observed; no driver call.
    pub fn was_observed(&self) -> bool {
        self.0.observed.load(Ordering::Acquire)
    }

    /// Makes the driver's event available for recording again, if its completion was observed and
    /// this is the only handle.
    ///
    /// # Errors
    /// Gives the event back otherwise.
    pub fn recycle(self) -> Result<IdleEvent, Self> {
        if !self.was_observed() {
            return Err(self);
        }
        match Arc::try_unwrap(self.0) {
            Ok(recorded) => Ok(IdleEvent(recorded.handle)),
            Err(shared) => Err(Self(shared)),
        }
    }

    /// The identity of the device it belongs to.
    pub fn device_id(&self) -> DeviceId {
        self.0.handle.device.id()
    }

    pub(crate) fn raw(&self) -> RawEvent {
        self.0.handle.raw
    }
}

/// A point in a stream's work that keeps when it was reached, by the device's clock.
///
/// ```
/// use vmem_core::{DeviceMemory, DeviceVec, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(64 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device).into_dyn();
///
/// let start = stream.record_timed()?;
/// let zeros = DeviceVec::<f32>::zeroed(memory, 1 << 20, &stream)?;
/// let end = stream.record_timed()?;
/// println!("zeroing {} elements took {:?}", zeros.len(), end.elapsed_since(&start)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TimedEvent(Event);

impl TimedEvent {
    /// The event that `event` records, made by [`IdleEvent::timed`].
    pub(crate) const fn new(event: Event) -> Self {
        Self(event)
    }

    /// The point, to wait for.
    pub const fn event(&self) -> &Event {
        &self.0
    }

    /// The time on the device from when `start` was reached until this point was, on whichever stream
    /// each is. Waits on the host until both are. A few hundred nanoseconds of it are the clock's and
    /// the recordings' own.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for an event of another device;
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) if this point was reached before `start`; the
    /// driver's.
    pub fn elapsed_since(&self, start: &Self) -> Result<Duration, DriverError> {
        let refuse = |code, detail| {
            let error = DriverError::new("TimedEvent::elapsed_since", code);
            Err(error.with_detail(detail))
        };
        if self.0.device_id() != start.0.device_id() {
            return refuse(DriverCode::INVALID_CONTEXT, "the events belong to two devices");
        }
        start.0.synchronize()?;
        self.0.synchronize()?;
        let device = &self.0.0.handle.device;
        // SAFETY: contract, devices/handles: the handles own the events.
        let elapsed = unsafe { device.elapsed_ns(start.0.raw(), self.0.raw()) }?;
        match u64::try_from(elapsed) {
            Ok(elapsed) => Ok(Duration::from_nanos(elapsed)),
            Err(_) => refuse(DriverCode::INVALID_VALUE, "the start was reached after the end"),
        }
    }
}

impl fmt::Debug for IdleEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdleEvent (handle {:#x})", self.0.raw.0)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.was_observed() { "complete" } else { "recorded" };
        write!(f, "Event (handle {:#x}, {state})", self.0.handle.raw.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        // SAFETY: contract, devices/handles: this handle owns the event and is its last user.
        let result = unsafe { self.device.destroy_event(self.raw) };
        self.device.base().drop_failures().check("an event", result);
    }
}
