//! How a stream ends without stranding what was freed on it.

use std::fmt::Debug;
use std::sync::{Arc, PoisonError, Weak};

use super::{Shared, Stream, StreamKind, lock};
use crate::{DriverCode, DriverError, Event, IdleEvent, StreamId};

/// Someone who keeps state per stream and must know when a stream ends.
pub trait StreamObserver: Debug + Send + Sync {
    /// The stream ends. `marker` covers all work ever queued on it; it is `None` if none could be
    /// recorded (another thread's default stream, a capturing stream, a failing driver), and then
    /// only a synchronisation with the whole device covers the stream.
    ///
    /// Called once per stream, before the driver's stream is destroyed. Must not use the stream.
    fn retiring(&self, stream: StreamId, marker: Option<&Event>);
}

impl Stream {
    /// Asks that `observer` be told when the stream ends.
    pub fn observe(&self, observer: Weak<dyn StreamObserver>) {
        let mut observers = lock(&self.0.observers);
        observers.retain(|o| o.strong_count() > 0);
        observers.push(observer);
    }

    /// Ends the stream now, although other handles may live: records a final marker, tells every
    /// observer, and destroys the driver's stream if it is ours. Afterwards the raw handle must not
    /// be used; waits and synchronisations on remaining handles mean the final marker. Does
    /// nothing the second time.
    ///
    /// # Errors
    /// The driver's, if the marker cannot be recorded: the stream is then as it was.
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) for another thread's default stream.
    pub fn retire(&self) -> Result<(), DriverError> {
        let mut retired = self.0.retired.write().unwrap_or_else(PoisonError::into_inner);
        if retired.is_some() {
            return Ok(());
        }
        let marker = self.0.record_last()?;
        self.0.tell_observers(Some(&marker));
        self.0.destroy();
        *retired = Some(marker);
        Ok(())
    }
}

impl Shared {
    /// A marker behind everything, waits asked for by other threads included.
    fn record_last(&self) -> Result<Event, DriverError> {
        let refuse =
            |code, detail| Err(DriverError::new("Stream::retire", code).with_detail(detail));
        if self.thread.as_ref().is_some_and(|token| !token.is_current()) {
            return refuse(DriverCode::NOT_PERMITTED, "it is another thread's default stream");
        }
        // SAFETY: contract, devices 1 and 5: the stream is valid until `destroy`, and callable.
        if unsafe { self.device.is_capturing(self.raw) }? {
            return refuse(DriverCode::STREAM_CAPTURE_UNSUPPORTED, "the stream is capturing");
        }
        self.queue_pending_waits()?;
        let event = IdleEvent::new(self.device.clone())?;
        // SAFETY: contract, devices 1 and 5: as above, with an owned event.
        unsafe { self.device.record_event(event.raw(), self.raw) }?;
        Ok(event.into_recorded())
    }

    fn tell_observers(&self, marker: Option<&Event>) {
        for observer in self.live_observers() {
            observer.retiring(self.id, marker);
        }
    }

    fn live_observers(&self) -> Vec<Arc<dyn StreamObserver>> {
        lock(&self.observers).drain(..).filter_map(|o| o.upgrade()).collect()
    }

    fn destroy(&self) {
        if self.kind == StreamKind::Owned {
            // SAFETY: contract, devices 1: the stream is ours, and nothing names it after this.
            let result = unsafe { self.device.destroy_stream(self.raw) };
            self.device.base().drop_failures().check("a stream", result);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.retired.get_mut().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let observers = self.live_observers();
        if !observers.is_empty() {
            let marker = self.record_last().ok();
            for observer in observers {
                observer.retiring(self.id, marker.as_ref());
            }
        }
        self.destroy();
    }
}
