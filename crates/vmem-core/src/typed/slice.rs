//! Views of parts of typed memory on a device.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Range, RangeBounds};

use bytemuck::Pod;

use super::range::{bytes_range, elements, same_len};
use crate::buffer::Part;
use crate::{DevicePtr, DriverError, Stream};

/// A shared view of elements on a device, borrowed from who owns them.
///
/// Its methods queue their work on the home stream of the owner; [typed
/// memory](crate::contract#typed-memory) says what that is ordered after.
pub struct DeviceSlice<'a, T> {
    pub(super) part: Part<'a>,
    pub(super) len: usize,
    elements: PhantomData<&'a [T]>,
}

/// An exclusive view of elements on a device, borrowed from who owns them.
///
/// ```
/// use vmem_core::{DeviceMemory, DeviceVec, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device);
///
/// let mut numbers = DeviceVec::from_slice(&memory, &[1u32, 2, 3, 4], &stream)?;
/// let (mut left, right) = numbers.split_at_mut(2)?;
/// left.copy_from(&right)?;
/// left.slice_mut(1..)?.fill(7)?;
/// assert_eq!(numbers.to_vec()?, [3, 7, 3, 4]);
/// # Ok(())
/// # }
/// ```
pub struct DeviceSliceMut<'a, T> {
    pub(super) part: Part<'a>,
    pub(super) len: usize,
    elements: PhantomData<&'a mut [T]>,
}

impl<'a, T: Pod> DeviceSlice<'a, T> {
    /// `len` elements, whose bytes `part` is.
    pub(super) const fn new(part: Part<'a>, len: usize) -> Self {
        Self { part, len, elements: PhantomData }
    }

    /// The number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first element, aligned for `T`; `None` if there are no bytes.
    ///
    /// For kernels: what they may touch through it, and in which order, is up to whoever launches them.
    /// A kernel on the home stream is ordered with all methods; one on another stream needs
    /// [`make_ready_on`](Self::make_ready_on) before and [`record_use`](Self::record_use) after it.
    pub fn ptr(&self) -> Option<DevicePtr> {
        self.part.ptr()
    }

    /// The home stream of the owner.
    pub fn stream(&self) -> &'a Stream {
        self.part.home()
    }

    /// A part of the view.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the range is reversed or ends outside.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, DriverError> {
        const CALL: &str = "DeviceSlice::slice";
        let range = elements(CALL, range, self.len)?;
        Ok(Self::new(self.part.part(CALL, bytes_range::<T>(&range))?, range.len()))
    }

    /// The first `middle` elements and the others.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if there are fewer.
    pub fn split_at(&self, middle: usize) -> Result<(Self, Self), DriverError> {
        Ok((self.slice(..middle)?, self.slice(middle..)?))
    }

    /// A copy of the elements on the host. Waits for the copy.
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home stream
    /// captures; the [`DriverError`] of the driver call.
    pub fn to_vec(&self) -> Result<Vec<T>, DriverError> {
        self.part.read("DeviceSlice::to_vec", vec![T::zeroed(); self.len])
    }

    /// Copies the elements to as many on the host, and waits for the copy, as
    /// [`DeviceBuffer::copy_to_slice`](crate::DeviceBuffer::copy_to_slice) does.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the lengths differ;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home stream
    /// captures; the driver's, and then some of the elements may have been copied.
    pub fn copy_to_slice(&self, to: &mut [T]) -> Result<(), DriverError> {
        const CALL: &str = "DeviceSlice::copy_to_slice";
        same_len(CALL, self.len, to.len())?;
        self.part.read_into(CALL, bytemuck::cast_slice_mut(to))
    }

    /// Lets `stream` use the elements, as
    /// [`DeviceBuffer::make_ready_on`](crate::DeviceBuffer::make_ready_on).
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::make_ready_on`](crate::DeviceBuffer::make_ready_on).
    pub fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        self.part.make_ready_on(stream)
    }

    /// Notes that work queued on `stream` by now uses the elements, as
    /// [`DeviceBuffer::record_use`](crate::DeviceBuffer::record_use).
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::record_use`](crate::DeviceBuffer::record_use).
    pub fn record_use(&self, stream: &Stream) -> Result<(), DriverError> {
        self.part.record_use(stream)
    }
}

impl<'a, T: Pod> DeviceSliceMut<'a, T> {
    /// `len` elements, whose bytes `part` is, borrowed exclusively.
    pub(super) const fn new(part: Part<'a>, len: usize) -> Self {
        Self { part, len, elements: PhantomData }
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
        self.part.ptr()
    }

