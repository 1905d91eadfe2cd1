//! All lanes of a pool, by number and by stream.

use std::collections::HashMap;

use vmem_core::StreamId;

use super::front::Front;
use super::lane::Lane;
use crate::space::{CLEAN, StreamIx, Tag, visits};

/// All lanes that are not forgotten. Number 0 is the clean lane.
///
/// There may be thousands. Nothing that a request or a free does looks at all of them: what it needs
/// is found by the stream, by the size of what is free (see [`Space`](crate::space::Space)), or in one
/// of the sets of [`Lanes`](super::Lanes).
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// `None` where a number stands for no lane: for nothing, or for memory [away](super::away::Away) from home.
    lanes: Vec<Option<Lane>>,
    /// The numbers that stand for nothing.
    vacant: Vec<StreamIx>,
    by_stream: HashMap<StreamId, StreamIx>,
    /// Whether there are several streams.
    pub(super) accompanied: bool,
}

impl Table {
    /// No lane but the clean one.
    pub(super) fn new(clean: Lane) -> Self {
        Self { lanes: vec![Some(clean)], ..Self::default() }
    }

    /// A number that stands for nothing yet.
    pub(super) fn vacant_number(&mut self) -> StreamIx {
        self.vacant.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            StreamIx::at(self.lanes.len() - 1)
        })
    }

    /// These numbers stand for nothing any more.
    pub(super) fn vacate(&mut self, numbers: impl IntoIterator<Item = StreamIx>) {
        self.vacant.extend(numbers);
    }

    /// A vacant number stands for a stream's lane from now on.
    pub(super) fn insert(&mut self, number: StreamIx, stream: StreamId, lane: Lane) {
        self.lanes[number.index()] = Some(lane);
        self.by_stream.insert(stream, number);
        self.accompanied = self.by_stream.len() > 1;
    }

    /// Takes out a lane that nothing refers to.
    pub(super) fn remove(&mut self, number: StreamIx) -> Option<Lane> {
        let lane = self.lanes.get_mut(number.index())?.take()?;
        self.vacate([number]);
        if let Some(stream) = lane.stream() {
            self.by_stream.remove(&stream);
        }
        self.accompanied = self.by_stream.len() > 1;
        Some(lane)
    }

    /// How many lanes there are, the clean one aside.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.by_stream.len()
    }

    /// All lanes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().flatten()
    }

    /// The lane of a stream that is known, which may have ended.
    pub(super) fn find(&self, stream: StreamId) -> Option<StreamIx> {
        self.by_stream.get(&stream).copied()
    }

    /// The lane with this number.
    #[inline]
    pub(crate) fn get(&self, number: StreamIx) -> Option<&Lane> {
        visits::note();
        self.lanes.get(number.index())?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: StreamIx) -> Option<&mut Lane> {
        visits::note();
        self.get_mut_uncounted(number)
    }

    /// The same, not counted as a look at a lane.
    #[inline(always)]
    fn get_mut_uncounted(&mut self, number: StreamIx) -> Option<&mut Lane> {
        self.lanes.get_mut(number.index())?.as_mut()
    }

    /// The front of a lane that is open and this stream's; another stream may have its number by now.
    #[inline(always)]
    pub(super) fn open(&mut self, number: StreamIx, stream: StreamId) -> Option<&mut Front> {
        let lane = self.get_mut_uncounted(number)?;
        let open = lane.stream() == Some(stream) && !lane.has_ended();
        open.then_some(&mut lane.front)
    }

    /// The tag of a range of `bytes` bytes that is being freed on a lane, and whether the lane's open batch
    /// should be closed now.
    #[inline]
    pub(crate) fn tag_free(&mut self, number: StreamIx, bytes: u64) -> (Tag, bool) {
        let accompanied = self.accompanied;
        let lane = self.get_mut_uncounted(number);
        lane.map_or((CLEAN, false), |lane| lane.front.note_free(bytes, accompanied))
    }

    /// The tag of what a lane may use after work that is now queued on its stream.
    pub(crate) fn open_tag(&mut self, number: StreamIx) -> Tag {
        let lane = self.get_mut(number);
        lane.map_or(CLEAN, |lane| Tag { lane: number, epoch: lane.front.use_open_epoch() })
    }

    /// A block of this size is at home on a lane from now on.
    #[inline]
    pub(crate) fn note_taken(&mut self, home: StreamIx, bytes: u64) {
        if let Some(lane) = self.get_mut_uncounted(home) {
            lane.front.note_taken(bytes);
        }
    }

    /// It is free.
    pub(super) fn note_freed(&mut self, home: StreamIx, bytes: u64) {
        self.note_taken(home, bytes.wrapping_neg());
    }

    /// Whether others may come for what the lane frees who cannot close it, or are there already.
    pub(crate) fn needs_marks(&self, number: StreamIx) -> bool {
        self.get(number).is_some_and(|lane| lane.front.needs_marks(self.accompanied))
    }

    /// Begins a synchronisation of the device: returns each lane with the epoch that it will complete.
    pub(crate) fn before_device_sync(&mut self) -> Vec<(StreamIx, u64)> {
        let lanes = (0..).map(StreamIx::at).zip(&mut self.lanes).skip(1);
        lanes
            .filter_map(|(number, lane)| Some((number, lane.as_mut()?.before_device_sync())))
            .collect()
    }
}
