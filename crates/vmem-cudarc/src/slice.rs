//! Memory of vmem's that cudarc takes for a slice of its own.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, HostSlice, ValidAsZeroBits,
};
use vmem_core::{AllocError, BlockLayout, DeviceBuffer, DriverCode, DriverError, MemoryResource};

use crate::SharedStream;
use crate::error::driver_error;

const NAME: &str = "VmemSlice";

/// Elements in memory of a vmem resource, which copies, kernel launches and views of cudarc's take as
/// they take a [`CudaSlice`].
///
/// It frees itself to its resource, on its stream, behind the uses that cudarc has tracked. Which uses
/// those are, and which are the program's to order, the [crate's documentation](crate) says.
///
/// A slice without elements holds one byte, so that its address is one that every call of the driver
/// accepts. The address is aligned to 256 bytes or to `T`, whichever is more.
///
/// ```no_run
/// use cudarc::driver::CudaContext;
/// use vmem_core::{DeviceMemory, ResourceExt};
/// use vmem_cudarc::{SharedStream, VmemSlice};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let context = CudaContext::new(0)?;
/// let device = vmem_cudarc::open(&context)?;
/// let theirs = context.new_stream()?;
/// let stream = SharedStream::new(&device, &theirs)?;
/// let memory = DeviceMemory::new(device).into_dyn(); // or a pool of vmem-pool
///
/// let mut x: VmemSlice<f32> = VmemSlice::alloc_zeros(memory, 1000, &stream)?;
/// theirs.memcpy_htod(&[1.0, 2.0], &mut x.slice_mut(..2))?;
/// assert_eq!(theirs.clone_dtoh(&x.slice(..3))?, [1.0, 2.0, 0.0]);
/// # Ok(())
/// # }
/// ```
pub struct VmemSlice<T, R: MemoryResource = Arc<dyn MemoryResource>> {
    /// Of the buffer's memory. It must never be dropped: cudarc would free the memory.
    slice: ManuallyDrop<CudaSlice<T>>,
    /// Dropped or taken by [`end`](Self::end) alone.
    buffer: ManuallyDrop<DeviceBuffer<R>>,
}

impl<T, R: MemoryResource> VmemSlice<T, R> {
    /// A slice of `len` elements, contents undefined.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`], and a device fault if cudarc cannot make or record the
    /// slice's events, or answers an error that an earlier call left with the context.
    ///
    /// # Safety
    /// The elements are written before they are read.
    #[inline]
    pub unsafe fn alloc(resource: R, len: usize, stream: &SharedStream) -> Result<Self, AllocError>
    where
        T: DeviceRepr,
    {
        let layout = layout_of::<T>(len)?;
        let (bytes, alignment) = (layout.size(), layout.alignment());
        let buffer = DeviceBuffer::aligned(resource, bytes, alignment, stream.vmem())?;
        let fault = |error| AllocError::from_driver(error, layout, NAME);
        Self::over(buffer, len, stream.cudarc()).map_err(fault)
    }

    /// A slice of `len` zeros. The fill is queued on the stream.
    ///
    /// # Errors
    /// Those of [`alloc`](Self::alloc); a failed fill is a device fault.
    pub fn alloc_zeros(resource: R, len: usize, stream: &SharedStream) -> Result<Self, AllocError>
    where
        T: DeviceRepr + ValidAsZeroBits,
    {
        // SAFETY: filled below, and dropped if that fails.
        let mut slice = unsafe { Self::alloc(resource, len, stream) }?;
        let filled = stream.cudarc().memset_zeros(&mut slice);
        filled.map_err(|error| fault::<T>(len, "cuMemsetD8Async", error))?;
        Ok(slice)
    }

