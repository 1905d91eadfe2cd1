//! One lane: a stream's epochs, its markers, and how far its work is known to have come.

use std::collections::VecDeque;

use vmem_core::author::{StreamExt, WeakStream};
use vmem_core::{Event, Stream, StreamId};

use super::bound::owner_of;
use super::front::Front;
use crate::sync::thread::ThreadId;

/// Markers kept per lane; beyond that a newer one stands in for the oldest.
const MARKERS: usize = 32;

/// What a thief must do before it uses a range.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    /// Nothing.
    Now,
    /// Wait for the marker. Markers of lower order were recorded earlier.
    After { epoch: u64, marker: &'a Event, order: u64 },
    /// Close the lane's open batch first.
    Close,
    /// Nobody else can use it as things are: nothing covers the work on it, and what could must come
    /// from the stream's own thread, or from a program that synchronises the device.
    Never,
}

impl Access<'_> {
    /// How long a wait it is, by when its marker was recorded: the least where there is none, the most where
    /// one is yet to be recorded, `None` where nobody can wait.
    pub(crate) fn order(&self) -> Option<u64> {
        match self {
            Self::Now => Some(0),
            Self::After { order, .. } => Some(*order),
            Self::Close => Some(u64::MAX),
            Self::Never => None,
        }
    }
}

#[derive(Debug)]
struct Marker {
    epoch: u64,
    event: Event,
    order: u64,
}

#[derive(Debug)]
pub(crate) struct Lane {
    stream: Option<StreamId>,
    pub(crate) handle: WeakStream,
    /// Only the stream's own thread can close it, or a call that vouches for the stream.
    pub(crate) bound: bool,
    /// The thread whose default stream it is, as far as that is known.
    pub(super) owner: Option<ThreadId>,
    /// Its thread has ended, so that nobody can close it.
    pub(super) orphaned: bool,
    pub(crate) front: Front,
    /// In order of epochs.
    markers: VecDeque<Marker>,
    /// Every tag up to this epoch has completed.
    complete: u64,
    /// It ended without a marker that covers all of it.
    unmarked: bool,
    /// The number of the last request on it that found nothing at hand.
    pub(super) missed: u64,
    /// The most bytes that were in blocks at home on it, as of the last miss.
    pub(super) most_live: u64,
    /// A marker could not be queried: nobody else may rely on this lane's markers.
    pub(super) poisoned: bool,
}

impl Lane {
    pub(super) fn clean(front: Front) -> Self {
        Self {
            stream: None,
            handle: WeakStream::new(),
            bound: false,
            owner: None,
            orphaned: false,
            front,
            markers: VecDeque::new(),
            complete: u64::MAX,
            unmarked: false,
            missed: 0,
            most_live: 0,
            poisoned: false,
        }
    }

    pub(super) fn new(stream: &Stream, front: Front) -> Self {
        Self {
            stream: Some(stream.id()),
            handle: stream.downgrade(),
            bound: stream.is_bound(),
            owner: owner_of(stream),
            complete: 0,
            ..Self::clean(front)
        }
    }

    pub(crate) fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.front.has_ended()
    }

    /// Whether its stream ended without a marker.
    pub(super) fn is_unmarked(&self) -> bool {
        self.unmarked
    }

    pub(super) fn has_markers(&self) -> bool {
        !self.markers.is_empty()
    }

    pub(crate) fn is_complete(&self, epoch: u64) -> bool {
        epoch <= self.complete
    }

    /// Whether something was freed that no marker covers yet.
    pub(crate) fn has_unmarked_frees(&self) -> bool {
        let marked = self.markers.back().map_or(0, |marker| marker.epoch);
        self.front.last_freed() > self.complete.max(marked)
    }

    pub(super) fn access(&self, epoch: u64) -> Access<'_> {
        if self.is_complete(epoch) {
            return Access::Now;
        }
        if self.poisoned {
            return Access::Never;
        }
        let before = self.markers.partition_point(|marker| marker.epoch < epoch);
        match self.markers.get(before) {
            Some(Marker { epoch, event: marker, order }) => {
                Access::After { epoch: *epoch, marker, order: *order }
            }
            None if !self.has_ended() && !self.bound => Access::Close,
            None => Access::Never,
        }
    }

    /// Adds a marker unless a later epoch was recorded before it; returns what it displaces.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(super) fn publish(&mut self, epoch: u64, event: Event, order: u64) -> Option<Event> {
        if self.is_complete(epoch) || self.markers.back().is_some_and(|m| m.epoch >= epoch) {
            return Some(event);
        }
        self.markers.push_back(Marker { epoch, event, order });
        if self.markers.len() > MARKERS {
            return self.markers.pop_front().map(|marker| marker.event);
        }
        None
    }

    /// Takes out the marker of an epoch, which covers nothing. What it was to cover is as if it had not been
    /// recorded.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(super) fn lose(&mut self, epoch: u64) -> Option<Event> {
        let at = self.markers.iter().position(|marker| marker.epoch == epoch)?;
        let lost = self.markers.remove(at)?;
        self.unmarked |= self.has_ended() && epoch == u64::MAX;
        if self.bound {
            self.front.want();
        }
        Some(lost.event)
    }

    pub(super) fn complete(&mut self, epoch: u64) -> Vec<Event> {
        self.complete = self.complete.max(epoch);
        let done = self.markers.iter().take_while(|m| m.epoch <= self.complete).count();
        self.markers.drain(..done).map(|marker| marker.event).collect()
    }

    /// A marker to ask about when there are nearly as many as are kept: all before it are complete if it
    /// is.
    pub(super) fn marker_to_ask_about(&self) -> Option<(u64, Event)> {
        let full = self.markers.len() + 1 >= MARKERS;
        let marker = self.markers.get(MARKERS / 2 - 1).filter(|_| full)?;
        Some((marker.epoch, marker.event.clone()))
    }

    /// Its markers, oldest first.
    pub(crate) fn markers(&self) -> impl Iterator<Item = (u64, &Event)> {
        self.markers.iter().map(|marker| (marker.epoch, &marker.event))
    }

    /// The marker behind all that an ended lane's stream had to do; none if it left none.
    pub(crate) fn last_marker(&self) -> Option<Event> {
        let last = self.markers.back().filter(|marker| marker.epoch == u64::MAX);
        last.map(|marker| marker.event.clone())
    }

    /// Begins a synchronisation of the device: returns the epoch that it will complete.
    pub(super) fn before_device_sync(&mut self) -> u64 {
        if self.has_ended() { u64::MAX } else { self.front.close() }
    }

    /// Ends the lane, or gives one that ended unmarked its marker after all.
    pub(super) fn end(&mut self, marker: Option<Event>, order: u64) {
        self.unmarked = marker.is_none();
        let marker = marker.map(|event| Marker { epoch: u64::MAX, event, order });
        self.markers.extend(marker);
        self.front.end();
    }
}
