//! Handing memory from one stream to another.

#![forbid(unsafe_code)]

use vmem_core::{DriverError, Stream};

/// Makes what `later` does from now on follow what `earlier` has queued by now: no call for one
/// stream, a wait on the device where both can be named on this thread, else a wait on the host.
pub(super) fn order_after(later: &Stream, earlier: &Stream) -> Result<(), DriverError> {
    if later == earlier {
        return Ok(());
    }
    // Fails for another thread's default stream and for a retired one. A capture would record the
    // wait.
    let can_wait = matches!(later.is_capturing(), Ok(false));
    if can_wait && earlier.marker().and_then(|marker| later.wait(&marker)).is_ok() {
        return Ok(());
    }
    earlier.synchronize()
}
