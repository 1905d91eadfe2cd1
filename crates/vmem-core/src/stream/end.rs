//! How a stream ends without stranding what was freed on it.

use std::any::Any;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};

use super::{Shared, Stream, StreamKind, lock};
use crate::author::{IdleEvent, fork};
use crate::{DriverError, Event, StreamId};

/// Someone who keeps state per stream and must know when a stream ends.
pub trait StreamObserver: Debug + Send + Sync {
    /// The stream ends. `marker` covers all work ever queued on it; it is `None` if none could be
    /// recorded (a stream that the ending thread [cannot
    /// name](crate::author::StreamExt::is_callable_here), a capturing stream, a failing driver), and
    /// then only a synchronisation with the whole device covers the stream.
    ///
    /// Called once per stream, without a lock, when nothing can be queued through its handles any
    /// more, and before the driver's stream is destroyed. Must not use the stream. A panic keeps no
    /// other observer from being told.
    fn retiring(&self, stream: StreamId, marker: Option<&Event>);
}

impl Stream {
    /// Ends the stream now, although other handles may live: records a final marker, tells every
    /// observer, and destroys the driver's stream if it is ours. Afterwards the raw handle must not
    /// be used; waits and synchronisations on remaining handles mean the final marker. Does
    /// nothing the second time.
    ///
    /// # Errors
    /// If the marker cannot be recorded; the stream is then as it was:
    /// [`NOT_PERMITTED`](crate::DriverCode::NOT_PERMITTED) for one that this thread [cannot
    /// name](crate::author::StreamExt::is_callable_here),
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) for a capturing
    /// one, the driver's.
    ///
    /// # Panics
    /// If an observer does, once all have been told and the stream has ended.
    pub fn retire(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::retire")?;
        let marker = {
            let mut retired = fork::locked(|| self.0.retired.write());
            if retired.is_some() {
                return Ok(());
            }
            retired.insert(self.0.record_last()?).clone()
        };
        // Nobody names the stream any more. Observers may use other streams, and wait for threads
        // that ask about this one.
        let panic = self.0.tell_observers(Some(&marker));
        self.0.destroy();
        panic.map_or(Ok(()), |payload| resume_unwind(payload))
    }
}

impl Shared {
    /// A marker behind everything, waits in the inbox included. Nobody else names the stream.
    fn record_last(&self) -> Result<Event, DriverError> {
        const CALL: &str = "Stream::retire";
        if !self.is_callable_here() {
            return Err(self.not_permitted_error(CALL));
        }
        self.refuse_capture(CALL)?;
        self.queue_pending_waits()?;
        let event = IdleEvent::new(self.device.clone())?;
        // SAFETY: contract, devices/handles and devices/threads: the stream is valid until
        // `destroy`, and callable; an owned event of its device.
        unsafe { self.device.record_event(event.raw(), self.raw) }?;
        Ok(event.into_recorded())
    }

    /// Tells every observer, whatever the others do. Returns the first panic.
    fn tell_observers(&self, marker: Option<&Event>) -> Option<Box<dyn Any + Send>> {
        let mut panic = None;
        for observer in self.live_observers() {
            // Each observer's state is its own, and only its own calls see what a panic left of it.
            let told = catch_unwind(AssertUnwindSafe(|| observer.retiring(self.id, marker)));
            panic = panic.or(told.err());
        }
        panic
    }

    fn live_observers(&self) -> Vec<Arc<dyn StreamObserver>> {
        lock(&self.observers).drain(..).filter_map(|o| o.upgrade()).collect()
    }

    /// Queues the waits in the inbox, or leaves them to the thread's next handle of the stream if that
    /// cannot be done here. Left behind, a wait keeps its event, and that its device.
    fn leave_waits(&self) {
        self.inbox.forget_complete();
        if !self.inbox.is_empty() && self.is_callable_here() && matches!(self.captures(), Ok(false))
        {
            // Nobody can be told, and what is not queued stays.
            let _ = self.queue_pending_waits();
        }
    }

    /// Destroys the driver's stream, which does not capture.
    fn destroy(&self) {
        if self.kind == StreamKind::Owned {
            // SAFETY: contract, devices/handles: the stream is ours, and nothing names it after
            // this.
            let result = unsafe { self.device.destroy_stream(self.raw) };
            self.device.base().drop_failures().check("a stream", result);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if self.retired.get_mut().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let is_observed = lock(&self.observers).iter().any(|o| o.strong_count() > 0);
        let marker = if is_observed { self.record_last().ok() } else { None };
        if self.kind == StreamKind::PerThreadDefault {
            self.leave_waits();
        }
        let panic = self.tell_observers(marker.as_ref());
        // Destroying a capturing stream would break its capture.
        if self.kind == StreamKind::Owned && marker.is_none() && matches!(self.captures(), Ok(true))
        {
            self.device.base().destroy_later(self.raw);
        } else {
            self.destroy();
        }
        if let Some(payload) = panic
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}
