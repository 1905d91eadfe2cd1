//! A fixed number of elements on a device.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use bytemuck::Pod;

use super::range::{alignment_of, bytes_of, elements};
use super::{DeviceSlice, DeviceSliceMut};
use crate::{
    AllocError, Block, BlockLayout, DeviceBuffer, DevicePtr, DriverError, MemoryResource, Stream,
};

/// A fixed number of elements on a device, as `Box<[T]>` is on the host: a
/// [`DeviceBuffer`](crate::DeviceBuffer) that knows what it holds.
///
/// Its methods queue their work on its home stream; [typed memory](crate::contract#typed-memory) says
/// what that is ordered after. It frees itself in the order of that stream. The address is aligned to
/// 256 bytes or to `T`, whichever is more. No elements, or elements of size zero, hold no memory and
/// make no driver call.
///
/// ```
/// use std::sync::Arc;
/// use vmem_core::{DeviceBox, DeviceMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// struct Column {
///     values: DeviceBox<[f32]>,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device).into_dyn();
///
/// let mut column = Column { values: DeviceBox::filled(memory, 1.5, 1000, &stream)? };
/// column.values.slice_mut(..2)?.copy_from_slice(&[0.25, 0.5])?;
/// assert_eq!(column.values.slice(..3)?.to_vec()?, [0.25, 0.5, 1.5]);
/// # Ok(())
/// # }
/// ```
pub struct DeviceBox<S: ?Sized, R: MemoryResource = Arc<dyn MemoryResource>> {
    /// Its length is that of the elements.
    pub(super) buffer: DeviceBuffer<R>,
    pub(super) len: usize,
    elements: PhantomData<Box<S>>,
}

impl<T: Pod, R: MemoryResource> DeviceBox<[T], R> {
    /// `len` elements with undefined values: those that the memory happens to have.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`];
    /// [`InvalidLayout`](crate::AllocErrorKind::InvalidLayout) if the elements are too many, or their
    /// alignment is above [`BlockLayout::MAX_ALIGNMENT`].
    pub fn uninit(resource: R, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        Self::with_room(resource, len, len, stream)
    }

    /// The same with room for `capacity` elements, which are at least `len`.
    pub(super) fn with_room(
        resource: R,
        len: usize,
        capacity: usize,
        stream: &Stream,
    ) -> Result<Self, AllocError> {
        let bytes = bytes_of::<T>(capacity);
        let mut buffer = DeviceBuffer::aligned(resource, bytes, alignment_of::<T>(), stream)?;
        buffer.resize(bytes_of::<T>(len))?;
        Ok(Self { buffer, len, elements: PhantomData })
    }

    /// `len` elements of zero bytes. One fill, which nothing waits for.
    ///
    /// # Errors
    /// Those of [`uninit`](Self::uninit); a failed fill is a device fault.
    pub fn zeroed(resource: R, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        Self::filled(resource, T::zeroed(), len, stream)
    }

    /// `len` elements of one value, by [`DeviceSliceMut::fill`].
    ///
    /// # Errors
    /// Those of [`uninit`](Self::uninit); a failed fill is a device fault.
    pub fn filled(resource: R, value: T, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        let mut new = Self::uninit(resource, len, stream)?;
        new.fill(value).map_err(|error| new.fault(error))?;
        Ok(new)
    }

    /// A copy of elements on the host. Waits for the copy.
    ///
    /// # Errors
    /// Those of [`uninit`](Self::uninit); [`Capturing`](crate::AllocErrorKind::Capturing) if the stream
    /// captures; a failed copy is a device fault.
    pub fn from_slice(resource: R, elements: &[T], stream: &Stream) -> Result<Self, AllocError> {
        let mut new = Self::uninit(resource, elements.len(), stream)?;
        new.copy_from_slice(elements).map_err(|error| new.fault(error))?;
        Ok(new)
    }

