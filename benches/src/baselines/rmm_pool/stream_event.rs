//! The one event that RMM keeps for each stream.

use std::sync::Arc;

use vmem_core::author::StreamExt;
use vmem_core::{Device, DriverError, Event, RawEvent, Stream};

/// An event that is recorded again and again on one stream.
#[derive(Debug)]
pub(super) struct StreamEvent {
    device: Arc<dyn Device>,
    raw: RawEvent,
    /// What stands for all work of the stream once it has been retired, in place of the event.
    last: Option<Event>,
}

impl StreamEvent {
    pub(super) fn new(device: &Arc<dyn Device>) -> Result<Self, DriverError> {
        Ok(Self { raw: device.create_event()?, device: device.clone(), last: None })
    }

    /// Records it at the tail of `stream`, in place of what it stood for. Where the stream is
    /// another thread's, which this one cannot record on, waits for the stream's work instead.
    pub(super) fn record(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.last = stream.final_marker();
        if self.last.is_some() {
            return Ok(());
        }
        if !stream.is_callable_here() {
            return stream.synchronize();
        }
        stream.with_raw("cuEventRecord", |device, stream| {
            // SAFETY: contract, devices/handles and devices/threads: `with_raw` hands out a valid,
            // callable stream, and the event lives as long as this value.
            unsafe { device.record_event(self.raw, stream) }
        })
    }

    /// Makes `stream` wait for what it stands for: nothing, if it was never recorded. Where the
    /// stream is another thread's, waits on the host instead.
    pub(super) fn hold_back(&self, stream: &Stream) -> Result<(), DriverError> {
        if let Some(last) = &self.last {
            return stream.wait(last);
        }
        if !stream.is_callable_here() {
            // SAFETY: contract, devices/handles: the event lives as long as this value.
            return unsafe { self.device.synchronize_event(self.raw) };
        }
        stream.with_raw("cuStreamWaitEvent", |device, stream| {
            // SAFETY: contract, devices/handles and devices/threads, as in `record`.
            unsafe { device.wait_event(stream, self.raw) }
        })
    }
}

impl Drop for StreamEvent {
    fn drop(&mut self) {
        // SAFETY: contract, devices/handles: this value owns the event.
        let waited = unsafe { self.device.synchronize_event(self.raw) };
        // SAFETY: as above, and it is its last user.
        let destroyed = unsafe { self.device.destroy_event(self.raw) };
        if let Err(error) = waited.and(destroyed) {
            self.device.base().drop_failures().record("an event", &error);
        }
    }
}
