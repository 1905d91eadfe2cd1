//! The queues behind default streams, which go on when a handle of them ends.

use std::collections::HashMap;

use vmem_core::{Stream, StreamKind};

use crate::sync::thread::{self, ThreadId};

/// A driver's queue that several streams name, one after the other: an event recorded on a later one
/// covers the work of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    /// That of the legacy default stream.
    Legacy,
    /// That of a thread's default stream.
    Thread(ThreadId),
}

impl Queue {
    /// The queue behind a stream, if it is one that others may name and this thread can.
    pub(crate) fn of(stream: &Stream) -> Option<Self> {
        match stream.kind() {
            StreamKind::LegacyDefault => Some(Self::Legacy),
            StreamKind::PerThreadDefault if stream.is_callable_here() => Some(Self::here()),
            _ => None,
        }
    }

    /// The queue of the calling thread's default stream.
    pub(crate) fn here() -> Self {
        Self::Thread(thread::current().id())
    }
}

/// The lanes on each queue.
#[derive(Debug, Default)]
pub(super) struct Queues(HashMap<Queue, Vec<u32>>);

impl Queues {
    pub(super) fn add(&mut self, queue: Queue, lane: u32) {
        self.0.entry(queue).or_default().push(lane);
    }

    pub(super) fn remove(&mut self, queue: Queue, lane: u32) {
        if let Some(lanes) = self.0.get_mut(&queue) {
            lanes.retain(|&known| known != lane);
            if lanes.is_empty() {
                self.0.remove(&queue);
            }
        }
    }

    pub(super) fn on(&self, queue: Queue) -> &[u32] {
        self.0.get(&queue).map_or(&[], Vec::as_slice)
    }
}
