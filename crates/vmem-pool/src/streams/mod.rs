//! Streams: who may reuse a freed block, and when.
//!
//! Every stream that uses a pool is a *lane*. A lane has an open *epoch*; a free tags its range
//! with the lane and that epoch and makes no driver call. *Closing* an epoch records an event on
//! the stream, a *marker*, that covers every tag up to it. A thief, which wants a range that
//! another lane freed, uses the earliest marker that covers the range's tag: if it has completed
//! the range is free for all, otherwise the thief's stream waits for it on the device.
//!
//! What is known of the lanes is plain data ([`Lanes`]) under the pool's one lock, beside the space:
//! the [table](table::Table) of all lanes; which are [bound](bound::Bound), so that not everybody can
//! close them; which [have ended](departed::Departed); which are at work, by their
//! [misses](misses::Misses); and what is free [away](away::Away) from the lane that it was taken for.
//! Driver calls are made without the lock: closing is begun under it, recorded without it, and finished
//! under it again.

mod away;
mod bound;
mod close;
mod covering;
mod departed;
mod front;
mod home;
mod lane;
mod lanes;
mod life;
mod markers;
mod misses;
mod order;
mod retire;
mod state;
mod table;

use std::sync::{Arc, Weak};

pub(crate) use lane::{Access, Lane};
pub(crate) use lanes::{Lanes, Reuse};
pub(crate) use state::{Locked, State};
use vmem_core::author::{StreamExt, StreamObserver, fork};
use vmem_core::{Device, ResourceId, Stream};

use crate::space::{StreamIx, visits};
use crate::sync::{Mutex, MutexGuard, lock};

/// The streams of a pool, and the pool's one lock.
pub(crate) struct Streams {
    pub(crate) id: ResourceId,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) reuse: Reuse,
    /// Whether the device may be asked how far it has come.
    pub(crate) may_ask: bool,
    /// Who is told when a stream ends.
    pub(crate) observer: Weak<dyn StreamObserver>,
    state: Mutex<State>,
}

impl Streams {
    pub(crate) fn new(
        device: Arc<dyn Device>,
        reuse: Reuse,
        may_ask: bool,
        observer: Weak<dyn StreamObserver>,
        state: State,
    ) -> Self {
        let (id, state) = (ResourceId::new(), Mutex::new(state));
        Self { id, device, reuse, may_ask, observer, state }
    }

    /// Locks the pool.
    pub(crate) fn lock(&self) -> Locked<'_> {
        visits::note_lock();
        Locked::new(fork::locked(|| lock(&self.state)))
    }

    /// Locks the pool for what lets go of no handle, by a caller who knows that this is no forked child.
    #[inline]
    pub(crate) fn lock_fast(&self) -> MutexGuard<'_, State> {
        visits::note_lock();
        fork::locked_in_parent(|| lock(&self.state))
    }

    /// Finds the stream's lane, making it if the stream is new.
    pub(crate) fn enter<'a>(
        &'a self,
        mut state: Locked<'a>,
        stream: &Stream,
    ) -> (Locked<'a>, StreamIx) {
        match state.lanes.known(self.id, stream) {
            Some(lane) => (state, lane),
            None => self.join(state, stream),
        }
    }

    #[cold]
    fn join<'a>(&'a self, mut state: Locked<'a>, stream: &Stream) -> (Locked<'a>, StreamIx) {
        let lane = state.lanes.add(stream);
        // Whatever ends the stream from here on finds the lane; what ended it before is seen below.
        let _pin = state.pins.clone();
        drop(state);
        stream.observe(self.observer.clone());
        let marker = stream.final_marker();
        let mut state = self.lock();
        if let Some(marker) = marker {
            state.lanes.end(lane, Some(&marker));
        }
        state.lanes.bound.note_on(self.id, stream, lane);
        (state, lane)
    }

    /// Keeps lanes from being forgotten, and their numbers from being given to other streams, while
    /// lane numbers are used across a release of the lock.
    pub(crate) fn pin(&self) -> Arc<()> {
        self.lock().pins.clone()
    }
}
