//! Copies between host and device that nothing waits for until it is asked to.

use std::error::Error;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use bytemuck::Pod;

use super::range::{elements, same_len};
use super::{DeviceBox, DeviceSlice, DeviceSliceMut, PinnedBuffer};
use crate::buffer::Part;
use crate::uses::Marked;
use crate::{DriverError, Event, MemoryResource};

/// A queued copy from or to a [`PinnedBuffer`], which it owns until the copy is complete.
///
/// Dropped before, it adds no wait: the pinned memory goes back to its resource behind the copy, in
/// stream order (a resource that is not stream-ordered then waits itself). If the pinned buffer is of
/// another device than the copy, no stream of its own can wait for the copy, and the drop waits on the
/// host. Forgotten, it leaks the pinned
/// memory. The device's end frees itself in the order of the stream that the copy is on, whatever
/// becomes of the transfer. So the copy never touches memory that is not its own.
#[must_use = "`wait` gives the pinned buffer back; dropping the transfer frees it behind the copy"]
pub struct Transfer<T, R: MemoryResource = Arc<dyn MemoryResource>> {
    host: PinnedBuffer<T, R>,
    /// `None` for a copy that is complete.
    end: Option<Event>,
}

impl<T: Pod, R: MemoryResource> Transfer<T, R> {
    /// Waits on the host until the copy is complete, and gives the buffer back.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the buffer is then dropped, and if the copy cannot
    /// be waited for there either, its memory leaks.
    pub fn wait(self) -> Result<PinnedBuffer<T, R>, DriverError> {
        let Self { mut host, end } = self;
        if let Some(end) = end {
            end.synchronize()?;
            host.buffer.all().forget_uses();
        }
        host.show_host()?;
        Ok(host)
    }

    /// Returns true if the copy is complete, so that [`wait`](Self::wait) would not wait.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub fn is_complete(&self) -> Result<bool, DriverError> {
        self.end.as_ref().map_or(Ok(true), Event::is_complete)
    }
}

impl<T, R: MemoryResource> fmt::Debug for Transfer<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("host", &self.host).field("end", &self.end).finish()
    }
}

/// A copy that could not be queued, with the pinned buffer.
pub struct TransferError<T, R: MemoryResource = Arc<dyn MemoryResource>>(Box<Inner<T, R>>);

struct Inner<T, R: MemoryResource> {
    host: Option<PinnedBuffer<T, R>>,
    error: DriverError,
}

impl<T, R: MemoryResource> TransferError<T, R> {
    fn new(host: Option<PinnedBuffer<T, R>>, error: DriverError) -> Self {
        Self(Box::new(Inner { host, error }))
    }

    /// The error that prevented the copy.
    pub fn error(&self) -> &DriverError {
        &self.0.error
    }

    /// The pinned buffer and what went wrong. No buffer if the copy was queued and the driver could then
    /// neither mark its end nor wait for it: the pinned memory has been dropped, and leaks unless that
    /// has become possible.
    pub fn into_parts(self) -> (Option<PinnedBuffer<T, R>>, DriverError) {
        (self.0.host, self.0.error)
    }
}

impl<T, R: MemoryResource> fmt::Debug for TransferError<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TransferError");
        out.field("host", &self.0.host).field("error", &self.0.error).finish()
    }
}

impl<T, R: MemoryResource> fmt::Display for TransferError<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.error, f)
    }
}

impl<T, R: MemoryResource> Error for TransferError<T, R> {}