    /// The home stream of the owner.
    pub fn stream(&self) -> &'a Stream {
        self.part.home()
    }

    /// A shared view of the same elements. Methods that only read are those of [`DeviceSlice`].
    pub const fn as_slice(&self) -> DeviceSlice<'_, T> {
        DeviceSlice::new(self.part, self.len)
    }

    /// A part of the view.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the range is reversed or ends outside.
    pub fn slice_mut(
        &mut self,
        range: impl RangeBounds<usize>,
    ) -> Result<DeviceSliceMut<'_, T>, DriverError> {
        let range = elements(SLICE_MUT, range, self.len)?;
        let part = self.part.part(SLICE_MUT, bytes_range::<T>(&range))?;
        Ok(DeviceSliceMut::new(part, range.len()))
    }

    /// The first `middle` elements and the others, so that both can be written, or one be copied to the
    /// other.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if there are fewer.
    pub fn split_at_mut(self, middle: usize) -> Result<(Self, Self), DriverError> {
        const CALL: &str = "DeviceSliceMut::split_at_mut";
        elements(CALL, ..middle, self.len)?;
        let cut = |range: Range<usize>| {
            let part = self.part.part(CALL, bytes_range::<T>(&range))?;
            Ok::<_, DriverError>(Self::new(part, range.len()))
        };
        Ok((cut(0..middle)?, cut(middle..self.len)?))
    }

    /// Queues setting every element to `value`, of any size.
    ///
    /// A value of 1, 2 or 4 bytes, or one that repeats so many, takes one fill of the driver. Any other
    /// takes a fill for every 4 bytes of it (2, or 1, if its size is no multiple of 4), and then log2 of
    /// the length copies on the device, each of which doubles what is set: about twice the traffic of a
    /// fill. Nothing waits, and no host memory is read later.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the elements are then undefined.
    pub fn fill(&mut self, value: T) -> Result<(), DriverError> {
        self.part.fill("DeviceSliceMut::fill", bytemuck::bytes_of(&value))
    }

    /// Copies as many elements from the host, and waits for the copy, as
    /// [`DeviceBuffer::copy_from_slice`](crate::DeviceBuffer::copy_from_slice) does.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the lengths differ;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home stream
    /// captures; the driver's, and then some of the elements may have been copied.
    pub fn copy_from_slice(&mut self, from: &[T]) -> Result<(), DriverError> {
        const CALL: &str = "DeviceSliceMut::copy_from_slice";
        same_len(CALL, from.len(), self.len)?;
        self.part.write(CALL, bytemuck::cast_slice(from))
    }

    /// Queues a copy of as many elements on the same device, on this view's home stream, as
    /// [`DeviceBuffer::copy_from_buffer`](crate::DeviceBuffer::copy_from_buffer): if the other home
    /// stream is another, each waits for the other as the copy needs it. Nothing waits on the host.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the lengths differ;
    /// [`INVALID_CONTEXT`](crate::DriverCode::INVALID_CONTEXT) for elements on another device (copy them
    /// through a [`PinnedBuffer`](crate::PinnedBuffer));
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if one of two
    /// different home streams captures; the driver's, and then the elements may have been copied.
    pub fn copy_from<'s>(
        &mut self,
        from: impl Into<DeviceSlice<'s, T>>,
    ) -> Result<(), DriverError> {
        const CALL: &str = "DeviceSliceMut::copy_from";
        let from = from.into();
        same_len(CALL, from.len, self.len)?;
        self.part.copy_from(CALL, from.part)
    }

    /// Lets `stream` use the elements, as
    /// [`DeviceBuffer::make_ready_on`](crate::DeviceBuffer::make_ready_on).
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::make_ready_on`](crate::DeviceBuffer::make_ready_on).
    pub fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        self.part.make_ready_on(stream)
    }

    /// Notes that work queued on `stream` by now uses the elements, as
    /// [`DeviceBuffer::record_use`](crate::DeviceBuffer::record_use).
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::record_use`](crate::DeviceBuffer::record_use).
    pub fn record_use(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.part.record_use(stream)
    }
}

const SLICE_MUT: &str = "DeviceSliceMut::slice_mut";

impl<T> Clone for DeviceSlice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for DeviceSlice<'_, T> {}

impl<'a, T: Pod> From<DeviceSliceMut<'a, T>> for DeviceSlice<'a, T> {
    fn from(view: DeviceSliceMut<'a, T>) -> Self {
        Self::new(view.part, view.len)
    }
}

impl<'a, T: Pod> From<&'a DeviceSliceMut<'_, T>> for DeviceSlice<'a, T> {
    fn from(view: &'a DeviceSliceMut<'_, T>) -> Self {
        view.as_slice()
    }
}

macro_rules! debug {
    ($($name:ident)*) => {$(
        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut out = f.debug_struct(stringify!($name));
                out.field("ptr", &self.part.ptr()).field("len", &self.len);
                out.field("stream", self.part.home()).finish()
            }
        }
    )*};
}

debug! { DeviceSlice DeviceSliceMut }
