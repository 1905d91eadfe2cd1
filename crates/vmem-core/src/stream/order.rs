//! Ordering streams among each other and with the host.

use super::{Shared, Stream};
use crate::author::{IdleEvent, StreamExt, fork};
use crate::{Completion, DeviceId, DriverCode, DriverError, Event, TimedEvent};

impl Stream {
    /// Waits on the host until all work queued so far has completed.
    ///
    /// For a stream that this thread [cannot name](StreamExt::is_callable_here), it waits for the
    /// whole device, and that breaks every capture in progress on it: resources never do so by
    /// themselves, see [`synchronize_alone`](Self::synchronize_alone).
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream captures;
    /// the capture is left alone. The [`DriverError`] of the driver call.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::synchronize")?;
        if self.is_callable_here() || self.is_retired() {
            return self.synchronize_alone();
        }
        self.0.inbox.observe()?;
        self.0.device.synchronize()
    }

    /// Returns true if all work queued so far is known to have completed, with the waits in its
    /// [inbox](Self::has_pending_waits), which it queues first. Never known of a stream that this
    /// thread [cannot name](StreamExt::is_callable_here), unless it has been retired.
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream captures;
    /// the capture is left alone. Any answer of the driver but success and not ready.
    pub fn is_complete(&self) -> Result<bool, DriverError> {
        fork::refuse("Stream::is_complete")?;
        if let Some(marker) = self.final_marker() {
            return marker.is_complete();
        }
        if !self.is_callable_here() {
            return Ok(false);
        }
        let answer = self.with_raw_outside_capture("Stream::is_complete", |device, raw| {
            // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream.
            unsafe { device.query_stream(raw) }
        });
        answer.map(Completion::is_complete)
    }

    /// Makes work queued on this stream from now on wait, on the device, for `event`, after
    /// the waits in its [inbox](Self::has_pending_waits). No driver call if the event was observed
    /// complete and the inbox is empty. Of a stream that this thread [cannot
    /// name](StreamExt::is_callable_here), the wait goes to the inbox: it is queued before the next use
    /// of the stream through vmem by a thread that can.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for an event of another device;
    /// [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) if the stream has been retired;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if it captures: a graph
    /// cannot wait for work outside of it, and asking for that would break the capture. The
    /// driver's.
    pub fn wait(&self, event: &Event) -> Result<(), DriverError> {
        self.wait_for(&[event])
    }

    /// The same for several events, all of which or none are waited for where one belongs to another device.
    pub(super) fn wait_for(&self, events: &[&Event]) -> Result<(), DriverError> {
        const CALL: &str = "Stream::wait";
        fork::refuse(CALL)?;
        events.iter().try_for_each(|event| self.0.check_device(CALL, event.device_id()))?;
        let mut pending = events.iter().filter(|event| !event.was_observed()).peekable();
        if pending.peek().is_none() {
            // Waits asked for before may be owed; the caller's next work may not go through vmem.
            let is_named = self.is_callable_here() && !self.is_retired();
            return if is_named { self.queue_pending_waits() } else { Ok(()) };
        }
        if !self.is_callable_here() {
            return pending.try_for_each(|event| self.wait_later(event));
        }
        self.with_raw_outside_capture(CALL, |device, raw| {
            pending.try_for_each(|event| {
                // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream
                // and an owned event of its device.
                unsafe { device.wait_event(raw, event.raw()) }
            })
        })
    }

    /// An event that covers all work queued so far: newly recorded, or the final one of a retired
    /// stream.
    ///
    /// # Errors
    /// Those of [`record`](Self::record); the [`DriverError`] of the driver call.
    pub fn marker(&self) -> Result<Event, DriverError> {
        fork::refuse("Stream::marker")?;
        if let Some(marker) = self.final_marker() {
            return Ok(marker);
        }
        let event = IdleEvent::new(self.0.device.clone())?;
        self.record(event).map_err(|(_, error)| error)
    }

    /// A point behind all work queued so far that keeps when it was reached.
    ///
    /// # Errors
    /// Those of [`record`](Self::record); the [`DriverError`] of the driver call.
    pub fn record_timed(&self) -> Result<TimedEvent, DriverError> {
        let event = IdleEvent::timed(self.0.device.clone())?;
        self.record(event).map(TimedEvent::new).map_err(|(_, error)| error)
    }
}

impl Shared {
    /// Queues the waits in the inbox. The caller may name the stream, which does not capture.
    pub(super) fn queue_pending_waits(&self) -> Result<(), DriverError> {
        self.inbox.take(|event| {
            if event.was_observed() {
                return Ok(());
            }
            // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream and
            // an owned event of its device.
            unsafe { self.device.wait_event(self.raw, event.raw()) }
        })
    }

    /// Refuses what belongs to another device, which the driver may mistake for something of this one.
    pub(super) fn check_device(
        &self,
        call: &'static str,
        device: DeviceId,
    ) -> Result<(), DriverError> {
        if device == self.device_id {
            return Ok(());
        }
        let error = DriverError::new(call, DriverCode::INVALID_CONTEXT);
        Err(error.with_detail("the event belongs to another device than the stream"))
    }
}
