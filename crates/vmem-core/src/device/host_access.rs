//! Memory of a device that the host touches.

use super::Device;
use crate::{DevicePtr, DriverCode, DriverError};

/// The kind of access that the host is about to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostAccess {
    /// Only reading.
    Read,
    /// Writing, and perhaps reading.
    Write,
}

/// Returns the host address of `bytes` bytes of pinned or managed memory of `device` that it is
/// about to touch: at their device address. Resources call this whenever they show memory to the
/// host, so that a simulated device can [check](Device::check_host_access) the access.
///
/// The pointer may be used until the next work on the range is queued, once all work on it has
/// completed.
///
/// # Errors
/// Those of [`Device::check_host_access`].
pub fn host_view(
    device: &dyn Device,
    ptr: DevicePtr,
    bytes: u64,
    access: HostAccess,
) -> Result<*mut u8, DriverError> {
    device.check_host_access(ptr, bytes, access)?;
    let address = usize::try_from(ptr.get()).map_err(|_| {
        let error = DriverError::new("host_view", DriverCode::INVALID_VALUE);
        error.with_detail("the address is outside the host's address space")
    })?;
    Ok(std::ptr::with_exposed_provenance_mut(address))
}
