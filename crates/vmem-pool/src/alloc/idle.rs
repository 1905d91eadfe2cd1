//! Whether work may be pending on memory of live blocks, of which a pool knows the streams only.

use vmem_core::author::StreamExt;
use vmem_core::{BoxedError, DriverError, Event, ResidencyError, ResidencyErrorKind, Stream};

use super::Core;
use crate::Pending;
use crate::supply::Backing;

impl<B: Backing> Core<B> {
    /// Waits until no work is pending on the device, or finds out whether any is on the streams that the
    /// pool knows.
    pub(super) fn settle_pending(&self, pending: Pending) -> Result<(), ResidencyError> {
        let busy =
            |source: BoxedError| ResidencyError::new(ResidencyErrorKind::Busy).with_source(source);
        match pending {
            Pending::Wait => self.wait_for_device().map_err(|error| {
                let kind = match error.concerns_capture() {
                    true => ResidencyErrorKind::Busy,
                    false => ResidencyErrorKind::Driver,
                };
                ResidencyError::new(kind).with_source(error)
            }),
            Pending::Refuse => self.require_idle().map_err(busy),
        }
    }

    fn wait_for_device(&self) -> Result<(), DriverError> {
        let before = self.streams.lock().lanes.departed.count;
        self.streams.synchronize_device()?;
        let done = self.streams.lock().lanes.departed.take_done(before);
        drop(done);
        Ok(())
    }

    /// # Errors
    /// Which stream has work pending, or cannot be asked.
    fn require_idle(&self) -> Result<(), BoxedError> {
        self.streams.note_orphans();
        let _pin = self.streams.pin();
        let state = self.streams.lock();
        let departed = &state.lanes.departed;
        let count = departed.count;
        let mut markers: Vec<Event> = departed.markers.clone();
        let mut streams: Vec<Stream> = Vec::new();
        let mut unknown = departed.unknown.then(|| "a stream".to_owned());
        for lane in state.lanes.table.all() {
            let Some(id) = lane.stream() else { continue };
            let stream = if lane.has_ended() { None } else { lane.handle.upgrade() };
            match (stream, lane.last_marker()) {
                (Some(stream), _) => streams.push(stream),
                // All that it freed is complete, and so is all its work.
                _ if lane.is_complete(u64::MAX) => {}
                (None, Some(marker)) => markers.push(marker),
                (None, None) => unknown = Some(id.to_string()),
            }
        }
        drop(state);
        if let Some(stream) = unknown {
            return Err(format!("{stream} has ended, and no event covers its work").into());
        }
        for stream in streams {
            if !stream.is_callable_here() {
                return Err(format!("{} cannot be asked by this thread", stream.id()).into());
            }
            if !stream.is_complete()? {
                return Err(format!("{} has work that is pending", stream.id()).into());
            }
        }
        for marker in markers {
            if !marker.is_complete()? {
                return Err("work of a stream that has ended is pending".into());
            }
        }
        let done = self.streams.lock().lanes.departed.take_done(count);
        drop(done);
        Ok(())
    }
}