    /// A copy on the device with `stream` as its home, from the same resource, as
    /// [`DeviceBuffer::try_clone`].
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::try_clone`].
    pub fn try_clone(&self, stream: &Stream) -> Result<Self, AllocError>
    where
        R: Clone,
    {
        let buffer = self.buffer.try_clone(stream)?;
        Ok(Self { buffer, len: self.len, elements: PhantomData })
    }

    /// The number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first element, as [`DeviceSlice::ptr`] has it.
    pub fn ptr(&self) -> Option<DevicePtr> {
        self.as_slice().ptr()
    }

    /// The block that holds the elements.
    pub fn block(&self) -> Option<&Block> {
        self.buffer.block()
    }

    /// The home stream.
    pub fn stream(&self) -> &Stream {
        self.buffer.stream()
    }

    /// The resource the memory came from.
    pub fn resource(&self) -> &R {
        self.buffer.resource()
    }

    /// Makes `stream` the home stream, as [`DeviceBuffer::set_stream`].
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::set_stream`].
    pub fn set_stream(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.buffer.set_stream(stream)
    }

    /// The memory without its type.
    pub fn into_buffer(self) -> DeviceBuffer<R> {
        self.buffer
    }

    /// All elements, shared.
    pub fn as_slice(&self) -> DeviceSlice<'_, T> {
        DeviceSlice::new(self.buffer.all(), self.len)
    }

    /// All elements, exclusively.
    pub fn as_mut_slice(&mut self) -> DeviceSliceMut<'_, T> {
        DeviceSliceMut::new(self.buffer.all(), self.len)
    }

    /// A shared view of a part.
    ///
    /// # Errors
    /// Those of [`DeviceSlice::slice`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<DeviceSlice<'_, T>, DriverError> {
        self.as_slice().slice(range)
    }

    /// An exclusive view of a part.
    ///
    /// # Errors
    /// Those of [`DeviceSliceMut::slice_mut`].
    pub fn slice_mut(
        &mut self,
        range: impl RangeBounds<usize>,
    ) -> Result<DeviceSliceMut<'_, T>, DriverError> {
        let range = elements("DeviceBox::slice_mut", range, self.len)?;
        let (_, tail) = self.as_mut_slice().split_at_mut(range.start)?;
        Ok(tail.split_at_mut(range.len())?.0)
    }

    /// The first `middle` elements and the others, exclusively.
    ///
    /// # Errors
    /// Those of [`DeviceSliceMut::split_at_mut`].
    pub fn split_at_mut(
        &mut self,
        middle: usize,
    ) -> Result<(DeviceSliceMut<'_, T>, DeviceSliceMut<'_, T>), DriverError> {
        self.as_mut_slice().split_at_mut(middle)
    }

    /// A copy of one element on the host. Waits for the copy.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if there is none at `index`; as
    /// [`DeviceSlice::copy_to_slice`].
    pub fn element(&self, index: usize) -> Result<T, DriverError> {
        let mut element = [T::zeroed()];
        self.slice(index..=index)?.copy_to_slice(&mut element)?;
        Ok(element[0])
    }

    /// Queues setting one element, as [`DeviceSliceMut::fill`] does. Nothing waits.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if there is none at `index`; the
    /// [`DriverError`] of the driver call.
    pub fn set_element(&mut self, index: usize, value: T) -> Result<(), DriverError> {
        self.slice_mut(index..=index)?.fill(value)
    }

    /// A copy of the elements on the host, as [`DeviceSlice::to_vec`].
    ///
    /// # Errors
    /// Those of [`DeviceSlice::to_vec`].
    pub fn to_vec(&self) -> Result<Vec<T>, DriverError> {
        self.as_slice().to_vec()
    }

    /// Copies all elements to the host, as [`DeviceSlice::copy_to_slice`].
    ///
    /// # Errors
    /// Those of [`DeviceSlice::copy_to_slice`].
    pub fn copy_to_slice(&self, to: &mut [T]) -> Result<(), DriverError> {
        self.as_slice().copy_to_slice(to)
    }

    /// Queues setting every element, as [`DeviceSliceMut::fill`].
    ///
    /// # Errors
    /// Those of [`DeviceSliceMut::fill`].
    pub fn fill(&mut self, value: T) -> Result<(), DriverError> {
        self.as_mut_slice().fill(value)
    }

    /// Copies all elements from the host, as [`DeviceSliceMut::copy_from_slice`].
    ///
    /// # Errors
    /// Those of [`DeviceSliceMut::copy_from_slice`].
    pub fn copy_from_slice(&mut self, from: &[T]) -> Result<(), DriverError> {
        self.as_mut_slice().copy_from_slice(from)
    }

    /// Queues a copy of all elements, as [`DeviceSliceMut::copy_from`].
    ///
    /// # Errors
    /// Those of [`DeviceSliceMut::copy_from`].
    pub fn copy_from<'s>(
        &mut self,
        from: impl Into<DeviceSlice<'s, T>>,
    ) -> Result<(), DriverError> {
        self.as_mut_slice().copy_from(from)
    }

    /// Lets `stream` use the elements, as [`DeviceBuffer::make_ready_on`].
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::make_ready_on`].
    pub fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        self.buffer.make_ready_on(stream)
    }

    /// Notes that work queued on `stream` by now uses the elements, as [`DeviceBuffer::record_use`].
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::record_use`].
    pub fn record_use(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.buffer.record_use(stream)
    }

    /// What a failed copy or fill means for an allocation.
    pub(super) fn fault(&self, error: DriverError) -> AllocError {
        match BlockLayout::with_alignment(self.buffer.len().max(1), alignment_of::<T>()) {
            Ok(layout) => AllocError::from_driver(error, layout, "typed memory"),
            Err(invalid) => invalid.into(),
        }
    }
}

impl<'a, T: Pod, R: MemoryResource> From<&'a DeviceBox<[T], R>> for DeviceSlice<'a, T> {
    fn from(owner: &'a DeviceBox<[T], R>) -> Self {
        owner.as_slice()
    }
}

impl<S: ?Sized, R: MemoryResource> fmt::Debug for DeviceBox<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeviceBox");
        out.field("ptr", &self.buffer.ptr()).field("len", &self.len);
        out.field("stream", self.buffer.stream()).finish_non_exhaustive()
    }
}
