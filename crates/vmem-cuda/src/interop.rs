//! Working beside cust.

use std::sync::Arc;

use cust::memory::{DeviceCopy, DevicePointer};
use vmem_core::{DevicePtr, DriverError, RawStream, Stream};

use crate::CudaDevice;

#[cfg_attr(docsrs, doc(cfg(feature = "cust")))]
impl CudaDevice {
    /// A vmem handle of a stream of `cust`'s.
    ///
    /// The stream stays `cust`'s: it is never destroyed here. Two handles made of one stream are two
    /// streams to vmem: that is sound, and costs waits. A stream of `cust`'s synchronises with the
    /// legacy default stream, whatever flags it was made with.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](vmem_core::DriverCode::INVALID_CONTEXT) if it was made in another context
    /// than this device's primary one; the driver's.
    ///
    /// # Safety
    /// The stream outlives this handle and its clones, or the handle is
    /// [retired](Stream::retire) before the stream is dropped.
    pub unsafe fn share_stream(
        self: &Arc<Self>,
        stream: &cust::stream::Stream,
    ) -> Result<Stream, DriverError> {
        let raw = RawStream(stream.as_inner().expose_provenance() as u64);
        // SAFETY: the stream is alive, being borrowed, and outlives the handle by the caller's
        // promise.
        unsafe { Stream::foreign(self.clone(), raw) }
    }
}

/// An address in the form that `cust`'s kernel launches take. Nothing is owned by it.
#[cfg_attr(docsrs, doc(cfg(feature = "cust")))]
pub fn device_pointer<T: DeviceCopy>(ptr: DevicePtr) -> DevicePointer<T> {
    DevicePointer::from_raw(ptr.get())
}
