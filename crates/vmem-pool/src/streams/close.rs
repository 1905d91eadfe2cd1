//! Closing a lane's open epoch: begun and finished under the pool's lock, recorded without it.

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{DriverError, Event, Stream};

use super::lane::Lane;
use super::lanes::{Garbage, Lanes};

/// A closed epoch whose marker is yet to be recorded. Dropped without the lock.
#[derive(Debug)]
pub(crate) struct Closing {
    lane: u32,
    epoch: u64,
    /// Other lanes that the marker will cover.
    before: Vec<u32>,
    stream: Stream,
    event: Option<IdleEvent>,
}

/// What recording came to. Dropped without the lock.
#[derive(Debug)]
pub(crate) struct Recorded {
    lane: u32,
    epoch: u64,
    before: Vec<u32>,
    /// Keeps the stream until the marker is published, and beyond the lock.
    stream: Stream,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Marker(Event),
    /// Nothing was recorded; the event is still idle, if one was made.
    Failed(Option<IdleEvent>, DriverError),
}

impl Lanes {
    /// Closes the open epoch of a lane whose stream lives and can be named by this thread. Whatever
    /// is freed from now on belongs to the next epoch.
    pub(crate) fn begin_close(&mut self, lane: u32) -> Option<Closing> {
        let stream = self.get(lane).and_then(|l| l.handle().upgrade())?;
        let closable = self.get(lane).is_some_and(|l| !l.has_ended());
        if !closable || !stream.is_callable_here() {
            self.garbage.push(Garbage::Stream(stream));
            return None;
        }
        let event = self.idle.pop();
        let epoch = self.get_mut(lane).map_or(0, |lane| lane.front_mut().close());
        let before = self.unmarked_before(lane);
        Some(Closing { lane, epoch, before, stream, event })
    }

    /// Publishes the marker.
    ///
    /// # Errors
    /// That with which the driver refused to record it.
    pub(crate) fn finish_close(&mut self, recorded: Recorded) -> Result<(), DriverError> {
        let Recorded { lane, epoch, before, stream, outcome } = recorded;
        let order = self.next_order();
        self.opened += u64::from(self.get(lane).is_some_and(Lane::is_bound));
        let result = match outcome {
            Outcome::Marker(event) => {
                self.bequeath(before, &event, order);
                self.publish(lane, epoch, event, order);
                Ok(())
            }
            Outcome::Failed(idle, error) => {
                self.keep_idle(idle);
                Err(error)
            }
        };
        self.want_for_others(lane);
        self.garbage.push(Garbage::Stream(stream));
        result
    }
}

impl Lanes {
    /// A marker of the lane to ask about, so that markers are recorded again rather than made.
    pub(crate) fn marker_to_ask_about(&self, lane: u32) -> Option<(u64, Event)> {
        self.get(lane)?.marker_to_ask_about()
    }
}

impl Closing {
    /// Records the marker at the stream's tail, which is after every free of the closed epoch.
    pub(crate) fn record(self) -> Recorded {
        let Self { lane, epoch, before, stream, event } = self;
        let event = match event {
            Some(event) => Ok(event),
            None => IdleEvent::new(stream.device().clone()),
        };
        let outcome = match event.map(|event| stream.record(event)) {
            Ok(Ok(event)) => Outcome::Marker(event),
            // A stream that was retired meanwhile has left a marker behind all its frees.
            Ok(Err((idle, error))) => match stream.final_marker() {
                Some(marker) => Outcome::Marker(marker),
                None => Outcome::Failed(Some(idle), error),
            },
            Err(error) => Outcome::Failed(None, error),
        };
        Recorded { lane, epoch, before, stream, outcome }
    }
}
