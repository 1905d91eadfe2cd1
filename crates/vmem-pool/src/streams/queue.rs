//! Threads' default streams: one queue of the driver, whatever streams name it one after the other.

use std::collections::HashMap;

use vmem_core::author::StreamExt;
use vmem_core::{Stream, StreamKind};

use crate::sync::thread::{self, ThreadId};

/// Whether it is some thread's default stream.
pub(super) fn is_threads_own(stream: &Stream) -> bool {
    stream.kind() == StreamKind::PerThreadDefault
}

/// The thread whose default stream this is, if it is one and the calling thread's own.
pub(super) fn owner_of(stream: &Stream) -> Option<ThreadId> {
    let own = is_threads_own(stream) && stream.is_callable_here();
    own.then(|| thread::current().id())
}

/// The lanes of each thread's default streams. An event recorded on a later one covers the work of
/// those before it, because vmem hands what these had yet to wait for on to it.
#[derive(Debug, Default)]
pub(super) struct Queues(HashMap<ThreadId, Vec<u32>>);

impl Queues {
    pub(super) fn add(&mut self, owner: ThreadId, lane: u32) {
        self.0.entry(owner).or_default().push(lane);
    }

    pub(super) fn remove(&mut self, owner: ThreadId, lane: u32) {
        if let Some(lanes) = self.0.get_mut(&owner) {
            lanes.retain(|&known| known != lane);
            if lanes.is_empty() {
                self.0.remove(&owner);
            }
        }
    }

    pub(super) fn of(&self, owner: ThreadId) -> &[u32] {
        self.0.get(&owner).map_or(&[], Vec::as_slice)
    }

    pub(super) fn here(&self) -> &[u32] {
        if self.0.is_empty() { &[] } else { self.of(thread::current().id()) }
    }
}
