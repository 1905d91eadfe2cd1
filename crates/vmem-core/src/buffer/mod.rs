//! Memory that frees itself in stream order.

mod clone;
mod host;
mod part;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

pub(crate) use part::Part;

use crate::author::{StreamExt, fork};
use crate::sync::{Mutex, MutexGuard};
use crate::uses::Uses;
use crate::{
    AllocError, AllocErrorKind, Block, BlockLayout, DevicePtr, DriverError, MemoryResource,
    Request, Stream,
};

/// Bytes on a device that free themselves, in the order of their home stream.
///
/// A buffer of length zero holds no block. To use a buffer on another stream, call
/// [`make_ready_on`](Self::make_ready_on) before queuing work there and
/// [`record_use`](Self::record_use) after; to use it on the home stream again by other means than
/// the methods here, call `make_ready_on` with that. Dropping a buffer adds no wait on the host for
/// recorded uses: the home stream waits for them on the device and the block is freed there (a
/// resource that is not stream-ordered then waits itself). A failed drop is counted in
/// [`DropFailures`](crate::author::DropFailures).
///
/// Should the driver queue a copy to another buffer ([`try_clone`](Self::try_clone),
/// [`copy_from_buffer`](Self::copy_from_buffer)), and then fail to mark its end and to wait for it, the
/// methods that use the bytes answer [`ILLEGAL_STATE`](crate::DriverCode::ILLEGAL_STATE) until it can be
/// marked; dropped before that, the buffer leaks its block.
///
/// # While the home stream captures
/// [`fill`](Self::fill), and copies between buffers of one home stream, become part of the graph:
/// the buffers must then live as long as the graph may be launched. What must take effect at once
/// is refused with [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED),
/// or with [`Capturing`](AllocErrorKind::Capturing), and changes nothing: copies from and to the
/// host, waits and recorded uses in either direction, moving bytes to another block. A buffer may
/// be dropped: what its block must wait for before it is used again is left in the home stream's
/// [inbox](crate::author::StreamExt::has_pending_waits). No method breaks a capture or draws
/// another stream into it.
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
    /// Of every block it holds, in bytes.
    alignment: u64,
    stream: Stream,
    /// Those of other streams.
    uses: Mutex<Uses>,
}

impl<R: MemoryResource> DeviceBuffer<R> {
    /// A buffer of `bytes` bytes, contents undefined, whose home stream is `stream`.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`].
    pub fn new(resource: R, bytes: u64, stream: &Stream) -> Result<Self, AllocError> {
        Self::aligned(resource, bytes, BlockLayout::DEFAULT_ALIGNMENT, stream)
    }

    /// Like [`new`](Self::new), at a multiple of `alignment` bytes wherever the buffer moves.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`]; [`InvalidLayout`](AllocErrorKind::InvalidLayout) if the
    /// alignment is not a power of two or above [`BlockLayout::MAX_ALIGNMENT`].
    #[inline]
    pub fn aligned(
        resource: R,
        bytes: u64,
        alignment: u64,
        stream: &Stream,
    ) -> Result<Self, AllocError> {
        let block = allocate(&resource, bytes, alignment, stream)?;
        let (stream, uses) = (stream.clone(), Mutex::default());
        Ok(Self { resource, block, len: bytes, alignment, stream, uses })
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns true if the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes the buffer can hold without moving.
    pub fn capacity(&self) -> u64 {
        self.block.as_ref().map_or(0, Block::size)
    }

    /// The address of the bytes; `None` if no memory is held.
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
    /// stream now and for all [recorded](Self::record_use) uses. For the home stream itself, for
    /// recorded uses.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](crate::DriverCode::INVALID_CONTEXT) for a stream of another device;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if either stream
    /// captures; [`NOT_PERMITTED`](crate::DriverCode::NOT_PERMITTED) if this thread [cannot
    /// name](crate::author::StreamExt::is_callable_here) the home stream; the [`DriverError`] of the
    /// driver call. `stream` must then not use the buffer.
    pub fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        self.all().make_ready_on(stream)
    }

    /// Notes that work queued on `stream` by now uses the buffer, so that it is not freed or moved
    /// before that work has completed. Where that cannot be noted, waits for the work on the host.
    ///
    /// The uses of 16 streams are remembered. Beyond that the home stream waits for the oldest, so that
    /// its own later work waits with it.
    ///
    /// # Errors
    /// The use is then not noted, and it is up to the caller that the work completes before the buffer
    /// is freed or moved: [`INVALID_CONTEXT`](crate::DriverCode::INVALID_CONTEXT) for a stream of
    /// another device; [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED)
    /// if `stream` captures, because its work runs when the graph is launched;
    /// [`NOT_PERMITTED`](crate::DriverCode::NOT_PERMITTED) if this thread [cannot
    /// name](crate::author::StreamExt::is_callable_here) it; the [`DriverError`] of the driver call.
    pub fn record_use(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.all().record_use(stream)
    }

    /// Queues filling a range with `value`, on the home stream, after recorded uses.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the range lies outside; the
    /// [`DriverError`] of the driver call.
    pub fn fill(&mut self, range: Range<u64>, value: u8) -> Result<(), DriverError> {
        const CALL: &str = "DeviceBuffer::fill";
        self.part(CALL, range)?.fill(CALL, &[value])
    }

