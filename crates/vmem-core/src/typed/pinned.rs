//! Typed host memory that the device can access.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;

use super::range::{alignment_of, bytes_of};
use crate::author::{HostAccess, StreamExt, host_view};
use crate::{
    AllocError, BlockLayout, DeviceBuffer, DevicePtr, DriverCode, DriverError, Features,
    MemoryResource, Stream,
};

/// A fixed number of elements in pinned host memory, which derefs to a slice.
///
/// Copies from and to it run at full speed and without a wait on the host: they take it by value, and
/// the [`Transfer`](crate::Transfer) gives it back once the copy is complete. So the host sees the
/// elements only while no copy uses them.
///
/// The memory comes from [`PinnedMemory`](crate::PinnedMemory), or from any resource over it, such as a
/// pool: what counts is that the host reaches the blocks at their device address
/// ([`HOST_ACCESSIBLE`](Features::HOST_ACCESSIBLE)). Managed memory, whose pages move, is refused.
///
/// ```
/// use vmem_core::{DeviceMemory, DeviceVec, PinnedBuffer, PinnedMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device.clone()).into_dyn();
/// let pinned = PinnedMemory::new(device)?.into_dyn();
///
/// let mut staging = PinnedBuffer::zeroed(pinned, 3, &stream)?;
/// staging.copy_from_slice(&[1u32, 2, 3]);
/// let mut numbers = DeviceVec::uninit(memory, 3, &stream)?;
/// let upload = numbers.copy_from_pinned(staging, ..)?;
/// // Whatever the host does here, it does while the copy runs.
/// let mut staging = upload.wait()?;
/// staging[0] = 9; // The copy is complete: this changes nothing on the device.
/// let staging = numbers.copy_to_pinned(staging, ..)?.wait()?;
/// assert_eq!(*staging, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub struct PinnedBuffer<T, R: MemoryResource = Arc<dyn MemoryResource>> {
    /// No work on it is pending, except while a transfer owns it: then that is a recorded use.
    pub(super) buffer: DeviceBuffer<R>,
    /// Where the host finds the elements.
    pub(super) at: NonNull<T>,
    len: usize,
}

// SAFETY: the buffer owns the elements, so sending it sends them.
unsafe impl<T: Send, R: MemoryResource> Send for PinnedBuffer<T, R> {}

// SAFETY: a shared buffer gives out only shared elements.
unsafe impl<T: Sync, R: MemoryResource> Sync for PinnedBuffer<T, R> {}

impl<T: Pod, R: MemoryResource> PinnedBuffer<T, R> {
    /// `len` elements of zero bytes. Waits on the host for what is queued on `stream`, in whose order
    /// the memory becomes usable and is freed: give it a stream of its own, or keep and reuse the
    /// buffer.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`]; a device fault from
    /// [`NOT_SUPPORTED`](DriverCode::NOT_SUPPORTED) if the host cannot touch the resource's memory, or
    /// from the wait; [`Capturing`](crate::AllocErrorKind::Capturing) if the stream captures;
    /// [`InvalidLayout`](crate::AllocErrorKind::InvalidLayout) if the elements are too many.
    pub fn zeroed(resource: R, len: usize, stream: &Stream) -> Result<Self, AllocError> {
        Self::allocate(resource, len, stream, |at| {
            // SAFETY: `at` is valid for `len` elements, which nothing else refers to.
            unsafe { at.as_ptr().write_bytes(0, len) }
        })
    }

    /// A copy of `elements`. Waits as [`zeroed`](Self::zeroed) does.
    ///
    /// # Errors
    /// Those of [`zeroed`](Self::zeroed).
    pub fn from_slice(resource: R, elements: &[T], stream: &Stream) -> Result<Self, AllocError> {
        let len = elements.len();
        Self::allocate(resource, len, stream, |at| {
            // SAFETY: `at` is valid for `len` elements, which nothing else refers to.
            unsafe { at.as_ptr().copy_from_nonoverlapping(elements.as_ptr(), len) }
        })
    }

    /// `fill` initialises the elements.
    fn allocate(
        resource: R,
        len: usize,
        stream: &Stream,
        fill: impl FnOnce(NonNull<T>),
    ) -> Result<Self, AllocError> {
        let bytes = bytes_of::<T>(len);
        let layout = BlockLayout::with_alignment(bytes.max(1), alignment_of::<T>())?;
        let fault = |error| AllocError::from_driver(error, layout, "PinnedBuffer");
        let capabilities = resource.capabilities();
        if !capabilities.has(Features::HOST_ACCESSIBLE) || capabilities.has(Features::MIGRATABLE) {
            return Err(fault(not_supported("the resource's memory is not pinned host memory")));
        }
        let buffer = DeviceBuffer::aligned(resource, bytes, layout.alignment(), stream)?;
        let mut new = Self { buffer, at: NonNull::dangling(), len };
        if bytes != 0 {
            // The contract's host order: what was on the stream when the block was handed out comes
            // before the host's first access.
            stream.synchronize_alone().map_err(fault)?;
        }
        new.show_host().map_err(fault)?;
        fill(new.at);
        Ok(new)
    }

    /// Announces that the host will read and write the elements until they are in a transfer.
    pub(super) fn show_host(&mut self) -> Result<(), DriverError> {
        let Some(ptr) = self.buffer.ptr() else {
            return Ok(());
        };
        let device = self.buffer.stream().device();
        let at = host_view(&**device, ptr, self.buffer.len(), HostAccess::Write)?;
        let at = NonNull::new(at.cast::<T>()).filter(|at| at.is_aligned());
        self.at = at.ok_or_else(|| not_supported("the host has the memory at another address"))?;
        Ok(())
    }

    /// The device address, for kernels that access the host's memory; `None` if there are no bytes.
    /// While such a kernel may run, the host must not use the elements.
    pub fn ptr(&self) -> Option<DevicePtr> {
        self.buffer.ptr()
    }

    /// The stream in whose order the memory is freed.
    pub fn stream(&self) -> &Stream {
        self.buffer.stream()
    }

    /// The resource the memory came from.
    pub fn resource(&self) -> &R {
        self.buffer.resource()
    }

    /// Makes the memory be freed in the order of `stream`, as [`DeviceBuffer::set_stream`].
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::set_stream`].
    pub fn set_stream(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.buffer.set_stream(stream)
    }

    /// The memory without its type and without the host's view of it.
    pub fn into_buffer(self) -> DeviceBuffer<R> {
        self.buffer
    }
}

impl<T, R: MemoryResource> Deref for PinnedBuffer<T, R> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the elements are initialised, aligned and live as long as the buffer; no work that
        // writes them is pending, because a copy owns the buffer until it is complete.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T, R: MemoryResource> DerefMut for PinnedBuffer<T, R> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the buffer is borrowed exclusively, and no work reads the elements.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T, R: MemoryResource> fmt::Debug for PinnedBuffer<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("PinnedBuffer");
        out.field("ptr", &self.buffer.ptr()).field("len", &self.len);
        out.field("stream", self.buffer.stream()).finish_non_exhaustive()
    }
}

fn not_supported(detail: &'static str) -> DriverError {
    DriverError::new("PinnedBuffer", DriverCode::NOT_SUPPORTED).with_detail(detail)
}
