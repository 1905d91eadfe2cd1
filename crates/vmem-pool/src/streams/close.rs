//! Closing a lane's open epoch: begun and finished under the pool's lock, recorded without it.

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{DriverError, Event, Stream};

use super::lanes::{Garbage, Lanes};
use crate::space::StreamIx;

/// Events kept for recording again.
const IDLE_EVENTS: usize = 64;

/// A closed epoch whose marker is yet to be recorded. Dropped without the lock.
#[derive(Debug)]
pub(crate) struct Closing {
    lane: StreamIx,
    epoch: u64,
    /// Other lanes that the marker will cover.
    before: Vec<StreamIx>,
    /// Keeps the stream until the marker is published, and beyond the lock.
    stream: Stream,
    /// To record, as long as that has not happened.
    idle: Option<IdleEvent>,
}

/// How an event is recorded: as it can be anywhere, or in a call that names the stream.
pub(crate) type Record = fn(&Stream, IdleEvent) -> Result<Event, (IdleEvent, DriverError)>;

impl Lanes {
    /// Closes the open epoch of a lane whose stream lives and can be named by this thread. Whatever
    /// is freed from now on belongs to the next epoch.
    pub(crate) fn begin_close(&mut self, lane: StreamIx) -> Option<Closing> {
        let stream = self.table.get(lane).and_then(|l| l.handle.upgrade())?;
        let closable = self.table.get(lane).is_some_and(|l| !l.has_ended());
        if !closable || !stream.is_callable_here() {
            self.garbage.push(Garbage::Stream(stream));
            return None;
        }
        let idle = self.idle.pop();
        let epoch = self.table.get_mut(lane).map_or(0, |lane| lane.front.close());
        let before = self.unmarked_before(lane);
        Some(Closing { lane, epoch, before, stream, idle })
    }

    /// Publishes the marker. What is left of the closing is dropped without the lock.
    ///
    /// # Errors
    /// That with which the driver refused to record it.
    pub(crate) fn finish_close(
        &mut self,
        closing: &mut Closing,
        recorded: Result<Event, DriverError>,
    ) -> Result<(), DriverError> {
        let (lane, epoch) = (closing.lane, closing.epoch);
        let before = std::mem::take(&mut closing.before);
        self.recorded += 1;
        self.opened += u64::from(self.table.get(lane).is_some_and(|lane| lane.bound));
        let result = recorded.map(|event| {
            self.bequeath(before, &event, self.recorded);
            self.publish(lane, epoch, event, self.recorded);
        });
        closing.idle = closing.idle.take().and_then(|idle| self.keep_idle(idle));
        self.want_for_others(lane);
        result
    }

    /// Keeps an event for recording again, or gives it back if there are enough.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(super) fn keep_idle(&mut self, event: IdleEvent) -> Option<IdleEvent> {
        if self.idle.len() >= IDLE_EVENTS {
            return Some(event);
        }
        self.idle.push(event);
        None
    }
}

impl Closing {
    /// Records the marker at the stream's tail, which is after every free of the closed epoch.
    pub(crate) fn record(&mut self, record: Record) -> Result<Event, DriverError> {
        let idle = match self.idle.take() {
            Some(idle) => idle,
            None => IdleEvent::new(self.stream.device().clone())?,
        };
        record(&self.stream, idle).or_else(|(idle, error)| {
            self.idle = Some(idle);
            // A stream that was retired meanwhile has left a marker behind all its frees.
            self.stream.final_marker().ok_or(error)
        })
    }
}