impl<T: Pod> DeviceSlice<'_, T> {
    /// Queues a copy to `range` of a pinned buffer, of as many elements, on the home stream. Nothing
    /// waits: [`Transfer::wait`] gives the buffer back.
    ///
    /// The buffer may be of another device: so elements get from one device to another.
    ///
    /// # Errors
    /// With the buffer, and nothing is copied: [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if
    /// the range is reversed, ends outside or has another length;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home
    /// stream captures; the [`DriverError`] of the driver call. [Without](TransferError::into_parts)
    /// the buffer if the driver fails twice after the copy was queued.
    pub fn copy_to_pinned<R: MemoryResource>(
        &self,
        host: PinnedBuffer<T, R>,
        range: impl RangeBounds<usize>,
    ) -> Result<Transfer<T, R>, TransferError<T, R>> {
        const CALL: &str = "DeviceSlice::copy_to_pinned";
        transfer(CALL, self.part, self.len, host, range, |part, at| {
            // SAFETY: `transfer` keeps the host's memory until the end of the copy.
            unsafe { part.download(CALL, at.cast()) }
        })
    }
}

impl<T: Pod> DeviceSliceMut<'_, T> {
    /// Queues a copy from `range` of a pinned buffer, of as many elements, on the home stream. Nothing
    /// waits: [`Transfer::wait`] gives the buffer back.
    ///
    /// # Errors
    /// Those of [`DeviceSlice::copy_to_pinned`].
    pub fn copy_from_pinned<R: MemoryResource>(
        &mut self,
        host: PinnedBuffer<T, R>,
        range: impl RangeBounds<usize>,
    ) -> Result<Transfer<T, R>, TransferError<T, R>> {
        const CALL: &str = "DeviceSliceMut::copy_from_pinned";
        transfer(CALL, self.part, self.len, host, range, |part, at| {
            // SAFETY: `transfer` keeps the host's memory until the end of the copy.
            unsafe { part.upload(CALL, at.cast_const().cast()) }
        })
    }
}

impl<T: Pod, R: MemoryResource> DeviceBox<[T], R> {
    /// Queues a copy of all elements to a pinned buffer, as [`DeviceSlice::copy_to_pinned`].
    ///
    /// # Errors
    /// Those of [`DeviceSlice::copy_to_pinned`].
    pub fn copy_to_pinned<H: MemoryResource>(
        &self,
        host: PinnedBuffer<T, H>,
        range: impl RangeBounds<usize>,
    ) -> Result<Transfer<T, H>, TransferError<T, H>> {
        self.as_slice().copy_to_pinned(host, range)
    }

    /// Queues a copy of all elements from a pinned buffer, as [`DeviceSliceMut::copy_from_pinned`].
    ///
    /// # Errors
    /// Those of [`DeviceSliceMut::copy_from_pinned`].
    pub fn copy_from_pinned<H: MemoryResource>(
        &mut self,
        host: PinnedBuffer<T, H>,
        range: impl RangeBounds<usize>,
    ) -> Result<Transfer<T, H>, TransferError<T, H>> {
        self.as_mut_slice().copy_from_pinned(host, range)
    }
}

/// Queues a copy between the device's `len` elements and those of `host`, and keeps `host` until the end
/// of the copy. `queue` is given where the first of them is.
fn transfer<T: Pod, R: MemoryResource>(
    call: &'static str,
    device: Part<'_>,
    len: usize,
    host: PinnedBuffer<T, R>,
    range: impl RangeBounds<usize>,
    queue: impl FnOnce(Part<'_>, *mut T) -> Result<Marked, DriverError>,
) -> Result<Transfer<T, R>, TransferError<T, R>> {
    let range = elements(call, range, host.len())
        .and_then(|range| same_len(call, range.len(), len).map(|()| range));
    let range = match range {
        Ok(range) => range,
        Err(error) => return Err(TransferError::new(Some(host), error)),
    };
    // No work on the host's memory is pending: no other transfer owns it.
    let marked = match queue(device, host.at.as_ptr().wrapping_add(range.start)) {
        Ok(marked) => marked,
        Err(error) => return Err(TransferError::new(Some(host), error)),
    };
    match marked {
        Marked::At(end) => {
            host.buffer.all().note_use(device.home(), end.clone());
            Ok(Transfer { host, end: Some(end) })
        }
        Marked::Complete => Ok(Transfer { host, end: None }),
        Marked::Lost(error) => {
            host.buffer.all().lose_use(device.home());
            Err(TransferError::new(None, error))
        }
    }
}
