//! Memory that frees itself in stream order.

use std::fmt;
use std::sync::Arc;

use crate::{
    AllocError, Block, BlockLayout, DevicePtr, DriverCode, DriverError, Event, MemoryResource,
    RawStream, Request, Stream, StreamId,
};

/// Bytes on a device that free themselves, in the order of their home stream.
///
/// A buffer of length zero holds no block. To use a buffer on another stream, call
/// [`wait_on`](Self::wait_on) before queuing work there and [`record_use`](Self::record_use) after.
/// Dropping a buffer adds no wait on the host for recorded uses: the home stream waits for them on
/// the device and the block is freed there (a resource that is not stream-ordered then waits
/// itself). A failed drop is counted in
/// [`DropFailures`](crate::DropFailures).
///
/// ```
/// use std::sync::Arc;
/// use vmem_core::{DeviceBuffer, DeviceMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device).into_dyn();
///
/// let mut buffer = DeviceBuffer::from_slice(memory.clone(), &[1, 2, 3], &stream)?;
/// buffer.resize(5)?;
/// buffer.fill(3..5, 9)?;
/// assert_eq!(buffer.to_vec()?, [1, 2, 3, 9, 9]);
/// # Ok(())
/// # }
/// ```
pub struct DeviceBuffer<R: MemoryResource = Arc<dyn MemoryResource>> {
    resource: R,
    block: Option<Block>,
    len: u64,
    stream: Stream,
    /// The latest use of each stream, which covers the earlier ones.
    uses: Vec<(StreamId, Event)>,
}

impl<R: MemoryResource> DeviceBuffer<R> {
    /// A buffer of `bytes` bytes, contents undefined, whose home stream is `stream`.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`].
    pub fn new(resource: R, bytes: u64, stream: &Stream) -> Result<Self, AllocError> {
        let block = allocate(&resource, bytes, stream)?;
        Ok(Self { resource, block, len: bytes, stream: stream.clone(), uses: Vec::new() })
    }

