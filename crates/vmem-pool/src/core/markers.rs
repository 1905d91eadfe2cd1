//! Recording and querying markers, without the lock.

use vmem_core::{DriverCode, DriverError, Event, IdleEvent, Stream, StreamObserver};

use super::{Core, State, known};
use crate::Sharding;
use crate::backing::Backing;
use crate::lanes::Front;

impl<B: Backing> Core<B> {
    /// Locks the state and finds the stream's lane, making it if the stream is new.
    #[inline]
    pub(super) fn enter(&self, stream: &Stream) -> (State<'_>, u32) {
        let state = self.lock();
        // A lane that has ended may be another stream's by now.
        let known = |front: &Front| Some(front.lane()).filter(|_| !front.has_ended());
        if let Some(lane) = known::with(self.id, stream.id(), known) {
            return (state, lane);
        }
        let (state, lane) = match state.shared.lanes.find(stream.id()) {
            Some(lane) => (state, lane),
            None => self.join(state, stream),
        };
        if let Some(lane) = state.shared.lanes.get(lane) {
            known::remember(self.id, stream.id(), lane.front());
        }
        (state, lane)
    }

    #[cold]
    fn join<'a>(&'a self, mut state: State<'a>, stream: &Stream) -> (State<'a>, u32) {
        let lane = state.shared.lanes.add(stream);
        // Whatever ends the stream from here on finds the lane; what ended it before is seen below.
        state.shared.claims += 1;
        drop(state);
        let me: std::sync::Weak<dyn StreamObserver> = self.me.clone();
        stream.observe(me);
        let marker = stream.final_marker();
        let mut state = self.lock();
        state.shared.claims -= 1;
        if let Some(marker) = marker {
            state.shared.lanes.end(lane, Some(&marker));
        }
        if self.sharding() == Sharding::PerStream {
            state.part(&self.shards, stream.id());
        }
        (state, lane)
    }

    /// Keeps lanes from being forgotten, and their numbers from being given to other streams, while
    /// lane numbers are used across a release of the lock.
    pub(crate) fn pin(&self) -> Pin<'_, B> {
        self.pin_locked(&mut self.lock())
    }

    pub(crate) fn pin_locked(&self, state: &mut State<'_>) -> Pin<'_, B> {
        state.shared.claims += 1;
        Pin(self)
    }

    /// Closes the open epoch of the stream's lane, for its owner.
    #[cold]
    pub(super) fn close_batch(&self, stream: &Stream) -> Result<(), DriverError> {
        let mut state = self.lock();
        let Some(lane) = state.shared.lanes.find(stream.id()) else { return Ok(()) };
        let _pin = self.pin_locked(&mut state);
        drop(state);
        self.close(lane, false)
    }

    /// Closes a lane's open epoch and records its marker. Does nothing if this thread cannot.
    /// `ask` makes sure first that the stream is not capturing, which its owner would know.
    pub(crate) fn close(&self, lane: u32, ask: bool) -> Result<(), DriverError> {
        let begun = self.lock().shared.lanes.begin_close(lane);
        let Ok(closing) = begun else { return Ok(()) };
        let capturing = if ask { closing.is_capturing() } else { Ok(false) };
        let recorded = match capturing {
            Ok(false) => closing.record(),
            Ok(true) => {
                let code = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
                closing.abandon(DriverError::new("Pool::close", code))
            }
            Err(error) => closing.abandon(error),
        };
        let mut state = self.lock();
        let (result, leftover) = state.shared.lanes.finish_close(recorded);
        // A stream that was retired meanwhile has left a final marker; one that captures cannot
        // be marked now. Neither is a fault.
        let ended = state.shared.lanes.get(lane).is_none_or(crate::lanes::Lane::has_ended);
        state.shared.counters.markers += u64::from(result.is_ok());
        drop(state);
        drop(leftover);
        match result {
            Err(_) if ended => Ok(()),
            Err(error) if is_capture(&error) => Ok(()),
            result => result,
        }
    }

    /// Gives a marker back unless it has completed; if so, notes that. Poisons the lane if the driver
    /// answers anything but yes or not yet.
    pub(crate) fn query(
        &self,
        lane: u32,
        epoch: u64,
        marker: Event,
    ) -> Result<Option<Event>, DriverError> {
        match marker.is_complete() {
            Ok(true) => {
                // The lane's handle must be the only one for the event to be recycled.
                drop(marker);
                self.note_complete(lane, epoch);
                Ok(None)
            }
            Ok(false) => Ok(Some(marker)),
            Err(error) => {
                self.poison(lane);
                tracing::warn!(%error, "a marker could not be queried; its lane is set aside");
                Err(error)
            }
        }
    }

    fn poison(&self, lane: u32) {
        if let Some(state) = self.lock().shared.lanes.get_mut(lane) {
            state.poison();
        }
    }

    /// Notes that everything the lane freed up to `epoch` has completed.
    pub(crate) fn note_complete(&self, lane: u32, epoch: u64) {
        let done = self.lock().shared.lanes.complete(lane, epoch);
        self.recycle(done);
    }

    /// Keeps the driver's events of markers of no more use.
    pub(crate) fn recycle(&self, markers: Vec<Event>) {
        // Covered by a later marker, they have completed: the query only notes it.
        let idle = markers.into_iter().filter_map(|m| m.is_complete().ok().and(m.recycle().ok()));
        let idle: Vec<IdleEvent> = idle.collect();
        if !idle.is_empty() {
            let surplus = self.lock().shared.lanes.keep_idle(idle);
            drop(surplus);
        }
    }

    /// Queries every lane's markers, oldest first, until one is pending. Lanes whose query fails
    /// are set aside; the first such error is returned at the end.
    pub(crate) fn refresh(&self) -> Result<(), DriverError> {
        let _pin = self.pin();
        let mut result = Ok(());
        for (lane, epoch, marker) in self.all_markers() {
            if !marker.was_observed() || !self.is_lane_complete(lane, epoch) {
                result = result.and(self.query(lane, epoch, marker).map(drop));
            }
        }
        result
    }

    /// Finds out what has completed: by asking, or, where placement must not depend on the answer, by
    /// waiting until all has.
    pub(crate) fn observe(&self) -> Result<(), DriverError> {
        if self.may_ask() {
            self.close_all()?;
            self.refresh()
        } else {
            self.wait_for_all()
        }
    }

    /// Marks all that was freed, and waits on the host until it has completed.
    pub(crate) fn wait_for_all(&self) -> Result<(), DriverError> {
        // A lane whose marker fails is set aside: the whole device may still be waited for.
        self.close_all()?;
        let _ = self.wait_for_recorded();
        if self.needs_device() {
            self.synchronize_device()?;
        }
        Ok(())
    }

    /// Marks all that was freed and can be marked, and waits on the host until the markers have
    /// completed. Lanes whose marker fails are set aside; the first such error is returned at the end.
    pub(crate) fn wait_for_markers(&self) -> Result<(), DriverError> {
        self.close_all()?;
        self.wait_for_recorded()
    }

    fn wait_for_recorded(&self) -> Result<(), DriverError> {
        let _pin = self.pin();
        let mut newest: Vec<(u32, u64, Event)> = Vec::new();
        for (lane, epoch, marker) in self.all_markers() {
            // Those of one lane follow each other, oldest first.
            match newest.last_mut() {
                Some(last) if last.0 == lane => *last = (lane, epoch, marker),
                _ => newest.push((lane, epoch, marker)),
            }
        }
        let mut result = Ok(());
        for (lane, epoch, marker) in newest {
            match marker.synchronize() {
                Ok(()) => {
                    drop(marker);
                    self.note_complete(lane, epoch);
                }
                Err(error) => {
                    self.poison(lane);
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    /// Closes every lane that has unmarked frees and can be closed by this thread.
    pub(crate) fn close_all(&self) -> Result<(), DriverError> {
        let _pin = self.pin();
        let open: Vec<u32> = {
            let state = self.lock();
            let open =
                |&lane: &u32| state.shared.lanes.get(lane).is_some_and(|l| l.has_unmarked_frees());
            state.shared.lanes.numbers().filter(open).collect()
        };
        open.into_iter().try_for_each(|lane| self.close(lane, true))
    }

    /// Marks what the calling thread freed on its own default streams, which no thief can mark.
    /// Without that, what one thread frees on its default stream and wants on another of its streams
    /// could not be shared.
    pub(crate) fn close_bound_here(&self, but: u32) -> Result<(), DriverError> {
        let _pin = self.pin();
        let bound: Vec<u32> = {
            let state = self.lock();
            let open = |&number: &u32| {
                let lane = state.shared.lanes.get(number);
                lane.is_some_and(|lane| lane.is_thread_bound() && lane.has_unmarked_frees())
            };
            state.shared.lanes.numbers().filter(|&number| number != but).filter(open).collect()
        };
        bound.into_iter().try_for_each(|lane| self.close(lane, true))
    }

    /// Waits for the whole device, after which everything freed before has completed.
    ///
    /// # Errors
    /// Refuses while a stream captures that the pool knows and this thread can name: the wait would
    /// break the capture.
    pub(crate) fn synchronize_device(&self) -> Result<(), DriverError> {
        let _pin = self.pin();
        if self.any_captures() {
            let code = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
            return Err(DriverError::new("Pool::synchronize_device", code));
        }
        let epochs: Vec<(u32, u64)> = {
            let mut state = self.lock();
            let numbers: Vec<u32> = state.shared.lanes.numbers().skip(1).collect();
            let begin = |lane| Some((lane, state.shared.lanes.get_mut(lane)?.before_device_sync()));
            numbers.into_iter().filter_map(begin).collect()
        };
        self.backing.device().synchronize()?;
        for (lane, epoch) in epochs {
            let done = {
                let mut state = self.lock();
                state.shared.lanes.get_mut(lane).map(|lane| lane.after_device_sync(epoch))
            };
            self.recycle(done.unwrap_or_default());
        }
        Ok(())
    }

    fn any_captures(&self) -> bool {
        let streams: Vec<Stream> = {
            let state = self.lock();
            let lanes = state.shared.lanes.numbers().filter_map(|n| state.shared.lanes.get(n));
            lanes.filter_map(|lane| lane.handle().upgrade()).collect()
        };
        // The legacy default stream cannot be asked while another one captures.
        let captures = |stream: &Stream| match stream.is_capturing() {
            Ok(captures) => captures,
            Err(error) => error.code() == DriverCode::STREAM_CAPTURE_IMPLICIT,
        };
        streams.iter().filter(|stream| stream.is_callable_here()).any(captures)
    }

    /// Whether some lane has free memory that only synchronising the device makes usable.
    pub(crate) fn needs_device(&self) -> bool {
        let state = self.lock();
        state.shared.lanes.numbers().skip(1).any(|number| {
            let stuck = state.shared.lanes.get(number).is_some_and(|lane| {
                lane.needs_device() || (lane.has_unmarked_frees() && lane.is_thread_bound())
            });
            stuck && state.space.free_of(number).next().is_some()
        })
    }

    pub(super) fn all_markers(&self) -> Vec<(u32, u64, Event)> {
        let state = self.lock();
        let lanes =
            state.shared.lanes.numbers().filter_map(|n| Some((n, state.shared.lanes.get(n)?)));
        let marker = |(number, lane): (u32, &crate::lanes::Lane)| {
            lane.markers().map(|(epoch, event)| (number, epoch, event.clone())).collect::<Vec<_>>()
        };
        lanes.flat_map(marker).collect()
    }

    fn is_lane_complete(&self, lane: u32, epoch: u64) -> bool {
        self.lock().shared.lanes.get(lane).is_none_or(|lane| lane.is_complete(epoch))
    }
}

/// Dropped without the lock.
pub(crate) struct Pin<'a, B: Backing>(&'a Core<B>);

impl<B: Backing> Drop for Pin<'_, B> {
    fn drop(&mut self) {
        self.0.lock().shared.claims -= 1;
    }
}

/// Whether a call was refused because a stream captures.
pub(crate) fn is_capture(error: &DriverError) -> bool {
    error.code() == DriverCode::STREAM_CAPTURE_UNSUPPORTED
}
