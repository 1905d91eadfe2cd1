//! Bound lanes: those that not everybody can close.
//!
//! A thread's default stream can be marked by that thread only, and some streams only in calls that vouch
//! for them. What is freed there is asked for in time, and what nobody can mark any more is found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vmem_core::author::{StreamExt, WeakStream};
use vmem_core::{DriverError, ResourceId, Stream, StreamKind};

use super::{Lane, Lanes, Streams};
use crate::space::StreamIx;
use crate::sync::thread::{self, ThreadId};

/// Bound lanes, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// Those that have not ended.
    pub(super) open: BTreeSet<StreamIx>,
    /// Default streams that another thread met first: whose they are is not known yet.
    pub(super) unowned: BTreeMap<StreamIx, WeakStream>,
    /// The lanes of each thread's default streams: one queue of the driver, whatever streams name it one
    /// after the other. An event recorded on a later one covers the work of those before it, because vmem
    /// hands what these had yet to wait for on to it.
    queues: HashMap<ThreadId, Vec<StreamIx>>,
}

impl Bound {
    /// Notes the new lane of a stream.
    pub(super) fn add(&mut self, number: StreamIx, lane: &Lane, stream: &Stream) {
        if lane.bound {
            self.open.insert(number);
        }
        match lane.owner {
            Some(owner) => self.own(number, owner),
            None if is_threads_own(stream) => {
                self.unowned.insert(number, lane.handle.clone());
            }
            None => {}
        }
    }

    /// It is known whose default stream a lane is.
    pub(super) fn own(&mut self, number: StreamIx, owner: ThreadId) {
        self.unowned.remove(&number);
        self.queues.entry(owner).or_default().push(number);
    }

    /// Notes the lane on its stream, so that it is found there. Not while it is not known whose default
    /// stream it is: its own thread is to be noticed.
    pub(super) fn note_on(&self, pool: ResourceId, stream: &Stream, number: StreamIx) {
        if !self.unowned.contains_key(&number) {
            stream.note(pool, number.0);
        }
    }

    /// A lane has ended.
    pub(super) fn end(&mut self, number: StreamIx) {
        self.open.remove(&number);
        self.unowned.remove(&number);
    }

    /// A lane that has ended is forgotten.
    pub(super) fn forget(&mut self, number: StreamIx, owner: ThreadId) {
        if let Some(queue) = self.queues.get_mut(&owner) {
            queue.retain(|&known| known != number);
            if queue.is_empty() {
                self.queues.remove(&owner);
            }
        }
    }

    /// The lanes of a thread's default streams, if it is one.
    pub(super) fn queue_of(&self, owner: Option<ThreadId>) -> &[StreamIx] {
        owner.and_then(|owner| self.queues.get(&owner)).map_or(&[], Vec::as_slice)
    }

    /// Those of the calling thread.
    pub(super) fn queue_here(&self) -> &[StreamIx] {
        if self.queues.is_empty() { &[] } else { self.queue_of(Some(thread::current().id())) }
    }

    /// Whether the calling thread has nothing to mark on default streams of its own, as far as is known.
    pub(crate) fn owes_nothing_here(&self) -> bool {
        self.unowned.is_empty() && self.queue_here().is_empty()
    }
}

impl Streams {
    /// Marks what the calling thread freed on its own default streams, which no thief can mark.
    /// Without that, what one thread frees on its default stream and wants on another of its streams
    /// could not be shared.
    pub(crate) fn close_bound_here(&self, but: StreamIx) -> Result<(), DriverError> {
        let _pin = self.pin();
        let unowned = self.lock().lanes.bound.unowned.clone();
        for (lane, stream) in unowned {
            // Another thread freed on it before this one used it here. Should this be the last handle,
            // the stream ends here, without the lock.
            if let Some(stream) = stream.upgrade().filter(Stream::is_callable_here) {
                self.lock().lanes.note_owner(lane, &stream);
            }
        }
        let own = {
            let Lanes { bound, table, .. } = &self.lock().lanes;
            let unmarked = |lane: &Lane| !lane.has_ended() && lane.has_unmarked_frees();
            let mut own = bound.queue_here().to_vec();
            own.retain(|&lane| lane != but && table.get(lane).is_some_and(unmarked));
            own
        };
        own.into_iter().try_for_each(|lane| self.close(lane))
    }

    /// Notes which threads have ended and left frees on their default streams that nobody can mark.
    pub(crate) fn note_orphans(&self) {
        let state = self.lock();
        let table = &state.lanes.table;
        let bound =
            state.lanes.bound.open.iter().filter_map(|&lane| Some((lane, table.get(lane)?)));
        let possible = bound.filter(|(_, lane)| !lane.orphaned && lane.has_unmarked_frees());
        let possible: Vec<(StreamIx, WeakStream)> =
            possible.map(|(number, lane)| (number, lane.handle.clone())).collect();
        let _pin = state.pins.clone();
        drop(state);
        for (lane, stream) in possible {
            // Should this be the last handle, it ends here, without the lock.
            if stream.upgrade().is_some_and(|stream| stream.is_orphaned()) {
                self.lock().lanes.orphan(lane);
            }
        }
    }
}

/// Whether it is some thread's default stream.
pub(super) fn is_threads_own(stream: &Stream) -> bool {
    stream.kind() == StreamKind::PerThreadDefault
}

/// The thread whose default stream this is, if it is one and the calling thread's own.
pub(super) fn owner_of(stream: &Stream) -> Option<ThreadId> {
    let own = is_threads_own(stream) && stream.is_callable_here();
    own.then(|| thread::current().id())
}
