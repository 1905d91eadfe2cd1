//! How lanes begin and end, and what is done about those that ended without a marker.

use vmem_core::{Event, Stream, WeakStream};

use super::{Front, Lane, Lanes, Ordering, Queue, Reuse};

impl Lanes {
    /// Makes a lane for a stream that is not known.
    pub(crate) fn add(&mut self, stream: &Stream) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            u32::try_from(self.lanes.len() - 1).expect("fewer than 2^31 streams")
        });
        let observed = self.reuse == Reuse::Observed;
        let front = Front::new(number, 1, self.batch, observed, self.company.clone());
        let lane = Lane::new(stream, front);
        self.in_shard[0] += 1;
        if lane.is_thread_bound() {
            self.bound.insert(number);
        }
        if let Some(queue) = lane.queue() {
            self.queues.add(queue, number);
        }
        self.lanes[number as usize] = Some(lane);
        self.by_stream.insert(stream.id(), number);
        self.tell_company();
        self.want_for_others(number);
        number
    }

    fn tell_company(&self) {
        self.company.store(self.by_stream.len() > 1, Ordering::Relaxed);
    }

    /// Notes which queue is behind a lane, if that was not known and can be told here.
    pub(crate) fn note_queue(&mut self, lane: u32, stream: &Stream) {
        let unknown = self.get(lane).is_some_and(|l| l.is_thread_bound() && l.queue().is_none());
        if unknown && let Some(queue) = Queue::of(stream) {
            self.queues.add(queue, lane);
            self.get_mut(lane).into_iter().for_each(|lane| lane.set_queue(queue));
            self.want_for_others(lane);
        }
    }

    /// The lanes on the calling thread's default stream that have unmarked frees.
    pub(crate) fn unmarked_here(&self) -> Vec<u32> {
        let unmarked = |&number: &u32| {
            self.get(number).is_some_and(|lane| !lane.has_ended() && lane.has_unmarked_frees())
        };
        if self.bound.is_empty() {
            return Vec::new();
        }
        self.queues.on(Queue::here()).iter().copied().filter(unmarked).collect()
    }

    /// Ends a lane: no work will follow on its stream. `marker` covers all of it, if there is one.
    pub(crate) fn end(&mut self, lane: u32, marker: Option<&Event>) {
        let order = self.next_order();
        self.opened += 1;
        let Some(state) = self.get_mut(lane).filter(|state| !state.has_ended()) else { return };
        state.end(marker.cloned(), order);
        let (home, queue) = (state.front().home(), state.queue());
        self.in_shard[home] -= 1;
        self.bound.remove(&lane);
        self.ended.push(lane);
        match marker {
            Some(marker) => {
                self.uncovered.remove(&lane);
                self.marked.insert(lane);
                self.bequeath(lane, marker, order);
            }
            None => {
                self.uncovered.insert(lane);
                // A later stream on the same queue can still cover what this one freed.
                let others = queue.map_or(&[][..], |queue| self.queues.on(queue)).to_vec();
                others.into_iter().for_each(|other| self.want_for_others(other));
            }
        }
    }

    /// Lanes before this one on its queue that ended unmarked.
    fn unmarked_before(&self, lane: u32) -> Vec<u32> {
        let queue = self.get(lane).and_then(Lane::queue);
        let on = queue.map_or(&[][..], |queue| self.queues.on(queue));
        let unmarked = |other: &u32| self.get(*other).is_some_and(Lane::is_unmarked);
        on.iter().copied().filter(unmarked).collect()
    }

    /// Asks the next caller of an open lane to mark it, if that would cover what other lanes freed.
    pub(super) fn want_for_others(&self, lane: u32) {
        if !self.unmarked_before(lane).is_empty()
            && let Some(state) = self.get(lane).filter(|state| !state.has_ended())
        {
            state.front().want();
        }
    }

    /// A marker recorded on a lane's stream covers also what was queued by streams before it on the
    /// same queue.
    pub(super) fn bequeath(&mut self, lane: u32, marker: &Event, order: u64) {
        for other in self.unmarked_before(lane) {
            if let Some(state) = self.get_mut(other) {
                state.end(Some(marker.clone()), order);
                self.opened += 1;
                self.uncovered.remove(&other);
                self.marked.insert(other);
            }
        }
    }

    /// A marker of the lane could not be queried: nobody else may rely on its markers.
    pub(crate) fn poison(&mut self, lane: u32) {
        if let Some(state) = self.get_mut(lane) {
            state.poison();
            self.uncovered.insert(lane);
        }
    }

    /// Streams of threads that may have ended, leaving unmarked frees, with their lanes.
    pub(crate) fn possible_orphans(&self) -> Vec<(u32, WeakStream)> {
        let lanes = self.bound.iter().filter_map(|&number| Some((number, self.get(number)?)));
        let possible = lanes.filter(|(_, lane)| !lane.is_orphaned() && lane.has_unmarked_frees());
        possible.map(|(number, lane)| (number, lane.handle().clone())).collect()
    }

    /// The thread that alone could close the lane has ended.
    pub(crate) fn orphan(&mut self, lane: u32) {
        if let Some(state) = self.get_mut(lane).filter(|lane| !lane.has_ended()) {
            state.orphan();
            self.uncovered.insert(lane);
        }
    }

    /// The lanes of which some frees may be beyond any marker for good.
    pub(crate) fn uncovered(&self) -> impl Iterator<Item = u32> {
        self.uncovered.iter().copied()
    }

    pub(crate) fn is_uncovered(&self, lane: u32) -> bool {
        self.uncovered.contains(&lane)
    }

    /// Begins a synchronisation of the device: returns each lane with the epoch that it will complete.
    pub(crate) fn before_device_sync(&mut self) -> Vec<(u32, u64)> {
        self.opened += 1;
        let lanes = (0_u32..).zip(&mut self.lanes).skip(1);
        lanes
            .filter_map(|(number, lane)| Some((number, lane.as_mut()?.before_device_sync())))
            .collect()
    }

    /// The device was synchronised since `epoch` was closed.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn after_device_sync(&mut self, lane: u32, epoch: u64) -> Vec<Event> {
        if let Some(state) = self.get_mut(lane) {
            state.after_device_sync();
            if !state.is_orphaned() {
                self.uncovered.remove(&lane);
            }
        }
        self.complete(lane, epoch)
    }

    /// Lanes that have ended, if it is time to look which of them can be forgotten. Each must be
    /// [forgotten](Self::forget) or [kept](Self::keep_ended).
    ///
    /// Looking takes as many steps as there are, so it is put off until twice as many have ended as
    /// could not be forgotten the last time.
    pub(crate) fn take_ended(&mut self, at_once: bool) -> Vec<u32> {
        if !at_once && self.ended.len() <= self.sweep_above {
            return Vec::new();
        }
        self.sweep_above = 0;
        std::mem::take(&mut self.ended)
    }

    /// Lanes that have ended cannot be forgotten yet.
    pub(crate) fn keep_ended(&mut self, lanes: Vec<u32>) {
        self.sweep_above = 2 * lanes.len();
        self.ended = lanes;
    }

    /// Forgets an ended lane that no range refers to.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn forget(&mut self, lane: u32) -> Option<Lane> {
        let forgotten = self.lanes.get_mut(lane as usize)?.take()?;
        self.vacant.push(lane);
        self.marked.remove(&lane);
        self.uncovered.remove(&lane);
        if let Some(stream) = forgotten.stream() {
            self.by_stream.remove(&stream);
        }
        if let Some(queue) = forgotten.queue() {
            self.queues.remove(queue, lane);
        }
        self.tell_company();
        Some(forgotten)
    }
}