    /// A slice with a copy of the host's elements. The copy is queued on the stream: cudarc says of each
    /// [`HostSlice`] when it may be written again.
    ///
    /// # Errors
    /// Those of [`alloc`](Self::alloc); a failed copy is a device fault.
    pub fn clone_htod<S>(resource: R, from: &S, stream: &SharedStream) -> Result<Self, AllocError>
    where
        T: DeviceRepr,
        S: HostSlice<T> + ?Sized,
    {
        // SAFETY: written below, and dropped if that fails.
        let mut slice = unsafe { Self::alloc(resource, from.len(), stream) }?;
        let copied = stream.cudarc().memcpy_htod(from, &mut slice);
        copied.map_err(|error| fault::<T>(from.len(), "cuMemcpyHtoDAsync", error))?;
        Ok(slice)
    }

    /// A slice with a copy of another's elements, or of a view's. The copy is queued on the stream, behind
    /// the last write of the other that cudarc has tracked.
    ///
    /// # Errors
    /// Those of [`alloc`](Self::alloc); a failed copy is a device fault.
    pub fn clone_dtod<S>(resource: R, from: &S, stream: &SharedStream) -> Result<Self, AllocError>
    where
        T: DeviceRepr,
        S: DevicePtr<T>,
    {
        // SAFETY: written below, and dropped if that fails.
        let mut slice = unsafe { Self::alloc(resource, from.len(), stream) }?;
        let copied = stream.cudarc().memcpy_dtod(from, &mut slice);
        copied.map_err(|error| fault::<T>(from.len(), "cuMemcpyDtoDAsync", error))?;
        Ok(slice)
    }

    /// The slice over a buffer's memory, which has `len` elements or room for more. Its home stream is
    /// `stream`.
    #[inline]
    pub(crate) fn over(
        buffer: DeviceBuffer<R>,
        len: usize,
        stream: &Arc<CudaStream>,
    ) -> Result<Self, DriverError> {
        if stream.context().is_event_tracking() {
            return Self::over_tracked(buffer, len, stream);
        }
        // SAFETY: as in `over_tracked`.
        let slice = unsafe { stream.upgrade_device_ptr(address_of(&buffer), len) };
        Ok(Self { slice: ManuallyDrop::new(slice), buffer: ManuallyDrop::new(buffer) })
    }

    /// The same with the slice's events, the making of which can fail.
    fn over_tracked(
        buffer: DeviceBuffer<R>,
        len: usize,
        stream: &Arc<CudaStream>,
    ) -> Result<Self, DriverError> {
        const CALL: &str = "CudaStream::upgrade_device_ptr";
        let failed = |error| driver_error(CALL, error);
        let context = stream.context();
        // An error that an earlier call left would be a panic below.
        context.bind_to_thread().map_err(failed)?;
        // SAFETY: a live block of the buffer's with room for the elements, which goes back to its
        // resource after the slice has let go of it, and never to cudarc.
        let upgrade = || unsafe { stream.upgrade_device_ptr(address_of(&buffer), len) };
        // It panics if an event cannot be made, and then has made nothing.
        let slice = catch_unwind(AssertUnwindSafe(upgrade)).map_err(|_| {
            let error = DriverError::new(CALL, DriverCode::UNKNOWN);
            error.with_detail("cudarc could not make the events of a slice")
        })?;
        let mut made = Self { slice: ManuallyDrop::new(slice), buffer: ManuallyDrop::new(buffer) };
        // Of a slice without a write, another stream would not wait for what its memory was used for
        // before. Nobody else's errors are taken for this one's: there was none above.
        drop(made.slice.device_ptr_mut(stream));
        context.check_err().map_err(failed)?;
        Ok(made)
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Returns true if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.slice.is_empty()
    }

    /// The memory as cudarc knows it, for functions that ask for a slice of its own. What such a function
    /// clones is cudarc's memory, not the resource's.
    #[inline]
    pub fn as_cuda_slice(&self) -> &CudaSlice<T> {
        &self.slice
    }

    /// The resource the memory came from.
    pub fn resource(&self) -> &R {
        self.buffer.resource()
    }

