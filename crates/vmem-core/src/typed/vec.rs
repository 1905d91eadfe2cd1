//! Elements on a device that can become more.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytemuck::Pod;

use super::range::bytes_of;
use super::{DeviceBox, DeviceSlice};
use crate::{AllocError, MemoryResource, Stream};

/// Elements on a device that can become more, as `Vec<T>` has on the host.
///
/// What does not change their number is a method of [`DeviceBox`], to which this derefs. Growth that
/// does not fit the capacity moves the elements, on the device, to a block of twice the capacity (of
/// just what is needed, if twice is refused for want of memory): appending n elements a few at a time
/// copies O(n) bytes on the device.
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
/// let mut numbers = DeviceVec::from_slice(&memory, &[1u64, 2], &stream)?;
/// numbers.extend_from_slice(&[3, 4])?;
/// numbers.resize(6, 0x0102_0304_0506_0708)?;
/// assert_eq!(numbers.slice(3..5)?.to_vec()?, [4, 0x0102_0304_0506_0708]);
/// # Ok(())
/// # }
/// ```
pub struct DeviceVec<T, R: MemoryResource = Arc<dyn MemoryResource>>(DeviceBox<[T], R>);

impl<T: Pod, R: MemoryResource> DeviceVec<T, R> {
    /// No elements. No driver call, and no memory is asked for.
    ///
    /// # Errors
    /// Those of [`with_capacity`](Self::with_capacity).
    pub fn new(resource: R, stream: &Stream) -> Result<Self, AllocError> {
        Self::with_capacity(resource, 0, stream)
    }

    /// No elements, with room for `capacity`.
    ///
    /// # Errors
    /// Those of [`uninit`](Self::uninit).
    pub fn with_capacity(
        resource: R,
        capacity: usize,
        stream: &Stream,
    ) -> Result<Self, AllocError> {
        DeviceBox::with_room(resource, 0, capacity, stream).map(Self)
    }

    /// `len` elements with undefined values, as [`DeviceBox::uninit`].
    ///
    /// # Errors
    /// Those of [`DeviceBox::uninit`].
    pub fn uninit(resource: R, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::uninit(resource, len, stream).map(Self)
    }

    /// `len` elements of zero bytes, as [`DeviceBox::zeroed`].
    ///
    /// # Errors
    /// Those of [`DeviceBox::zeroed`].
    pub fn zeroed(resource: R, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::zeroed(resource, len, stream).map(Self)
    }

    /// `len` elements of one value, as [`DeviceBox::filled`].
    ///
    /// # Errors
    /// Those of [`DeviceBox::filled`].
    pub fn filled(resource: R, value: T, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::filled(resource, value, len, stream).map(Self)
    }

    /// A copy of elements on the host, as [`DeviceBox::from_slice`].
    ///
    /// # Errors
    /// Those of [`DeviceBox::from_slice`].
    pub fn from_slice(resource: R, elements: &[T], stream: &Stream) -> Result<Self, AllocError> {
        DeviceBox::from_slice(resource, elements, stream).map(Self)
    }

    /// A copy on the device, as [`DeviceBox::try_clone`].
    ///
    /// # Errors
    /// Those of [`DeviceBox::try_clone`].
    pub fn try_clone(&self, stream: &Stream) -> Result<Self, AllocError>
    where
        R: Clone,
    {
        self.0.try_clone(stream).map(Self)
    }

