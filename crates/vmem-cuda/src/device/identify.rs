//! Telling the streams of others apart, whose handles recur.

use vmem_core::{DriverError, RawStream};

use super::CudaDevice;
use crate::result::stream;

/// What the driver says of which stream a handle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamIdentity {
    /// The number that no other stream of the process ever has.
    Number(u64),
    /// The stream captures a graph, or joined a capture: asking for its number would break that.
    Capturing,
    /// The driver numbers no streams: it is older than CUDA 12.0.
    Unknown,
}

impl CudaDevice {
    /// Which stream a handle names: the handle of a destroyed stream is given to the next that is
    /// created. Two driver calls, which break no capture.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The handle names a stream that is not destroyed before this returns, and is none of the default
    /// streams' 0, 1 and 2.
    pub unsafe fn identify(&self, stream: RawStream) -> Result<StreamIdentity, DriverError> {
        self.context.call("cuStreamGetId", || {
            // SAFETY: the caller's promise.
            if unsafe { stream::is_capturing(stream) }? {
                return Ok(StreamIdentity::Capturing);
            }
            // SAFETY: the caller's promise; it was just seen not to capture.
            let number = unsafe { stream::id(stream) }?;
            Ok(number.map_or(StreamIdentity::Unknown, StreamIdentity::Number))
        })
    }
}
