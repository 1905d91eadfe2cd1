//! Whether work may be pending on memory of live blocks, of which a pool knows the streams only.

use vmem_core::author::StreamExt;
use vmem_core::{
    BoxedError, DriverError, Event, ResidencyError, ResidencyErrorKind, Stream, StreamId,
};

use super::Core;
use crate::Pending;
use crate::streams::Lane;
use crate::supply::Backing;

/// What tells whether the work of a lane is complete.
enum Tells {
    Stream(Stream),
    Marker(Event),
    Nothing(Option<StreamId>),
}

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
        let before = self.streams.lock().lanes.departed().count();
        self.streams.synchronize_device()?;
        self.streams.lock().lanes.forget_departed(before);
        Ok(())
    }

    /// # Errors
    /// Which stream has work pending, or cannot be asked.
    fn require_idle(&self) -> Result<(), BoxedError> {
        self.streams.note_orphans();
        let _pin = self.streams.pin();
        let (lanes, count): (Vec<Tells>, u64) = {
            let state = self.streams.lock();
            let departed = state.lanes.departed();
            let markers = departed.markers().map(|marker| Tells::Marker(marker.clone()));
            let unknown = departed.is_unknown().then_some(Tells::Nothing(None));
            let all = state.lanes.all().filter_map(tells).chain(markers).chain(unknown);
            (all.collect(), departed.count())
        };
        for tells in lanes {
            match tells {
                Tells::Stream(stream) if !stream.is_callable_here() => {
                    let id = stream.id();
                    return Err(format!("{id} cannot be asked by this thread").into());
                }
                Tells::Stream(stream) => {
                    if !stream.is_complete()? {
                        return Err(format!("{} has work that is pending", stream.id()).into());
                    }
                }
                Tells::Marker(marker) => {
                    if !marker.is_complete()? {
                        return Err("work of a stream that has ended is pending".into());
                    }
                }
                Tells::Nothing(id) => {
                    let stream = id.map_or_else(|| "a stream".to_owned(), |id| id.to_string());
                    return Err(format!("{stream} has ended, and no event covers its work").into());
                }
            }
        }
        self.streams.lock().lanes.forget_departed(count);
        Ok(())
    }
}

/// What tells of a lane; `None` of one that has no stream.
fn tells(lane: &Lane) -> Option<Tells> {
    let id = lane.stream()?;
    if !lane.has_ended()
        && let Some(stream) = lane.handle().upgrade()
    {
        return Some(Tells::Stream(stream));
    }
    match lane.last_marker() {
        // All that it freed is complete, and so is all its work.
        _ if lane.is_complete(u64::MAX) => None,
        Some(marker) => Some(Tells::Marker(marker)),
        None => Some(Tells::Nothing(Some(id))),
    }
}
