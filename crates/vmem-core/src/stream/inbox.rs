//! Waits that a stream owes.

use super::lock;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{DriverError, Event};

/// Events that later work of a stream must wait for and that could not be queued when that was asked:
/// the thread that asked could not name the stream, or it was capturing.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waits: Mutex<Waits>,
    /// How many there are; set under the lock.
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waits {
    events: Vec<Event>,
    /// So many were pending when the device was last asked.
    pending: usize,
}

impl Waits {
    /// An event that cannot be asked about stays.
    fn forget_complete(&mut self) {
        self.events.retain(|event| !matches!(event.is_complete(), Ok(true)));
        self.pending = self.events.len();
    }
}

/// The device is asked which waits are over when there are twice as many as were pending the last
/// time, and never for fewer than these.
const FEW: usize = 16;

impl Inbox {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Adds a wait. The list stays within twice what is pending.
    pub(super) fn push(&self, event: Event) {
        let mut waits = lock(&self.waits);
        if waits.events.len() >= FEW.max(2 * waits.pending) {
            waits.forget_complete();
        }
        waits.events.push(event);
        self.len.store(waits.events.len(), Ordering::Release);
    }

    /// Forgets the waits that are over.
    pub(super) fn forget_complete(&self) {
        if self.is_empty() {
            return;
        }
        let mut waits = lock(&self.waits);
        waits.forget_complete();
        self.len.store(waits.events.len(), Ordering::Release);
    }

    /// Hands every wait to `queue` and forgets those that it took.
    pub(super) fn take(
        &self,
        mut queue: impl FnMut(&Event) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut waits = lock(&self.waits);
        while let Some(event) = waits.events.last() {
            queue(event)?;
            waits.events.pop();
            self.len.store(waits.events.len(), Ordering::Release);
        }
        Ok(())
    }

    /// Waits on the host for every event, and forgets it.
    pub(super) fn observe(&self) -> Result<(), DriverError> {
        let events = lock(&self.waits).events.clone();
        let result = events.iter().try_for_each(Event::synchronize);
        let mut waits = lock(&self.waits);
        waits.events.retain(|event| !event.was_observed());
        self.len.store(waits.events.len(), Ordering::Release);
        drop(waits);
        result
    }
}