    /// A buffer that holds a copy of `bytes`. Waits for the copy.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`]; a failed copy is a device fault.
    pub fn from_slice(resource: R, bytes: &[u8], stream: &Stream) -> Result<Self, AllocError> {
        let mut buffer = Self::new(resource, bytes.len() as u64, stream)?;
        if let Err(error) = buffer.copy_from_slice(0, bytes) {
            let layout = BlockLayout::new(buffer.len)?;
            return Err(AllocError::from_driver(error, layout, "DeviceBuffer"));
        }
        Ok(buffer)
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes the buffer can hold without moving.
    pub fn capacity(&self) -> u64 {
        self.block.as_ref().map_or(0, Block::size)
    }

    /// Where the bytes are; `None` if nothing is held.
    pub fn ptr(&self) -> Option<DevicePtr> {
        self.block.as_ref().map(Block::ptr)
    }

    /// The block that holds the bytes.
    pub fn block(&self) -> Option<&Block> {
        self.block.as_ref()
    }

    /// The home stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The resource the bytes came from.
    pub fn resource(&self) -> &R {
        &self.resource
    }

    /// Lets `stream` use the buffer: work queued there from now on waits for what is on the home
    /// stream now.
    ///
    /// # Errors
    /// The driver's.
    pub fn wait_on(&self, stream: &Stream) -> Result<(), DriverError> {
        if *stream == self.stream {
            return Ok(());
        }
        stream.wait(&self.stream.marker()?)
    }

    /// Notes that work queued on `stream` by now uses the buffer, so that it is not freed or moved
    /// before that work has completed.
    ///
    /// # Errors
    /// The driver's.
    pub fn record_use(&mut self, stream: &Stream) -> Result<(), DriverError> {
        if *stream != self.stream {
            let marker = stream.marker()?;
            self.uses.retain(|(id, event)| *id != stream.id() && !event.was_observed());
            self.uses.push((stream.id(), marker));
        }
        Ok(())
    }

    /// Copies `bytes` to the buffer at `offset` and waits for the copy.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) if they do not fit; the driver's.
    pub fn copy_from_slice(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DriverError> {
        let count = bytes.len() as u64;
        let Some(to) = self.range("DeviceBuffer::copy_from_slice", offset, count)? else {
            return Ok(());
        };
        self.queue_uses()?;
        self.stream.with_raw("DeviceBuffer::copy_from_slice", |device, raw| {
            // SAFETY: contract, devices 1, 2 and 5: checked range, valid stream; 4: waited for
            // below, before `bytes` can end.
            let queued = unsafe { device.copy_from_host(to, bytes.as_ptr(), count, raw) };
            finish(queued, device, raw)
        })
    }

    /// Copies from the buffer at `offset` to `bytes` and waits for the copy.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) if the range lies outside; the driver's.
    pub fn copy_to_slice(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DriverError> {
        let count = bytes.len() as u64;
        let Some(from) = self.range("DeviceBuffer::copy_to_slice", offset, count)? else {
            return Ok(());
        };
        self.queue_uses()?;
        self.stream.with_raw("DeviceBuffer::copy_to_slice", |device, raw| {
            // SAFETY: contract, devices 1, 2 and 5: checked range, valid stream; 4: waited for
            // below, before `bytes` can end.
            let queued = unsafe { device.copy_to_host(bytes.as_mut_ptr(), from, count, raw) };
            finish(queued, device, raw)
        })
    }

    /// A copy of the bytes on the host.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If the host's address space cannot hold the bytes.
    pub fn to_vec(&self) -> Result<Vec<u8>, DriverError> {
        let len = usize::try_from(self.len).expect("the bytes fit the host's address space");
        let mut bytes = vec![0; len];
        self.copy_to_slice(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Queues filling a range with `value`, on the home stream.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) if the range lies outside; the driver's.
    pub fn fill(&mut self, range: std::ops::Range<u64>, value: u8) -> Result<(), DriverError> {
        let count = range.end.saturating_sub(range.start);
        let Some(to) = self.range("DeviceBuffer::fill", range.start, count)? else {
            return Ok(());
        };
        self.queue_uses()?;
        self.stream.with_raw("DeviceBuffer::fill", |device, raw| {
            // SAFETY: contract, devices 1, 2 and 5: checked range, valid stream.
            unsafe { device.fill(to, value, count, raw) }
        })
    }

    /// A copy of the buffer with `stream` as its home, from the same resource.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`]; a failed copy is a device fault.
    pub fn try_clone(&self, stream: &Stream) -> Result<Self, AllocError>
    where
        R: Clone,
    {
        let copy = Self::new(self.resource.clone(), self.len, stream)?;
        let fault = |error| match BlockLayout::new(self.len.max(1)) {
            Ok(layout) => AllocError::from_driver(error, layout, "DeviceBuffer"),
            Err(error) => error.into(),
        };
        if let (Some(to), Some(from)) = (copy.ptr(), self.ptr()) {
            self.queue_uses().and_then(|()| self.wait_on(stream)).map_err(fault)?;
            queue_copy(stream, to, from, self.len).map_err(fault)?;
            // The source must outlive the copy that reads it.
            if *stream != self.stream {
                stream.marker().and_then(|read| self.stream.wait(&read)).map_err(fault)?;
            }
        }
        Ok(copy)
    }

    /// Changes the length, keeping the bytes; new bytes are undefined. Moves only if the length
    /// exceeds the capacity.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`]; the buffer is then unchanged.
    pub fn resize(&mut self, bytes: u64) -> Result<(), AllocError> {
        if bytes > self.capacity() {
            self.relocate(bytes)?;
        }
        self.len = bytes;
        Ok(())
    }

    /// Makes room for `bytes` bytes in all without changing the length.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`]; the buffer is then unchanged.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), AllocError> {
        if bytes > self.capacity() { self.relocate(bytes) } else { Ok(()) }
    }

    /// Moves to a block of exactly the length, if the capacity is larger.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`]; the buffer is then unchanged.
    pub fn shrink_to_fit(&mut self) -> Result<(), AllocError> {
        if self.capacity() > self.len { self.relocate(self.len) } else { Ok(()) }
    }

    /// Makes `stream` the home stream, ordered after the old one.
    ///
    /// # Errors
    /// The driver's; the home stream is then unchanged.
    pub fn set_stream(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.wait_on(stream)?;
        self.stream = stream.clone();
        Ok(())
    }

    /// Gives up the block without freeing it; `None` for an empty buffer. The home stream first
    /// waits for recorded uses.
    ///
    /// # Errors
    /// The driver's; the buffer is then dropped.
    pub fn into_block(mut self) -> Result<Option<Block>, DriverError> {
        self.queue_uses()?;
        Ok(self.block.take())
    }

    fn relocate(&mut self, bytes: u64) -> Result<(), AllocError> {
        let moved = allocate(&self.resource, bytes, &self.stream)?;
        let keep = self.len.min(bytes);
        // The old block is freed below, whether or not bytes move: its uses come first.
        let ready = self.queue_uses().and_then(|()| match (&moved, self.ptr()) {
            (Some(to), Some(from)) if keep != 0 => queue_copy(&self.stream, to.ptr(), from, keep),
            _ => Ok(()),
        });
        if let Err(error) = ready {
            let layout = BlockLayout::new(bytes.max(1))?;
            self.free(moved);
            return Err(AllocError::from_driver(error, layout, "DeviceBuffer"));
        }
        let old = std::mem::replace(&mut self.block, moved);
        self.free(old);
        Ok(())
    }

    /// The address at `offset`, or `None` for an empty range.
    fn range(
        &self,
        call: &'static str,
        offset: u64,
        count: u64,
    ) -> Result<Option<DevicePtr>, DriverError> {
        if offset.checked_add(count).is_none_or(|end| end > self.len) {
            let detail = format!("{count} B at {offset} lie outside {} B", self.len);
            return Err(DriverError::new(call, DriverCode::INVALID_VALUE).with_detail(detail));
        }
        Ok(self.ptr().filter(|_| count != 0).and_then(|ptr| ptr.checked_add(offset)))
    }

    /// Makes the home stream wait for recorded uses.
    fn queue_uses(&self) -> Result<(), DriverError> {
        self.uses.iter().try_for_each(|(_, event)| self.stream.wait(event))
    }

    /// Frees a block that only the home stream uses, or counts the failure.
    fn free(&self, block: Option<Block>) {
        let Some(block) = block else { return };
        // SAFETY: contract, freeing: 1, 2: work of ours is on the home stream, which waits for
        // recorded uses, and users of `ptr` record theirs; 3: the handle keeps the stream valid.
        if let Err(error) = unsafe { self.resource.deallocate(block, &self.stream) } {
            self.stream.device().base().drop_failures().record("a buffer", &error);
        }
    }
}

impl<R: MemoryResource> Drop for DeviceBuffer<R> {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else {
            return;
        };
        if let Err(error) = self.queue_uses() {
            // The home stream cannot wait; the host can.
            let waited = self.uses.iter().try_for_each(|(_, event)| event.synchronize());
            if waited.is_err() {
                self.stream.device().base().drop_failures().record("a buffer", &error);
                return;
            }
        }
        self.free(Some(block));
    }
}

impl<R: MemoryResource> fmt::Debug for DeviceBuffer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeviceBuffer");
        out.field("ptr", &self.ptr()).field("len", &self.len).field("stream", &self.stream);
        out.finish_non_exhaustive()
    }
}

