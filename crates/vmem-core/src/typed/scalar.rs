//! One value on a device.

use std::fmt;
use std::sync::Arc;

use bytemuck::Pod;

use super::{DeviceBox, DeviceSlice, DeviceSliceMut};
use crate::{AllocError, DeviceBuffer, DevicePtr, DriverError, MemoryResource, Stream};

/// One value on a device: what a kernel counts in, say.
///
/// ```
/// use vmem_core::{DeviceMemory, DeviceScalar, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device);
///
/// let mut count = DeviceScalar::new(&memory, 7u64, &stream)?;
/// count.set_value(8)?;
/// assert_eq!(count.value()?, 8);
/// # Ok(())
/// # }
/// ```
pub struct DeviceScalar<T, R: MemoryResource = Arc<dyn MemoryResource>>(DeviceBox<[T], R>);

impl<T: Pod, R: MemoryResource> DeviceScalar<T, R> {
    /// A value, set as [`set_value`](Self::set_value) does.
    ///
    /// # Errors
    /// Those of [`DeviceBox::filled`].
    pub fn new(resource: R, value: T, stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::filled(resource, value, 1, stream).map(Self)
    }

    /// A value of zero bytes.
    ///
    /// # Errors
    /// Those of [`DeviceBox::zeroed`].
    pub fn zeroed(resource: R, stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::zeroed(resource, 1, stream).map(Self)
    }

    /// An undefined value.
    ///
    /// # Errors
    /// Those of [`DeviceBox::uninit`].
    pub fn uninit(resource: R, stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::uninit(resource, 1, stream).map(Self)
    }

    /// The value, copied to the host. Waits for the copy.
    ///
    /// # Errors
    /// Those of [`DeviceSlice::copy_to_slice`].
    pub fn value(&self) -> Result<T, DriverError> {
        self.0.element(0)
    }

    /// Queues setting the value, by [`DeviceSliceMut::fill`]: a fill for every 4 bytes of it. Nothing
    /// waits.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the value is then undefined.
    pub fn set_value(&mut self, value: T) -> Result<(), DriverError> {
        self.0.fill(value)
    }

    /// The value as a view of one element.
    pub fn as_slice(&self) -> DeviceSlice<'_, T> {
        self.0.as_slice()
    }

    /// The value as an exclusive view of one element.
    pub fn as_mut_slice(&mut self) -> DeviceSliceMut<'_, T> {
        self.0.as_mut_slice()
    }

    /// The address of the value, as [`DeviceSlice::ptr`] has it.
    pub fn ptr(&self) -> Option<DevicePtr> {
        self.0.ptr()
    }

    /// The home stream.
    pub fn stream(&self) -> &Stream {
        self.0.stream()
    }

    /// Makes `stream` the home stream, as [`DeviceBuffer::set_stream`].
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::set_stream`].
    pub fn set_stream(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.0.set_stream(stream)
    }

    /// The memory without its type.
    pub fn into_buffer(self) -> DeviceBuffer<R> {
        self.0.into_buffer()
    }
}

impl<'a, T: Pod, R: MemoryResource> From<&'a DeviceScalar<T, R>> for DeviceSlice<'a, T> {
    fn from(owner: &'a DeviceScalar<T, R>) -> Self {
        owner.as_slice()
    }
}

impl<T: Pod, R: MemoryResource> fmt::Debug for DeviceScalar<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeviceScalar");
        out.field("ptr", &self.ptr()).field("stream", self.stream()).finish_non_exhaustive()
    }
}
