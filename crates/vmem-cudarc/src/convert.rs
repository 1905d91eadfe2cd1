//! Between slices and buffers of vmem's own.

use std::mem::ManuallyDrop;

use cudarc::driver::DeviceRepr;
use vmem_core::{AllocError, DeviceBuffer, DriverCode, DriverError, MemoryResource};

use crate::slice::layout_of;
use crate::{SharedStream, VmemSlice};

impl<T: DeviceRepr, R: MemoryResource> VmemSlice<T, R> {
    /// The elements of a buffer of vmem's, without a copy: as many whole ones as it has bytes for.
    /// `stream` becomes its home stream, as [`DeviceBuffer::set_stream`] does it.
    ///
    /// A `DeviceVec` or `DeviceBox` gives its buffer by `into_buffer`.
    ///
    /// # Errors
    /// The buffer is then dropped: a layout that the resource must refuse, if the buffer's address is not
    /// aligned for `T`; those of [`DeviceBuffer::set_stream`], and of [`alloc`](Self::alloc), as device
    /// faults.
    ///
    /// # Safety
    /// The bytes are elements of type `T`, or are written before they are read.
    pub unsafe fn from_buffer(
        mut buffer: DeviceBuffer<R>,
        stream: &SharedStream,
    ) -> Result<Self, AllocError> {
        let len = usize::try_from(buffer.len()).unwrap_or(usize::MAX);
        let len = len.checked_div(size_of::<T>()).unwrap_or(0);
        let layout = layout_of::<T>(len)?;
        let fault = |error| AllocError::from_driver(error, layout, "VmemSlice::from_buffer");
        if buffer.stream() != stream.vmem() {
            buffer.set_stream(stream.vmem()).map_err(fault)?;
        }
        buffer.reserve(1)?;
        let address = buffer.ptr().map_or(0, |ptr| ptr.get());
        if !address.is_multiple_of(align_of::<T>() as u64) {
            let error = DriverError::new("VmemSlice::from_buffer", DriverCode::INVALID_VALUE);
            return Err(fault(error.with_detail("the buffer is not aligned for the elements")));
        }
        Self::over(buffer, len, stream.cudarc()).map_err(fault)
    }
}

impl<T, R: MemoryResource> VmemSlice<T, R> {
    /// The memory without cudarc: a buffer of vmem's, with the slice's stream as its home stream, which
    /// waits for the last read and the last write that cudarc tracked.
    ///
    /// # Errors
    /// If the stream could not be made to wait. The memory has then leaked, which is counted.
    pub fn into_buffer(self) -> Result<DeviceBuffer<R>, DriverError> {
        let mut this = ManuallyDrop::new(self);
        let bytes = (this.len() * size_of::<T>()) as u64;
        // SAFETY: the slice is not dropped, and goes.
        let buffer = unsafe { this.end() };
        let mut buffer = buffer.ok_or_else(|| {
            let error = DriverError::new("VmemSlice::into_buffer", DriverCode::ILLEGAL_STATE);
            error.with_detail("the slice's stream could not be made to wait for its uses")
        })?;
        // An empty slice holds a byte. A buffer that does not grow does not move, nor fail.
        let _ = buffer.resize(bytes);
        Ok(buffer)
    }
}
