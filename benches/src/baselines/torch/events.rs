//! Blocks freed on another stream than their own (`recordStream`, `insert_events`).

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{Device, DriverError, Event, Stream, StreamId};

use super::heap::BlockId;

/// The events that blocks wait for before they return to their pools (`cuda_events`).
#[derive(Debug)]
pub(super) struct StreamUses {
    device: Arc<dyn Device>,
    /// For each stream in the order of recording, which is that of completion.
    waiting: BTreeMap<StreamId, VecDeque<(Event, BlockId)>>,
    /// Events to record again (`EventPool`).
    idle: Vec<IdleEvent>,
}

impl StreamUses {
    pub(super) const fn new(device: Arc<dyn Device>) -> Self {
        Self { device, waiting: BTreeMap::new(), idle: Vec::new() }
    }

    /// `insert_events`: the block waits for what is on `stream` now.
    pub(super) fn insert(&mut self, block: BlockId, stream: &Stream) -> Result<(), DriverError> {
        let event = self.record(stream)?;
        self.waiting.entry(stream.id()).or_default().push_back((event, block));
        Ok(())
    }

    fn record(&mut self, stream: &Stream) -> Result<Event, DriverError> {
        if let Some(marker) = stream.final_marker() {
            return Ok(marker);
        }
        let idle = match self.idle.pop() {
            Some(idle) => idle,
            None => IdleEvent::new(self.device.clone())?,
        };
        stream.record(idle).map_err(|(idle, error)| {
            self.idle.push(idle);
            error
        })
    }

    /// `process_events`: a block whose event has completed, if there is one. Of each stream only
    /// the oldest event is asked.
    pub(super) fn next_complete(&mut self) -> Result<Option<BlockId>, DriverError> {
        for (&stream, queue) in &self.waiting {
            if let Some((event, _)) = queue.front()
                && event.is_complete()?
            {
                return Ok(self.pop(stream));
            }
        }
        Ok(None)
    }

    /// `synchronize_and_free_events`: any block, after a wait on the host for its event.
    pub(super) fn wait_for_next(&mut self) -> Result<Option<BlockId>, DriverError> {
        let Some((&stream, queue)) = self.waiting.first_key_value() else { return Ok(None) };
        if let Some((event, _)) = queue.front() {
            event.synchronize()?;
        }
        Ok(self.pop(stream))
    }

    fn pop(&mut self, stream: StreamId) -> Option<BlockId> {
        let queue = self.waiting.get_mut(&stream)?;
        let popped = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&stream);
        }
        let (event, block) = popped?;
        self.idle.extend(event.recycle());
        Some(block)
    }
}
