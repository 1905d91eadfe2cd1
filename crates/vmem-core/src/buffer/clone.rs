//! Copies of buffers.

use std::ops::Range;

use super::{DeviceBuffer, NAME};
use crate::{AllocError, AllocErrorKind, BlockLayout, DriverError, MemoryResource, Stream};

impl<R: MemoryResource> DeviceBuffer<R> {
    /// A copy of the buffer with `stream` as its home, from the same resource. The home stream waits
    /// for the copy, or, where it cannot, the buffer does before it is written, moved or freed.
    ///
    /// # Errors
    /// [`InvalidStream`](AllocErrorKind::InvalidStream) for a stream of another device;
    /// [`Capturing`](AllocErrorKind::Capturing) if one of two different streams captures; as
    /// [`MemoryResource::allocate`]; a failed copy is a device fault.
    pub fn try_clone(&self, stream: &Stream) -> Result<Self, AllocError>
    where
        R: Clone,
    {
        const CALL: &str = "DeviceBuffer::try_clone";
        let layout = BlockLayout::with_alignment(self.len.max(1), self.alignment)?;
        if let Err(error) = self.all().check_device(CALL, stream) {
            let kind = AllocErrorKind::InvalidStream;
            return Err(AllocError::new(kind, layout, NAME).with_source(error));
        }
        let copy = Self::aligned(self.resource.clone(), self.len, self.alignment, stream)?;
        let copied = copy.all().copy_from(CALL, self.all());
        copied.map_err(|error| AllocError::from_driver(error, layout, NAME))?;
        Ok(copy)
    }

    /// Queues a copy of a range of another buffer to this one at `offset`, on this one's home stream.
    /// That waits for the other's home stream, which then waits for the copy, or, where it cannot, the
    /// other buffer does before it is written, moved or freed.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if a range is reversed or lies outside;
    /// [`INVALID_CONTEXT`](crate::DriverCode::INVALID_CONTEXT) for a buffer of another device;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if one of two
    /// different home streams captures; the driver's, and then the bytes may have been copied.
    pub fn copy_from_buffer<Q: MemoryResource>(
        &mut self,
        offset: u64,
        other: &DeviceBuffer<Q>,
        range: Range<u64>,
    ) -> Result<(), DriverError> {
        const CALL: &str = "DeviceBuffer::copy_from_buffer";
        let end = offset.saturating_add(range.end.saturating_sub(range.start));
        self.part(CALL, offset..end)?.copy_from(CALL, other.part(CALL, range)?)
    }
}
