//! CuPy's device memory pool.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use vmem_core::author::{StreamExt, WeakStream};
use vmem_core::{Device, DevicePtr, DriverError, MemoryResource, Stream, StreamId};

use super::model::{Model, Rules, Segment, put_after};

/// A model of CuPy's `SingleDeviceMemoryPool` on `device`, with the rules of
/// `cupy/cuda/memory.pyx`.
///
/// * Sizes round up to 512. Free chunks are kept per stream in bins of one size each; the smallest
///   that fits is taken and what is left of it is split off. CuPy takes an arbitrary one of several
///   of that size, the model the lowest.
/// * What no chunk of the stream serves is asked of the driver, in exactly the rounded size.
/// * A free returns a chunk to the stream it was allocated on. It merges with the free chunks
///   beside it in its own driver allocation, never with those of another.
/// * When the driver is out of memory, all driver allocations that are wholly free are returned,
///   and the request is tried once more.
///
/// CuPy leaves it to the program that a chunk freed while another stream uses it is not reused too
/// early; the model makes the chunk's stream wait for the one it is freed on.
///
/// O(log chunks) per call.
pub fn cupy_pool(device: Arc<dyn Device>) -> impl MemoryResource + 'static {
    let rules =
        Pool { device: device.clone(), chunks: BTreeMap::new(), arenas: HashMap::default() };
    Model::new("cupy_pool", device, rules)
}

/// What sizes are multiples of, in bytes.
const UNIT: u64 = 512;

#[derive(Debug)]
struct Pool {
    device: Arc<dyn Device>,
    /// All memory held, by address.
    chunks: BTreeMap<u64, Chunk>,
    arenas: HashMap<StreamId, Arena>,
}

/// A part of a driver allocation, in use or free.
#[derive(Debug)]
struct Chunk {
    size: u64,
    /// The stream that the driver allocation was made for.
    home: StreamId,
    is_free: bool,
    /// The driver allocation, in its first chunk.
    segment: Option<Segment>,
}

/// A stream's free chunks.
#[derive(Debug)]
struct Arena {
    stream: WeakStream,
    /// Size and address.
    free: BTreeSet<(u64, u64)>,
}

impl Rules for Pool {
    /// The chunk's address.
    type Held = u64;

    fn allocate(
        &mut self,
        bytes: u64,
        stream: &Stream,
    ) -> Result<(DevicePtr, Self::Held), DriverError> {
        let size = bytes.next_multiple_of(UNIT);
        let start = match self.take(size, stream.id()) {
            Some(start) => start,
            None => self.grow(size, stream)?,
        };
        let ptr = DevicePtr::new(start).expect("no segment starts at zero");
        Ok((ptr, start))
    }

    fn free(&mut self, held: &Self::Held, stream: &Stream) -> Result<(), DriverError> {
        let mut start = *held;
        let home = self.chunks[&start].home;
        let arena = self.arenas.get_mut(&home).expect("the stream of a chunk has an arena");
        if home != stream.id()
            && let Some(home) = arena.stream.upgrade()
            && !home.is_retired()
        {
            put_after(&home, stream)?;
        }
        // The next first: joining the previous one changes where this one starts.
        let mut size = self.chunks[&start].size;
        if let Some(next) = self.chunks.get(&(start + size))
            && next.segment.is_none()
            && next.is_free
        {
            arena.free.remove(&(next.size, start + size));
            let next = self.chunks.remove(&(start + size)).expect("it was just found");
            size += next.size;
        }
        if self.chunks[&start].segment.is_none() {
            let previous = self.chunks.range(..start).next_back();
            let (&before, previous) = previous.expect("only a first chunk has none before it");
            if previous.is_free {
                arena.free.remove(&(previous.size, before));
                size += previous.size;
                self.chunks.remove(&start);
                start = before;
            }
        }
        let chunk = self.chunks.get_mut(&start).expect("it was found above");
        (chunk.size, chunk.is_free) = (size, true);
        arena.free.insert((size, start));
        Ok(())
    }
}

impl Pool {
    /// Takes a free chunk of the stream and splits off what is not asked for.
    fn take(&mut self, size: u64, stream: StreamId) -> Option<u64> {
        let arena = self.arenas.get_mut(&stream)?;
        let &(found, start) = arena.free.range((size, 0)..).next()?;
        arena.free.remove(&(found, start));
        let chunk = self.chunks.get_mut(&start).expect("free chunks are chunks");
        (chunk.size, chunk.is_free) = (size, false);
        if found > size {
            let size_left = found - size;
            let rest = Chunk { size: size_left, home: stream, is_free: true, segment: None };
            self.chunks.insert(start + size, rest);
            arena.free.insert((size_left, start + size));
        }
        Some(start)
    }

    /// Asks the driver, and again after returning what can be returned.
    fn grow(&mut self, size: u64, stream: &Stream) -> Result<u64, DriverError> {
        let segment = match Segment::new(&self.device, size) {
            Err(error) if error.is_out_of_memory() => {
                self.return_whole();
                Segment::new(&self.device, size)?
            }
            result => result?,
        };
        let arena = || Arena { stream: stream.downgrade(), free: BTreeSet::new() };
        self.arenas.entry(stream.id()).or_insert_with(arena);
        let start = segment.at(0).get();
        let chunk = Chunk { size, home: stream.id(), is_free: false, segment: Some(segment) };
        self.chunks.insert(start, chunk);
        Ok(start)
    }

    /// Returns the driver allocations that are one free chunk.
    fn return_whole(&mut self) {
        let chunks = &mut self.chunks;
        for arena in self.arenas.values_mut() {
            arena.free.retain(|&(size, start)| {
                let is_first = chunks[&start].segment.is_some();
                let is_last = chunks.get(&(start + size)).is_none_or(|next| next.segment.is_some());
                if is_first && is_last {
                    chunks.remove(&start);
                }
                !(is_first && is_last)
            });
        }
    }
}
