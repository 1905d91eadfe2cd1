//! Handing memory from one stream to another.

#![forbid(unsafe_code)]

use vmem_core::author::StreamExt;
use vmem_core::{DriverCode, DriverError, Stream};

/// Makes what `later` does from now on follow what `earlier` has queued by now: no call for one
/// stream, a wait on the device where `later` can be named on this thread and does not capture, else a
/// wait on the host. Neither waits for the whole device, nor touches a capture.
///
/// # Errors
/// [`NOT_PERMITTED`](vmem_core::DriverCode::NOT_PERMITTED) if this thread [cannot
/// name](StreamExt::is_callable_here) `earlier`,
/// [`STREAM_CAPTURE_UNSUPPORTED`](vmem_core::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if it captures;
/// the [`DriverError`] of the driver call.
pub(super) fn order_after(later: &Stream, earlier: &Stream) -> Result<(), DriverError> {
    if later == earlier {
        return Ok(());
    }
    let marker = match earlier.marker() {
        Ok(marker) => marker,
        Err(_) => return earlier.synchronize_alone(),
    };
    // A wait for a stream that this thread cannot name would lie in that stream's inbox, and draws do
    // not look there.
    if later.is_callable_here() && later.wait(&marker).is_ok() {
        return Ok(());
    }
    marker.synchronize()
}

/// Whether a stream could not be followed because of what it is or does now, not because the driver
/// failed.
pub(super) fn is_out_of_reach(error: &DriverError) -> bool {
    error.is_capture() || error.code() == DriverCode::NOT_PERMITTED
}
