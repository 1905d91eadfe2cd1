//! Which uses of a block are pending, and who must wait for them.

use std::sync::Arc;

use vmem_core::{Device, DeviceId, DriverError, Event, Stream, StreamId};

use crate::pattern::Pattern;

/// How a use touches a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// What a block holds, and its last use by each stream.
pub(crate) struct History {
    /// What was written last, if that is known.
    pub(crate) contents: Option<Pattern>,
    device: Arc<dyn Device>,
    uses: Vec<Use>,
    /// A use was queued that could be neither recorded nor waited for.
    lost: bool,
}

struct Use {
    stream: StreamId,
    done: Event,
    access: Access,
}

impl History {
    /// That of a new block, usable by `stream`, and by others after `ready`.
    pub(crate) fn new(stream: &Stream, ready: Event) -> Self {
        let first = Use { stream: stream.id(), done: ready, access: Access::Write };
        let device = stream.device().clone();
        Self { contents: None, device, uses: vec![first], lost: false }
    }

    pub(crate) fn device_id(&self) -> DeviceId {
        self.device.id()
    }

    /// Queues `work` on `stream` after what it must follow, and notes it.
    pub(crate) fn queue(
        &mut self,
        stream: &Stream,
        access: Access,
        work: impl FnOnce() -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.find_lost()?;
        self.wait(stream, access)?;
        let queued = work();
        // Even work that failed may have been queued in part.
        self.note_use(stream, access)?;
        queued
    }

    /// Notes what may have been queued on `stream`.
    pub(crate) fn note_use(&mut self, stream: &Stream, access: Access) -> Result<(), DriverError> {
        match stream.marker() {
            Ok(done) => self.note(stream.id(), done, access),
            Err(error) if stream.synchronize().is_err() => {
                self.lost = true;
                return Err(error);
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Makes `stream` wait, on the device, for everything: what a free on it needs.
    pub(crate) fn settle(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.find_lost()?;
        self.wait(stream, Access::Write)
    }

    /// Nothing but the whole device's rest covers a use that could not be recorded.
    fn find_lost(&mut self) -> Result<(), DriverError> {
        if self.lost {
            self.device.synchronize()?;
            self.lost = false;
        }
        Ok(())
    }

    /// Makes `stream` wait for the uses by others that an access must follow: a read follows writes,
    /// a write follows everything.
    fn wait(&self, stream: &Stream, access: Access) -> Result<(), DriverError> {
        let others = self.uses.iter().filter(|u| u.stream != stream.id());
        others
            .filter(|u| access == Access::Write || u.access == Access::Write)
            .try_for_each(|u| stream.wait(&u.done))
    }

    fn note(&mut self, stream: StreamId, done: Event, mut access: Access) {
        let wrote = |u: &Use| u.stream == stream && u.access == Access::Write;
        if access == Access::Write {
            // It followed all others, so waiting for it is waiting for them.
            self.uses.clear();
        } else if self.uses.iter().any(wrote) {
            // The new event stands for the earlier write as well.
            access = Access::Write;
        }
        self.uses.retain(|u| u.stream != stream);
        self.uses.push(Use { stream, done, access });
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("contents", &self.contents)
            .field("uses", &self.uses.len())
            .finish_non_exhaustive()
    }
}
