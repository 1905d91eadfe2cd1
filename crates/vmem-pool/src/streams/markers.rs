//! Recording and querying markers, without the lock.

use std::collections::BTreeSet;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{DriverCode, DriverError, Event, Stream};

use super::close::Record;
use super::{Lane, Locked, State, Streams};
use crate::space::StreamIx;

/// What the driver says of a marker.
#[derive(Debug)]
pub(crate) enum Reached {
    /// It has completed, which is noted.
    Yes,
    /// It has not, or that cannot be asked now.
    NotYet(Event),
    /// It stands for nothing, and is gone: a capture of its stream began and ended while it was recorded.
    /// What it was to cover is unmarked again.
    Lost,
}

impl Streams {
    /// Closes the open epoch of the stream's lane, for its owner, or leaves that to a caller who can.
    #[cold]
    pub(crate) fn close_batch(&self, stream: &Stream) -> Result<(), DriverError> {
        let mut state = self.lock();
        let Some(lane) = state.lanes.known(self.id, stream) else { return Ok(()) };
        if !stream.is_callable_here() {
            if let Some(lane) = state.lanes.table.get_mut(lane) {
                lane.front.leave_open();
            }
            return Ok(());
        }
        self.close_in_call(state, lane)
    }

    /// Closes a lane's open epoch and records its marker. Does nothing if this thread cannot, or while
    /// the stream captures: the next marker covers the epoch then.
    pub(crate) fn close(&self, lane: StreamIx) -> Result<(), DriverError> {
        self.close_with(self.lock(), lane, StreamExt::record)
    }

    /// The same in an allocation or a free on the lane's stream.
    pub(crate) fn close_in_call(
        &self,
        state: Locked<'_>,
        lane: StreamIx,
    ) -> Result<(), DriverError> {
        self.close_with(state, lane, StreamExt::record_in_call)
    }

    fn close_with(
        &self,
        mut state: Locked<'_>,
        lane: StreamIx,
        record: Record,
    ) -> Result<(), DriverError> {
        let Some(mut closing) = state.lanes.begin_close(lane) else { return Ok(()) };
        // Nobody else gets the lane's number meanwhile.
        let _pin = state.pins.clone();
        drop(state);
        let recorded = closing.record(record);
        let mut state = self.lock();
        let result = state.lanes.finish_close(&mut closing, recorded);
        // A stream that was retired meanwhile has left a final marker; one that captures cannot
        // be marked now. Neither is a fault.
        state.counters.markers += u64::from(result.is_ok());
        let lane_now = state.lanes.table.get(lane);
        let ended = lane_now.is_none_or(Lane::has_ended);
        let due = lane_now.filter(|_| self.may_ask).and_then(Lane::marker_to_ask_about);
        drop(state);
        if let Some((epoch, marker)) = due {
            // A failure is noted in the lane, and is the business of whoever wants its memory.
            let _ = self.query(lane, epoch, marker);
        }
        match result {
            Err(_) if ended => Ok(()),
            Err(error) if error.concerns_capture() => Ok(()),
            result => result,
        }
    }

    /// Asks whether a marker has completed. Poisons the lane if the driver fails.
    pub(crate) fn query(
        &self,
        lane: StreamIx,
        epoch: u64,
        marker: Event,
    ) -> Result<Reached, DriverError> {
        match marker.is_complete() {
            Ok(true) => {
                // The lane's handle must be the only one for the event to be recycled.
                drop(marker);
                self.note_complete(lane, epoch);
                Ok(Reached::Yes)
            }
            Ok(false) => Ok(Reached::NotYet(marker)),
            // The driver may not be asked while a stream captures that it would disturb.
            Err(error) if error.concerns_capture() => Ok(Reached::NotYet(marker)),
            Err(error) if stands_for_nothing(&error) => {
                self.lock().lanes.lose(lane, epoch);
                Ok(Reached::Lost)
            }
            Err(error) => {
                self.lock().lanes.poison(lane);
                tracing::warn!(%error, "a marker could not be queried; its lane is set aside");
                Err(error)
            }
        }
    }

    /// Closes a lane that has frees which no marker covers.
    pub(crate) fn close_unmarked(&self, lane: StreamIx) -> Result<(), DriverError> {
        let unmarked = self.lock().lanes.table.get(lane).is_some_and(Lane::has_unmarked_frees);
        if unmarked { self.close(lane) } else { Ok(()) }
    }

    /// Notes that everything the lane freed up to `epoch` has completed.
    pub(crate) fn note_complete(&self, lane: StreamIx, epoch: u64) {
        let done = self.lock().lanes.complete(lane, epoch);
        self.recycle(done);
    }

    /// Keeps the driver's events of a lane's markers of no more use, which are in order.
    pub(crate) fn recycle(&self, mut markers: Vec<Event>) {
        let Some(last) = markers.pop() else { return };
        // Usually that is what was asked about. Otherwise it is covered by a later one, has completed, and
        // the query only notes it.
        let observed = matches!(last.is_complete(), Ok(true));
        let before = |marker: Event| IdleEvent::before(marker, &last).ok();
        let mut idle: Vec<IdleEvent> = match observed {
            true => markers.into_iter().filter_map(before).collect(),
            false => Vec::new(),
        };
        idle.extend(last.recycle().ok());
        if !idle.is_empty() {
            let surplus: Vec<IdleEvent> = {
                let lanes = &mut self.lock().lanes;
                idle.into_iter().filter_map(|event| lanes.keep_idle(event)).collect()
            };
            drop(surplus);
        }
    }