    /// The number of elements there is room for; `usize::MAX` if they have no size.
    pub fn capacity(&self) -> usize {
        let room = self.0.buffer.capacity().checked_div(size_of::<T>() as u64);
        room.and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX)
    }

    /// Makes room for `additional` more elements, and for as many as there are if it has to move.
    ///
    /// # Errors
    /// Nothing has changed then: [`Capturing`](crate::AllocErrorKind::Capturing) if elements would have
    /// to move while the home stream captures; as [`uninit`](Self::uninit).
    pub fn reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        let (needed, capacity) = (self.grown(additional), self.capacity());
        if needed <= capacity {
            return Ok(());
        }
        let buffer = &mut self.0.buffer;
        let double = bytes_of::<T>(capacity).saturating_mul(2);
        let needed = bytes_of::<T>(needed);
        if needed >= double {
            return buffer.reserve(needed);
        }
        match buffer.reserve(double) {
            Err(error) if error.kind().is_exhaustion() => buffer.reserve(needed),
            result => result,
        }
    }

    /// Makes room for `additional` more elements, and no more room than that.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub fn reserve_exact(&mut self, additional: usize) -> Result<(), AllocError> {
        let needed = bytes_of::<T>(self.grown(additional));
        self.0.buffer.reserve(needed)
    }

    /// Gives back the room that is not used, by moving the elements.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub fn shrink_to_fit(&mut self) -> Result<(), AllocError> {
        self.0.buffer.shrink_to_fit()
    }

    /// Changes the number of elements; new ones are `value`.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and for a failed fill, which is a device fault.
    pub fn resize(&mut self, len: usize, value: T) -> Result<(), AllocError> {
        let old = self.0.len;
        self.resize_uninit(len)?;
        if len > old {
            let filled = self.0.slice_mut(old..).and_then(|mut new| new.fill(value));
            self.or_truncate(old, filled)?;
        }
        Ok(())
    }

    /// Changes the number of elements; new ones are undefined.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub fn resize_uninit(&mut self, len: usize) -> Result<(), AllocError> {
        self.reserve(len.saturating_sub(self.0.len))?;
        self.0.buffer.resize(bytes_of::<T>(len))?;
        self.0.len = len;
        Ok(())
    }

    /// Appends a copy of elements on the host. Waits for the copy.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and for a failed copy, which is a device fault.
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<(), AllocError> {
        let old = self.0.len;
        self.resize_uninit(self.grown(elements.len()))?;
        let copied = self.0.slice_mut(old..).and_then(|mut new| new.copy_from_slice(elements));
        self.or_truncate(old, copied)
    }

    /// Appends a copy of elements on the device, as [`DeviceSliceMut::copy_from`] copies.
    ///
    /// [`DeviceSliceMut::copy_from`]: crate::DeviceSliceMut::copy_from
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and for a failed copy, which is a device fault.
    pub fn extend_from<'s>(
        &mut self,
        elements: impl Into<DeviceSlice<'s, T>>,
    ) -> Result<(), AllocError> {
        let (elements, old) = (elements.into(), self.0.len);
        self.resize_uninit(self.grown(elements.len()))?;
        let copied = self.0.slice_mut(old..).and_then(|mut new| new.copy_from(elements));
        self.or_truncate(old, copied)
    }

    /// Keeps the first `len` elements, or all if there are fewer. The capacity stays.
    pub fn truncate(&mut self, len: usize) {
        let len = self.0.len.min(len);
        // Nothing moves, so nothing can fail.
        if self.0.buffer.resize(bytes_of::<T>(len)).is_ok() {
            self.0.len = len;
        }
    }

    /// Forgets all elements. The capacity stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The elements without spare room.
    ///
    /// # Errors
    /// Those of [`shrink_to_fit`](Self::shrink_to_fit); the vector is then dropped. `DeviceVec` and
    /// [`DeviceBox`] are converted by `From` where room may stay.
    pub fn into_boxed_slice(mut self) -> Result<DeviceBox<[T], R>, AllocError> {
        self.shrink_to_fit()?;
        Ok(self.0)
    }

    /// So many elements more. Too many are refused as a size that no block has.
    fn grown(&self, additional: usize) -> usize {
        self.0.len.saturating_add(additional)
    }

    fn or_truncate(
        &mut self,
        len: usize,
        result: Result<(), crate::DriverError>,
    ) -> Result<(), AllocError> {
        result.map_err(|error| {
            let error = self.0.fault(error);
            self.truncate(len);
            error
        })
    }
}

impl<T, R: MemoryResource> Deref for DeviceVec<T, R> {
    type Target = DeviceBox<[T], R>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T, R: MemoryResource> DerefMut for DeviceVec<T, R> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T, R: MemoryResource> From<DeviceBox<[T], R>> for DeviceVec<T, R> {
    fn from(elements: DeviceBox<[T], R>) -> Self {
        Self(elements)
    }
}

impl<T, R: MemoryResource> From<DeviceVec<T, R>> for DeviceBox<[T], R> {
    fn from(elements: DeviceVec<T, R>) -> Self {
        elements.0
    }
}

impl<'a, T: Pod, R: MemoryResource> From<&'a DeviceVec<T, R>> for DeviceSlice<'a, T> {
    fn from(owner: &'a DeviceVec<T, R>) -> Self {
        owner.as_slice()
    }
}

impl<T: Pod, R: MemoryResource> fmt::Debug for DeviceVec<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeviceVec");
        out.field("ptr", &self.0.buffer.ptr()).field("len", &self.0.len);
        out.field("capacity", &self.capacity()).field("stream", self.0.buffer.stream());
        out.finish_non_exhaustive()
    }
}
