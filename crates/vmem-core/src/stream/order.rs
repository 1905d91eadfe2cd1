//! Ordering streams among each other and with the host.

use super::{Shared, Stream, retired_error};
use crate::{Completion, DeviceId, DriverCode, DriverError, Event, IdleEvent, TimedEvent, fork};

impl Stream {
    /// Waits on the host until all work queued so far has completed.
    ///
    /// For another thread's default stream, which this thread cannot name, it waits for the whole
    /// device, and that breaks every capture in progress on it: resources never do so by themselves,
    /// see [`synchronize_alone`](Self::synchronize_alone).
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream captures;
    /// the capture is left alone. The driver's.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::synchronize")?;
        if self.is_callable_here() || self.is_retired() {
            return self.synchronize_alone();
        }
        self.0.inbox.observe()?;
        self.0.device.synchronize()
    }

    /// Waits on the host until all work queued so far has completed, and for nothing else.
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream captures;
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) if it is another thread's default stream; the
    /// driver's.
    pub fn synchronize_alone(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::synchronize")?;
        if let Some(marker) = self.final_marker() {
            return marker.synchronize();
        }
        self.with_raw_outside_capture("Stream::synchronize", |device, raw| {
            // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream.
            unsafe { device.synchronize_stream(raw) }
        })
    }

    /// Whether all work queued so far is known to have completed, with the waits in its
    /// [inbox](Self::has_pending_waits), which it queues first. Never known of another thread's default
    /// stream.
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
    /// the waits in its [inbox](Self::has_pending_waits). No driver call if the event was observed complete
    /// and the inbox is empty. A wait asked of another thread's default stream is
    /// queued by that thread before its next use of the stream through vmem.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for an event of another device;
    /// [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) if the stream has been retired;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if it captures: a graph
    /// cannot wait for work outside of it, and asking for that would break the capture. The
    /// driver's.
    pub fn wait(&self, event: &Event) -> Result<(), DriverError> {
        self.wait_all([event])
    }

    /// The same for several events, with one question to the driver instead of one each. Fails at
    /// the first that fails; the waits before it are queued.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_all<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<(), DriverError> {
        const CALL: &str = "Stream::wait";
        fork::refuse(CALL)?;
        let mut pending = Vec::new();
        for event in events {
            self.0.check_device(CALL, event.device_id())?;
            if !event.was_observed() {
                pending.push(event);
            }
        }
        if pending.is_empty() {
            // Waits asked for before may be owed; the caller's next work may not go through vmem.
            let is_named = self.is_callable_here() && !self.is_retired();
            return if is_named { self.queue_pending_waits() } else { Ok(()) };
        }
        if !self.is_callable_here() {
            return pending.into_iter().try_for_each(|event| self.wait_later(event));
        }
        self.with_raw_outside_capture(CALL, |device, raw| {
            pending.into_iter().try_for_each(|event| {
                // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream
                // and an owned event of its device.
                unsafe { device.wait_event(raw, event.raw()) }
            })
        })
    }

    /// Notes that work queued on this stream from now on must wait for `event`, without a driver
    /// call that names the stream: the wait goes to its [inbox](Self::has_pending_waits). What is
    /// needed before memory freed on a capturing stream is used again is asked for in this way.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for an event of another device;
    /// [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) if the stream has been retired.
    pub fn wait_later(&self, event: &Event) -> Result<(), DriverError> {
        fork::refuse("Stream::wait")?;
        const CALL: &str = "Stream::wait_later";
        self.0.check_device(CALL, event.device_id())?;
        // Held over the push: what comes too late for the final marker must be refused.
        let retired = fork::locked(|| self.0.retired.read());
        if retired.is_some() {
            return Err(retired_error(CALL));
        }
        if !event.was_observed() {
            self.0.inbox.push(event.clone());
        }
        Ok(())
    }

    /// Records `event` at the stream's tail.
    ///
    /// # Errors
    /// With the event, still idle: [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for an event of
    /// another device; [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the
    /// stream captures, because an event of a capture orders nothing outside of it; the driver's and
    /// those of [`with_raw`](Self::with_raw).
    pub fn record(&self, event: IdleEvent) -> Result<Event, (IdleEvent, DriverError)> {
        const CALL: &str = "Stream::record";
        let queue = || {
            self.0.check_device(CALL, event.device_id())?;
            self.with_raw_outside_capture(CALL, |device, raw| {
                // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream
                // and an owned event of its device.
                unsafe { device.record_event(event.raw(), raw) }?;
                // Another thread may have begun to capture this stream since it was asked. Waiting
                // for an event of that capture would draw the waiting stream into it.
                self.0.refuse_capture(CALL)
            })
        };
        match queue() {
            Ok(()) => Ok(event.into_recorded()),
            Err(error) => Err((event, error)),
        }
    }

    /// An event that covers all work queued so far: newly recorded, or the final one of a retired
    /// stream.
    ///
    /// # Errors
    /// As [`record`](Self::record); the driver's.
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
    /// As [`record`](Self::record); the driver's.
    pub fn record_timed(&self) -> Result<TimedEvent, DriverError> {
        let event = IdleEvent::timed(self.0.device.clone())?;
        self.record(event).map(TimedEvent::new).map_err(|(_, error)| error)
    }

    /// Whether the stream's inbox holds waits: asked for by other threads, if it is a thread's default
    /// stream, or while it was capturing. They are queued, or waited for on the host, by the next call
    /// that names the stream through vmem. One atomic load.
    ///
    /// Memory freed on the stream must not be used again before: see
    /// [`queue_pending_waits`](Self::queue_pending_waits).
    #[inline]
    pub fn has_pending_waits(&self) -> bool {
        !self.0.inbox.is_empty()
    }

    /// Queues the waits in the inbox. Where that is impossible, on another thread than the stream's
    /// own and while it captures, waits for them on the host instead. Resources call this before they
    /// reuse memory freed on the stream.
    ///
    /// # Errors
    /// The driver's and those of [`with_raw`](Self::with_raw); what was not queued stays.
    pub fn queue_pending_waits(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::wait")?;
        if !self.has_pending_waits() {
            return Ok(());
        }
        if self.is_callable_here() {
            return self.with_raw("Stream::queue_pending_waits", |_, _| Ok(()));
        }
        self.0.inbox.observe()
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
    fn check_device(&self, call: &'static str, device: DeviceId) -> Result<(), DriverError> {
        if device == self.device_id {
            return Ok(());
        }
        let error = DriverError::new(call, DriverCode::INVALID_CONTEXT);
        Err(error.with_detail("the event belongs to another device than the stream"))
    }
}
