//! One lane: a stream's epochs, its markers, and how far its work is known to have come.

use std::collections::VecDeque;

use vmem_core::{Event, Stream, StreamId, StreamKind, WeakStream};

use crate::{Batch, sabotage};

/// Markers kept per lane; beyond that a newer one stands in for the oldest.
const MARKERS: usize = 32;

/// For how many frees a lane keeps closing its batches after another lane looked at it.
const CONTENDED_FREES: u32 = 1024;

/// What a thief must do before it uses a range.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Nothing.
    Now,
    /// Wait for the marker. Markers of lower order were recorded earlier.
    After { epoch: u64, marker: Event, order: u64 },
    /// Close the lane's open batch first.
    Close,
    /// It cannot be used before the whole device was synchronised.
    Never,
}

#[derive(Debug)]
struct Marker {
    epoch: u64,
    event: Event,
    order: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The stream lives.
    Open,
    /// It ended, and a final marker covers it.
    Ended,
    /// It ended without a marker.
    Unmarked,
}

#[derive(Debug)]
pub(crate) struct Lane {
    stream: Option<StreamId>,
    handle: WeakStream,
    /// Only the stream's own thread can close it.
    thread_bound: bool,
    open: u64,
    batch_frees: u32,
    batch_bytes: u64,
    /// The epoch of the latest free.
    last_freed: u64,
    /// In order of epochs.
    markers: VecDeque<Marker>,
    /// Every tag up to this epoch has completed.
    complete: u64,
    life: Life,
    /// A marker could not be queried: nobody else may rely on this lane's markers.
    poisoned: bool,
    /// Frees left for which the lane counts as contended.
    contended: u32,
    /// Another thread wants this thread-bound lane closed.
    wanted: bool,
}

impl Lane {
    pub(super) fn clean() -> Self {
        Self {
            stream: None,
            handle: WeakStream::dangling(),
            thread_bound: false,
            open: u64::MAX,
            batch_frees: 0,
            batch_bytes: 0,
            last_freed: 0,
            markers: VecDeque::new(),
            complete: u64::MAX,
            life: Life::Open,
            poisoned: false,
            contended: 0,
            wanted: false,
        }
    }

    pub(super) fn new(stream: &Stream) -> Self {
        Self {
            stream: Some(stream.id()),
            handle: stream.downgrade(),
            thread_bound: stream.kind() == StreamKind::PerThreadDefault,
            open: 1,
            complete: 0,
            ..Self::clean()
        }
    }

    pub(super) fn handle(&self) -> &WeakStream {
        &self.handle
    }

    pub(super) fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// The open epoch, for memory that becomes free in it without a free.
    pub(super) fn use_open_epoch(&mut self) -> u64 {
        self.last_freed = self.open;
        self.open
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.life != Life::Open
    }

    /// Whether another thread wants this thread-bound lane closed.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(crate) fn is_thread_bound(&self) -> bool {
        self.thread_bound
    }

    /// Whether only synchronising the whole device can make its ranges usable by others.
    pub(crate) fn needs_device(&self) -> bool {
        self.life == Life::Unmarked || self.poisoned
    }

    pub(crate) fn is_complete(&self, epoch: u64) -> bool {
        epoch <= self.complete
    }

    /// Counts a free; returns its epoch, and whether to close the batch.
    #[inline]
    pub(super) fn note_free(
        &mut self,
        bytes: u64,
        batch: Batch,
        several: bool,
        observed: bool,
    ) -> (u64, bool) {
        self.batch_frees = self.batch_frees.saturating_add(1);
        self.batch_bytes = self.batch_bytes.saturating_add(bytes);
        self.contended = self.contended.saturating_sub(1);
        self.last_freed = self.open;
        let epoch = if sabotage::close_early() { self.open.saturating_sub(1) } else { self.open };
        let strict = batch == Batch::STRICT && several;
        let due = self.batch_frees >= batch.frees || self.batch_bytes >= batch.bytes;
        let heard = (several && self.contended > 0) || observed;
        (epoch, self.life == Life::Open && (strict || self.wanted || (heard && due)))
    }

    /// Another lane looked at what this one freed.
    pub(crate) fn contend(&mut self) {
        self.contended = CONTENDED_FREES;
        self.wanted |= self.thread_bound;
    }

    /// Closes the open epoch and returns it.
    pub(super) fn close(&mut self) -> u64 {
        let epoch = self.open;
        self.open += 1;
        self.batch_frees = 0;
        self.batch_bytes = 0;
        self.wanted = false;
        epoch
    }

    /// Whether something was freed that no marker covers yet.
    pub(crate) fn has_unmarked_frees(&self) -> bool {
        let marked = self.markers.back().map_or(0, |marker| marker.epoch);
        self.last_freed > self.complete.max(marked)
    }

    pub(super) fn access(&self, epoch: u64) -> Access {
        if self.is_complete(epoch) {
            return Access::Now;
        }
        if self.poisoned {
            return Access::Never;
        }
        let covering = self.markers.iter().find(|marker| marker.epoch >= epoch);
        match covering {
            Some(marker) => Access::After {
                epoch: marker.epoch,
                marker: marker.event.clone(),
                order: marker.order,
            },
            None if self.life == Life::Open && !self.thread_bound => Access::Close,
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

    pub(super) fn complete(&mut self, epoch: u64) -> Vec<Event> {
        self.complete = self.complete.max(epoch);
        let done = self.markers.iter().take_while(|m| m.epoch <= self.complete).count();
        self.markers.drain(..done).map(|marker| marker.event).collect()
    }

    /// Its markers, oldest first.
    pub(crate) fn markers(&self) -> impl Iterator<Item = (u64, &Event)> {
        self.markers.iter().map(|marker| (marker.epoch, &marker.event))
    }

    pub(crate) fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Begins a synchronisation of the device: returns the epoch that it will complete.
    pub(crate) fn before_device_sync(&mut self) -> u64 {
        if self.has_ended() { u64::MAX } else { self.close() }
    }

    /// The device was synchronised since `epoch` was closed.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn after_device_sync(&mut self, epoch: u64) -> Vec<Event> {
        self.poisoned = false;
        self.complete(epoch)
    }

    pub(super) fn end(&mut self, marker: Option<Event>, order: u64) {
        if self.has_ended() {
            return;
        }
        self.life = match marker {
            Some(event) => {
                self.markers.push_back(Marker { epoch: u64::MAX, event, order });
                Life::Ended
            }
            None => Life::Unmarked,
        };
    }
}