fn allocate<R: MemoryResource>(
    resource: &R,
    bytes: u64,
    stream: &Stream,
) -> Result<Option<Block>, AllocError> {
    if bytes == 0 {
        return Ok(None);
    }
    resource.allocate(&Request::new(BlockLayout::new(bytes)?, stream)).map(Some)
}

/// Queues a copy between two blocks of which at least `bytes` bytes are live.
fn queue_copy(
    stream: &Stream,
    to: DevicePtr,
    from: DevicePtr,
    bytes: u64,
) -> Result<(), DriverError> {
    stream.with_raw("DeviceBuffer copy", |device, raw| {
        // SAFETY: contract, devices 1, 2 and 5: two live, distinct blocks and a valid stream.
        unsafe { device.copy_within(to, from, bytes, raw) }
    })
}

/// Waits for a copy with the host. Should that fail, the host memory may still be in use: the whole
/// device is waited for. A driver that cannot do that either has lost its context and runs nothing
/// any more.
fn finish(
    queued: Result<(), DriverError>,
    device: &dyn crate::Device,
    raw: RawStream,
) -> Result<(), DriverError> {
    queued?;
    // SAFETY: contract, devices 1 and 5: the caller holds a valid, callable stream.
    let waited = unsafe { device.synchronize_stream(raw) };
    if waited.is_err() {
        let _ = device.synchronize();
    }
    waited
}
