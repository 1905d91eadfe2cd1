//! RMM's pool.

mod free_list;
mod stream_event;

use std::collections::BTreeMap;
use std::sync::Arc;

use free_list::{FreeBlock, FreeList};
use stream_event::StreamEvent;
use vmem_core::{Device, DevicePtr, DriverCode, DriverError, MemoryResource, Stream, StreamId};

use super::model::{Model, Rules, Segment};

/// How much an [RMM pool](rmm_pool) holds, in bytes: what RMM's own constructor is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RmmSize {
    /// Held from the start; rounded down to 256.
    pub initial: u64,
    /// The most it may hold, rounded down to 256; `None` for no limit.
    pub maximum: Option<u64>,
}

impl RmmSize {
    /// Nothing at first, and no limit.
    pub const GROWING: Self = Self { initial: 0, maximum: None };

    /// All of `bytes` from the start, and no more.
    pub const fn fixed(bytes: u64) -> Self {
        Self { initial: bytes, maximum: Some(bytes) }
    }
}

/// A model of RMM's `pool_memory_resource`, with the rules of RMM 26.08 on `device`.
///
/// * Sizes round up to 256. Free blocks are in one list per stream, ordered by address, in which
///   neighbours join; the smallest that fits is taken, found by walking the whole list
///   (`cpp/include/rmm/mr/detail/coalescing_free_list.hpp`).
/// * A free records the stream's event and goes to that stream's list. What a stream's own list
///   cannot serve is cut from another's, after a device-side wait for that stream's event; failing
///   that, the other lists are merged into its own, one by one, until it can be served. One mutex
///   (`cpp/include/rmm/mr/detail/stream_ordered_memory_resource.hpp`).
/// * It grows by what it already holds, or under a maximum by half of what is left of that, and at
///   least by the request; while that fails, by half as much. What was taken at different times
///   never joins, and nothing is returned before the end. What is held from the start is in the
///   list of the legacy default stream (`cpp/src/mr/detail/pool_memory_resource_impl.cpp`).
///
/// Two things differ: alignments above 256 are honoured, where RMM ignores them, and merging
/// another stream's list records the event again, without which a third stream could take the
/// merged memory without a wait for the other's work.
///
/// O(free blocks) per call.
///
/// # Errors
/// The driver's, for what is to be held from the start;
/// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) if that is more than the maximum.
pub fn rmm_pool(
    device: Arc<dyn Device>,
    size: RmmSize,
) -> Result<impl MemoryResource + 'static, DriverError> {
    let (initial, maximum) = (round_down(size.initial), size.maximum.map(round_down));
    if maximum.is_some_and(|maximum| initial > maximum) {
        let error = DriverError::new("rmm_pool", DriverCode::INVALID_VALUE);
        return Err(error.with_detail("the initial size is above the maximum"));
    }
    let mut pool = Pool {
        device: device.clone(),
        maximum,
        held: 0,
        segments: BTreeMap::new(),
        lanes: Vec::new(),
    };
    if initial != 0 {
        let lane = pool.lane(&Stream::legacy_default(device.clone()))?;
        let block = pool.expand(initial, initial)?;
        pool.lanes[lane].free.insert(block);
    }
    Ok(Model::new("rmm_pool", device, pool))
}

/// What sizes are multiples of, in bytes.
const GRANULE: u64 = 256;

const fn round_down(bytes: u64) -> u64 {
    bytes / GRANULE * GRANULE
}

#[derive(Debug)]
struct Pool {
    device: Arc<dyn Device>,
    maximum: Option<u64>,
    /// Bytes held from the device.
    held: u64,
    /// What was taken from the device, by address.
    segments: BTreeMap<u64, Segment>,
    /// In the order in which the streams were first seen.
    lanes: Vec<Lane>,
}

/// What is kept for a stream.
#[derive(Debug)]
struct Lane {
    stream: StreamId,
    /// Recorded at the stream's last free.
    event: StreamEvent,
    free: FreeList,
}

impl Rules for Pool {
    /// Address and rounded size.
    type Held = (u64, u64);

