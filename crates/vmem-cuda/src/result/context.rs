//! Contexts.

use std::ptr;

use vmem_core::DriverError;

use super::check;
use crate::sys::{self, CUcontext, CUdevice};

/// Retains a device's primary context.
pub(crate) fn retain_primary(device: CUdevice) -> Result<CUcontext, DriverError> {
    let mut context = ptr::null_mut();
    // SAFETY: the driver writes to a local, and checks the device.
    let code = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, device) };
    check("cuDevicePrimaryCtxRetain", code)?;
    Ok(context)
}

/// Releases a device's primary context.
///
/// # Safety
/// It was retained, and is used no more on the strength of that.
pub(crate) unsafe fn release_primary(device: CUdevice) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuDevicePrimaryCtxRelease_v2(device) };
    check("cuDevicePrimaryCtxRelease", code)
}

/// The calling thread's current context; null if it has none.
pub(crate) fn current() -> Result<CUcontext, DriverError> {
    let mut context = ptr::null_mut();
    // SAFETY: the driver writes to a local.
    check("cuCtxGetCurrent", unsafe { sys::cuCtxGetCurrent(&raw mut context) })?;
    Ok(context)
}

/// Makes a context current to the calling thread, above those that are.
///
/// # Safety
/// The context is valid.
pub(crate) unsafe fn push(context: CUcontext) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuCtxPushCurrent", unsafe { sys::cuCtxPushCurrent_v2(context) })
}

/// Takes the calling thread's current context away.
pub(crate) fn pop() -> Result<(), DriverError> {
    let mut context = ptr::null_mut();
    // SAFETY: the driver writes to a local.
    check("cuCtxPopCurrent", unsafe { sys::cuCtxPopCurrent_v2(&raw mut context) })
}

/// Waits for all work of the current context.
pub(crate) fn synchronize() -> Result<(), DriverError> {
    // SAFETY: no arguments.
    check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })
}