    /// Queries every lane's markers, oldest first, until one is pending. Lanes whose marker is lost are
    /// marked again, once. Lanes whose query fails are set aside; the first such error is returned at the
    /// end.
    pub(crate) fn refresh(&self) -> Result<(), DriverError> {
        let _pin = self.pin();
        let mut result = Ok(());
        let marked = self.lock().lanes.marked.clone();
        for lane in marked {
            let mut marked_again = false;
            while let Some((epoch, marker)) = self.oldest_marker(lane) {
                match self.query(lane, epoch, marker) {
                    Ok(Reached::Yes) => {}
                    Ok(Reached::NotYet(_)) => break,
                    Ok(Reached::Lost) => {
                        if !std::mem::replace(&mut marked_again, true) {
                            result = result.and(self.close_unmarked(lane));
                        }
                    }
                    Err(error) => {
                        result = result.and(Err(error));
                        break;
                    }
                }
            }
        }
        result
    }

    fn oldest_marker(&self, lane: StreamIx) -> Option<(u64, Event)> {
        let state = self.lock();
        let (epoch, marker) = state.lanes.table.get(lane)?.markers().next()?;
        Some((epoch, marker.clone()))
    }

    /// Finds out what has completed: by asking, or, where placement must not depend on the answer, by
    /// waiting until all has.
    pub(crate) fn observe(&self) -> Result<(), DriverError> {
        if self.may_ask { self.ask() } else { self.wait_for_markers() }
    }

    /// Marks all that was freed and can be marked, and asks what has completed.
    pub(crate) fn ask(&self) -> Result<(), DriverError> {
        self.close_all()?;
        self.refresh()
    }

    /// Marks all that was freed and can be marked, and waits on the host until the markers have
    /// completed. Lanes whose marker is lost are marked again, once. Lanes whose marker fails are set aside;
    /// the first such error is returned at the end. What the driver refuses because a stream captures stays
    /// pending.
    pub(crate) fn wait_for_markers(&self) -> Result<(), DriverError> {
        let _pin = self.pin();
        let mut result = Ok(());
        for _ in 0..2 {
            result = result.and(self.close_all());
            let (lost, waited) = self.wait_for_newest();
            result = result.and(waited);
            if !lost {
                break;
            }
        }
        result
    }

    /// Waits for the latest marker of each lane. Returns whether one was lost, and the first failure.
    fn wait_for_newest(&self) -> (bool, Result<(), DriverError>) {
        let (mut lost, mut result) = (false, Ok(()));
        for (lane, epoch, marker) in self.newest_markers() {
            match marker.synchronize() {
                Ok(()) => {
                    drop(marker);
                    self.note_complete(lane, epoch);
                    self.lock().lanes.trust(lane);
                }
                Err(error) if error.concerns_capture() => {}
                Err(error) if stands_for_nothing(&error) => {
                    drop(marker);
                    self.lock().lanes.lose(lane, epoch);
                    lost = true;
                }
                Err(error) => {
                    self.lock().lanes.poison(lane);
                    result = result.and(Err(error));
                }
            }
        }
        (lost, result)
    }

    /// The latest marker of each lane that has one.
    pub(crate) fn newest_markers(&self) -> Vec<(StreamIx, u64, Event)> {
        let state = self.lock();
        let newest = |lane: StreamIx| {
            let (epoch, marker) = state.lanes.table.get(lane)?.markers().last()?;
            Some((lane, epoch, marker.clone()))
        };
        state.lanes.marked.iter().copied().filter_map(newest).collect()
    }

    /// Closes every lane that has unmarked free memory, or whose marker could not be queried, and can be
    /// closed by this thread. Goes on past failures; the first is returned.
    pub(crate) fn close_all(&self) -> Result<(), DriverError> {
        let state = self.lock();
        let _pin = state.pins.clone();
        let mut open = state.unmarked();
        open.extend(state.lanes.poisoned());
        drop(state);
        let mut result = Ok(());
        for lane in open {
            result = result.and(self.close(lane));
        }
        result
    }

    /// Waits for the whole device, after which everything freed before has completed. For a program
    /// that asks: whatever captures is broken by it.
    pub(crate) fn synchronize_device(&self) -> Result<(), DriverError> {
        let pin = self.pin();
        let mut state = self.lock();
        state.lanes.opened += 1;
        let epochs = state.lanes.table.before_device_sync();
        drop(state);
        self.device.synchronize()?;
        for (lane, epoch) in epochs {
            let done = self.lock().lanes.after_device_sync(lane, epoch);
            self.recycle(done);
        }
        drop(pin);
        self.lock().settle();
        Ok(())
    }
}

/// Whether an answer about a marker says that it stands for nothing. The driver takes an event of a capture
/// that is over for an invalid value.
pub(crate) fn stands_for_nothing(error: &DriverError) -> bool {
    error.code() == DriverCode::INVALID_VALUE
}

impl State {
    /// Lanes that have free memory, or addresses that memory was used at, which no marker covers.
    fn unmarked(&self) -> BTreeSet<StreamIx> {
        let Self { space, lanes, .. } = self;
        let free = space.indexes.all_free().filter_map(|slot| space[slot].tag());
        let dormant =
            space.indexes.dormant.slots().filter_map(|slot| space[slot].state().dormant());
        let all = free.chain(dormant).map(|tag| lanes.away.freed_on(tag.lane));
        let unmarked =
            |&lane: &StreamIx| lanes.table.get(lane).is_some_and(Lane::has_unmarked_frees);
        all.filter(unmarked).collect()
    }
}