    fn allocate(
        &mut self,
        bytes: u64,
        stream: &Stream,
    ) -> Result<(DevicePtr, Self::Held), DriverError> {
        let size = bytes.next_multiple_of(GRANULE);
        let lane = self.lane(stream)?;
        let start = match self.find(size, lane, stream)? {
            Some(start) => start,
            None => {
                let block = self.expand(self.growth(size)?, size)?;
                self.lanes[lane].cut(block, size)
            }
        };
        let ptr = DevicePtr::new(start).expect("no segment starts at zero");
        Ok((ptr, (start, size)))
    }

    fn free(&mut self, held: &Self::Held, stream: &Stream) -> Result<(), DriverError> {
        let &(start, size) = held;
        let lane = self.lane(stream)?;
        let is_head = self.segments.contains_key(&start);
        let lane = &mut self.lanes[lane];
        lane.event.record(stream)?;
        lane.free.insert(FreeBlock { start, size, is_head });
        Ok(())
    }
}

impl Pool {
    /// The index of a stream's lane, made if there is none.
    fn lane(&mut self, stream: &Stream) -> Result<usize, DriverError> {
        let id = stream.id();
        if let Some(lane) = self.lanes.iter().position(|lane| lane.stream == id) {
            return Ok(lane);
        }
        let event = StreamEvent::new(&self.device)?;
        self.lanes.push(Lane { stream: id, event, free: FreeList::new() });
        Ok(self.lanes.len() - 1)
    }

    /// Cuts `size` bytes from what is free: of the lane itself, of another, of all merged.
    fn find(&mut self, size: u64, own: usize, stream: &Stream) -> Result<Option<u64>, DriverError> {
        if let Some(start) = self.lanes[own].take(size) {
            return Ok(Some(start));
        }
        for other in self.lanes.iter_mut().filter(|other| other.stream != stream.id()) {
            if let Some(block) = other.free.take(size) {
                if let Err(error) = other.event.hold_back(stream) {
                    other.free.insert(block);
                    return Err(error);
                }
                return Ok(Some(other.cut(block, size)));
            }
        }
        for other in 0..self.lanes.len() {
            if other == own || self.lanes[other].free.is_empty() {
                continue;
            }
            self.lanes[other].event.hold_back(stream)?;
            self.lanes[own].event.record(stream)?;
            let merged = std::mem::replace(&mut self.lanes[other].free, FreeList::new());
            for block in merged.iter() {
                self.lanes[own].free.insert(block);
            }
            if let Some(start) = self.lanes[own].take(size) {
                return Ok(Some(start));
            }
        }
        Ok(None)
    }

    /// By how much to grow for a request of `size` bytes, at first.
    fn growth(&self, size: u64) -> Result<u64, DriverError> {
        let Some(maximum) = self.maximum else { return Ok(size.max(self.held)) };
        let remaining = maximum - self.held;
        if size > remaining {
            let error = DriverError::new("rmm_pool", DriverCode::OUT_OF_MEMORY);
            return Err(error.with_detail("maximum pool size exceeded"));
        }
        Ok(size.max(remaining / 2))
    }

    /// Takes `wanted` bytes from the device, or half as much while that fails, but at least
    /// `least`.
    fn expand(&mut self, mut wanted: u64, least: u64) -> Result<FreeBlock, DriverError> {
        loop {
            match Segment::new(&self.device, wanted) {
                Ok(segment) => {
                    let start = segment.at(0).get();
                    self.segments.insert(start, segment);
                    self.held += wanted;
                    return Ok(FreeBlock { start, size: wanted, is_head: true });
                }
                Err(error) if wanted == least => return Err(error),
                Err(_) => wanted = least.max(wanted / 2),
            }
        }
    }
}

impl Lane {
    fn take(&mut self, size: u64) -> Option<u64> {
        let block = self.free.take(size)?;
        Some(self.cut(block, size))
    }

    /// Takes `size` bytes from the front of a block and keeps the rest.
    fn cut(&mut self, block: FreeBlock, size: u64) -> u64 {
        if block.size > size {
            let (start, size) = (block.start + size, block.size - size);
            self.free.insert(FreeBlock { start, size, is_head: false });
        }
        block.start
    }
}
