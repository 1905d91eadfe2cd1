//! What a program can do to a device besides driver calls of vmem's own.

use std::fmt::Debug;

use vmem_core::{DriverError, Stream};

/// Operations on the device under a subject, beyond the driver interface. All are optional; none is
/// there by default.
///
/// `()` is the control of a device that is left alone.
pub trait DeviceControl: Debug + Sync {
    /// Captures into a graph what `work` queues on `stream`, then launches the graph there once.
    /// Returns what `work` or the device answered; `None`, without calling `work`, if the device
    /// cannot capture. The stream is not capturing afterwards, whatever happened.
    fn capture(
        &self,
        _stream: &Stream,
        _work: &mut dyn FnMut() -> Result<(), DriverError>,
    ) -> Option<Result<(), DriverError>> {
        None
    }

    /// Loses the device, so that every driver call fails from now on. False if it cannot be lost.
    fn lose(&self) -> bool {
        false
    }
}

impl DeviceControl for () {}
