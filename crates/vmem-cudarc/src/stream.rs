//! A stream of cudarc's that is vmem's too.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::CudaStream;
use vmem_core::{DriverError, RawStream, Stream};
use vmem_cuda::CudaDevice;

/// A stream of cudarc's and the same stream as vmem knows it.
///
/// Make one for each [`CudaStream`] and clone it: two made of one stream are two streams to vmem, which
/// is sound, and costs waits. vmem's side holds the `Arc<CudaStream>`, so that the driver's stream lives
/// until slices, buffers and pools of vmem's have named it for the last time.
#[derive(Clone)]
pub struct SharedStream {
    ours: Stream,
    theirs: Arc<CudaStream>,
}

impl SharedStream {
    /// Shares a stream that [`CudaContext::new_stream`](cudarc::driver::CudaContext::new_stream) (or
    /// `new_stream_with_priority`, or [`CudaStream::fork`]) made. One driver call.
    ///
    /// The default streams are refused. cudarc orders the uses of slices only while a stream that it
    /// made lives, and each slice here holds one: its own.
    ///
    /// # Errors
    /// [`INVALID_HANDLE`](vmem_core::DriverCode::INVALID_HANDLE) for a default stream;
    /// [`INVALID_CONTEXT`](vmem_core::DriverCode::INVALID_CONTEXT) for a stream of another context than
    /// the device's primary one; the driver's.
    pub fn new(device: &Arc<CudaDevice>, stream: &Arc<CudaStream>) -> Result<Self, DriverError> {
        let raw = RawStream(stream.cu_stream().expose_provenance() as u64);
        // SAFETY: cudarc destroys the stream with the last clone of the `Arc`; of a stream that it has
        // only wrapped, whoever wrapped it promised as much.
        let ours = unsafe { Stream::foreign_owned_by(device.clone(), raw, stream.clone()) }?;
        Ok(Self { ours, theirs: stream.clone() })
    }

    /// The stream as vmem's resources and buffers take it.
    pub fn vmem(&self) -> &Stream {
        &self.ours
    }

    /// The stream as cudarc's copies and launches take it.
    pub fn cudarc(&self) -> &Arc<CudaStream> {
        &self.theirs
    }
}

impl fmt::Debug for SharedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedStream").field(&self.ours).finish()
    }
}
