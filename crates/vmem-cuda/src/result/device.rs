//! The driver and its devices.

use std::ffi::{CStr, c_char, c_int};

use vmem_core::DriverError;

use super::check;
use crate::sys::{self, CUdevice};

/// Initialises the driver; cheap once it is.
pub(crate) fn init() -> Result<(), DriverError> {
    // SAFETY: no arguments but the flags, which must be zero.
    check("cuInit", unsafe { sys::cuInit(0) })
}

/// The newest CUDA version that the driver supports, as 1000 × major + 10 × minor.
pub(crate) fn driver_version() -> Result<u32, DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes to a local.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
    Ok(version.cast_unsigned())
}

/// How many devices there are.
pub(crate) fn count() -> Result<u32, DriverError> {
    let mut count = 0;
    // SAFETY: the driver writes to a local.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })?;
    Ok(count.cast_unsigned())
}

/// The device with a number.
pub(crate) fn get(ordinal: u32) -> Result<CUdevice, DriverError> {
    let mut device = 0;
    // SAFETY: the driver writes to a local, and checks the number.
    let code = unsafe { sys::cuDeviceGet(&raw mut device, ordinal.cast_signed()) };
    check("cuDeviceGet", code)?;
    Ok(device)
}

/// A device's name.
pub(crate) fn name(device: CUdevice) -> Result<String, DriverError> {
    let mut name: [c_char; 256] = [0; 256];
    // One less than there is room for, so that a zero always ends it.
    let room = 255;
    // SAFETY: the driver writes at most `room` bytes to a local, and checks the device.
    let code = unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), room, device) };
    check("cuDeviceGetName", code)?;
    // SAFETY: the last byte is zero, and the array lives.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}

/// A device's memory, in bytes.
pub(crate) fn total_memory(device: CUdevice) -> Result<u64, DriverError> {
    let mut bytes = 0;
    // SAFETY: the driver writes to a local, and checks the device.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&raw mut bytes, device) })?;
    Ok(bytes as u64)
}

/// An attribute of a device.
pub(crate) fn attribute(device: CUdevice, attribute: c_int) -> Result<c_int, DriverError> {
    let mut value = 0;
    // SAFETY: the driver writes to a local, and checks the device.
    let code = unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) };
    check("cuDeviceGetAttribute", code)?;
    Ok(value)
}