    /// The same to write. Never given out: what is swapped with it would be freed to the wrong owner.
    #[inline]
    pub(crate) fn slice_of_cudarc(&mut self) -> &mut CudaSlice<T> {
        &mut self.slice
    }

    /// Lets work that is queued on `stream` from now on use the slice, as
    /// [`DeviceBuffer::make_ready_on`] does: it waits for what is on the slice's stream now and for
    /// [recorded uses](Self::record_use). For what cudarc does not track.
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::make_ready_on`].
    pub fn make_ready_on(&self, stream: &SharedStream) -> Result<(), DriverError> {
        self.buffer.make_ready_on(stream.vmem())
    }

    /// Notes that work queued on `stream` so far uses the slice, so that its memory is not used for
    /// anything else before, as [`DeviceBuffer::record_use`] does. For what cudarc does not track.
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::record_use`].
    pub fn record_use(&mut self, stream: &SharedStream) -> Result<(), DriverError> {
        self.buffer.record_use(stream.vmem())
    }

    /// Takes the slice apart: cudarc's side is given up, its stream waiting for both events, and the
    /// buffer is what is left. `None`, and the buffer has leaked and is counted, if the stream could not
    /// be made to wait.
    ///
    /// # Safety
    /// The slice is not used afterwards.
    pub(crate) unsafe fn end(&mut self) -> Option<DeviceBuffer<R>> {
        // SAFETY: taken once, by the caller's promise.
        let slice = unsafe { ManuallyDrop::take(&mut self.slice) };
        // SAFETY: as above.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        match give_up(slice) {
            Ok(()) => Some(buffer),
            Err(error) => {
                buffer.abandon(&error);
                None
            }
        }
    }
}

impl<T, R: MemoryResource> Drop for VmemSlice<T, R> {
    #[inline]
    fn drop(&mut self) {
        if self.slice.context().is_managing_stream_synchronization() {
            // SAFETY: the slice goes.
            drop(unsafe { self.end() });
            return;
        }
        // There is nothing to wait for, and nothing that could fail.
        // SAFETY: the slice goes.
        unsafe { ManuallyDrop::take(&mut self.slice) }.leak();
        // SAFETY: the slice goes.
        unsafe { ManuallyDrop::drop(&mut self.buffer) };
    }
}

impl<T, R: MemoryResource> fmt::Debug for VmemSlice<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmemSlice")
            .field("len", &self.len())
            .field("buffer", &*self.buffer)
            .finish_non_exhaustive()
    }
}

/// Ends cudarc's side of a slice, which frees nothing: its stream waits for the last read and the last
/// write that were tracked.
#[inline]
fn give_up<T>(slice: CudaSlice<T>) -> Result<(), DriverError> {
    let context = slice.context();
    if !context.is_managing_stream_synchronization() {
        slice.leak();
        return Ok(());
    }
    let context = context.clone();
    // An error that an earlier call left is answered by the next call instead of doing it: that must
    // not be one of the waits.
    let earlier = context.check_err();
    slice.leak();
    let waited = context.check_err();
    context.record_err(earlier);
    context.record_err(waited);
    waited.map_err(|error| driver_error("CudaSlice::leak", error))
}

fn address_of<R: MemoryResource>(buffer: &DeviceBuffer<R>) -> u64 {
    buffer.ptr().map_or(0, |ptr| ptr.get())
}

/// What `len` elements need.
pub(crate) fn layout_of<T>(len: usize) -> Result<BlockLayout, AllocError> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let alignment = BlockLayout::DEFAULT_ALIGNMENT.max(align_of::<T>() as u64);
    Ok(BlockLayout::with_alignment(bytes.max(1), alignment)?)
}

fn fault<T>(
    len: usize,
    call: &'static str,
    error: cudarc::driver::result::DriverError,
) -> AllocError {
    match layout_of::<T>(len) {
        Ok(layout) => AllocError::from_driver(driver_error(call, error), layout, NAME),
        Err(too_large) => too_large,
    }
}
