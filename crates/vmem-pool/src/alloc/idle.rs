//! Whether work may be pending on memory of live blocks, of which a pool knows the streams only.

use vmem_core::author::StreamExt;
use vmem_core::{BoxedError, Event, ResidencyError, ResidencyErrorKind, Stream, StreamId};

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
            Pending::Wait => self.streams.synchronize_device().map_err(|error| {
                let kind = match error.concerns_capture() {
                    true => ResidencyErrorKind::Busy,
                    false => ResidencyErrorKind::Driver,
                };
                ResidencyError::new(kind).with_source(error)
            }),
            Pending::Refuse => self.require_idle().map_err(busy),
        }
    }

    /// # Errors
    /// Which stream has work pending, or cannot be asked.
    fn require_idle(&self) -> Result<(), BoxedError> {
        self.streams.note_orphans();
        let _pin = self.streams.pin();
        let lanes: Vec<Tells> = {
            let state = self.streams.lock();
            state.lanes.all().filter_map(tells).collect()
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
    match lane.markers().last() {
        Some((_, marker)) => Some(Tells::Marker(marker.clone())),
        // All that it freed is complete, and so is all its work.
        None if lane.is_complete(u64::MAX) => None,
        None => Some(Tells::Nothing(Some(id))),
    }
}