    /// Changes the length, keeping the bytes; new bytes are undefined. Moves only if the length
    /// exceeds the capacity.
    ///
    /// # Errors
    /// The buffer is then unchanged: [`Capturing`](AllocErrorKind::Capturing) if bytes would have to
    /// move while the home stream captures; as [`MemoryResource::allocate`].
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
    /// Those of [`resize`](Self::resize).
    pub fn reserve(&mut self, bytes: u64) -> Result<(), AllocError> {
        if bytes > self.capacity() { self.relocate(bytes) } else { Ok(()) }
    }

    /// Moves to a block of exactly the length, if the capacity is larger.
    ///
    /// # Errors
    /// Those of [`resize`](Self::resize).
    pub fn shrink_to_fit(&mut self) -> Result<(), AllocError> {
        if self.capacity() > self.len { self.relocate(self.len) } else { Ok(()) }
    }

    /// Makes `stream` the home stream, ordered after the old one and after recorded uses.
    ///
    /// # Errors
    /// Those of [`make_ready_on`](Self::make_ready_on); the home stream is then unchanged.
    pub fn set_stream(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.make_ready_on(stream)?;
        self.uses().forget();
        self.stream = stream.clone();
        Ok(())
    }

    /// Gives up the block without freeing it; `None` for an empty buffer. The home stream first
    /// waits for recorded uses.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the buffer is then dropped.
    pub fn into_block(mut self) -> Result<Option<Block>, DriverError> {
        fork::refuse("DeviceBuffer::into_block")?;
        self.uses().precede_work(&self.stream)?;
        Ok(self.block.take())
    }

    /// Never frees the memory, and counts a failed drop, with the reason, in
    /// [`DropFailures`](crate::author::DropFailures): for memory with a use that cannot be ordered before
    /// a free.
    pub fn abandon(mut self, why: &dyn fmt::Display) {
        if self.block.take().is_some() {
            self.leak(why);
        }
    }

    fn relocate(&mut self, bytes: u64) -> Result<(), AllocError> {
        let layout = BlockLayout::with_alignment(bytes.max(1), self.alignment)?;
        let fault = |error| AllocError::from_driver(error, layout, NAME);
        fork::refuse(NAME).map_err(fault)?;
        let keep = self.len.min(bytes);
        let moves = keep != 0 && self.block.is_some();
        if moves && self.stream.is_capturing().map_err(fault)? {
            // The graph would take the copy, and nothing would move before it is launched.
            return Err(AllocError::new(AllocErrorKind::Capturing, layout, NAME));
        }
        let moved = allocate(&self.resource, bytes, self.alignment, &self.stream)?;
        // The old block is freed below, whether or not bytes move: its uses come first.
        let mut uses = self.uses();
        let ready = match (&moved, self.ptr()) {
            (Some(to), Some(from)) if moves => uses
                .precede_work(&self.stream)
                .and_then(|()| queue_copy(&self.stream, to.ptr(), from, keep)),
            _ => uses.precede_free(&self.stream),
        };
        drop(uses);
        if let Err(error) = ready {
            self.free(moved);
            return Err(fault(error));
        }
        let old = std::mem::replace(&mut self.block, moved);
        self.free(old);
        Ok(())
    }

    /// All bytes.
    pub(crate) fn all(&self) -> Part<'_> {
        Part::new(self.ptr(), self.len, &self.stream, &self.uses)
    }

    /// Some of the bytes.
    pub(crate) fn part(
        &self,
        call: &'static str,
        range: Range<u64>,
    ) -> Result<Part<'_>, DriverError> {
        self.all().part(call, range)
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        fork::locked(|| self.uses.lock())
    }

    /// Frees a block that only the home stream uses, or counts the failure.
    fn free(&self, block: Option<Block>) {
        let Some(block) = block else { return };
        // SAFETY: contract, freeing/completion-order and freeing/no-later-use: work of ours is on
        // the home stream, which waits for the uses of other streams, recorded by us or by users of
        // `ptr`; freeing/valid-stream: the handle keeps the stream valid.
        if let Err(error) = unsafe { self.resource.deallocate(block, &self.stream) } {
            self.leak(&error);
        }
    }

    /// Counts a block that cannot be freed.
    fn leak(&self, why: &dyn fmt::Display) {
        self.stream.device().base().drop_failures().record("a buffer", why);
    }
}

impl<R: MemoryResource> Drop for DeviceBuffer<R> {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        let Some(block) = self.block.take() else {
            return;
        };
        let uses = self.uses.get_mut().unwrap_or_else(PoisonError::into_inner);
        match uses.precede_free(&self.stream) {
            Ok(()) => self.free(Some(block)),
            Err(error) => self.leak(&error),
        }
    }
}

impl<R: MemoryResource> fmt::Debug for DeviceBuffer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeviceBuffer");
        out.field("ptr", &self.ptr()).field("len", &self.len).field("stream", &self.stream);
        out.finish_non_exhaustive()
    }
}

const NAME: &str = "DeviceBuffer";

fn allocate<R: MemoryResource>(
    resource: &R,
    bytes: u64,
    alignment: u64,
    stream: &Stream,
) -> Result<Option<Block>, AllocError> {
    if bytes == 0 {
        return Ok(None);
    }
    let layout = BlockLayout::with_alignment(bytes, alignment)?;
    resource.allocate(&Request::new(layout, stream)).map(Some)
}

/// Queues a copy between two blocks of which at least `bytes` bytes are live.
fn queue_copy(
    stream: &Stream,
    to: DevicePtr,
    from: DevicePtr,
    bytes: u64,
) -> Result<(), DriverError> {
    stream.with_raw("DeviceBuffer copy", |device, raw| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: two live, distinct
        // blocks and a valid stream.
        unsafe { device.copy_within(to, from, bytes, raw) }
    })
}
