//! One device for both libraries.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::CudaContext;
use vmem_core::{DriverCode, DriverError};
use vmem_cuda::{CudaDevice, OpenError, driver};

use crate::error::driver_error;

const CALL: &str = "vmem_cudarc::open";

/// vmem's device for a context of cudarc's, which must be a device's primary one: that of
/// [`CudaContext::new`].
///
/// The context stays cudarc's too. Both libraries retain the primary context, once each, and it ends
/// when both have released it, in either order.
///
/// # Errors
/// Those of [`CudaDevice::open`];
/// [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) if the context is not the device's primary one, or
/// if the two libraries have loaded two drivers, of two files; what cudarc answers, an error that an
/// earlier call left with the context included.
pub fn open(context: &Arc<CudaContext>) -> Result<Arc<CudaDevice>, OpenError> {
    let refuse = |detail| DriverError::new(CALL, DriverCode::INVALID_CONTEXT).with_detail(detail);
    let ordinal = u32::try_from(context.ordinal()).unwrap_or(u32::MAX);
    let device = CudaDevice::open(ordinal)?;
    if !ptr::eq(device.raw_context(), context.cu_ctx().cast()) {
        return Err(refuse("the context is not its device's primary one").into());
    }
    // What one of them makes current is current to the other only if they have one driver.
    context.bind_to_thread().map_err(|error| driver_error(CALL, error))?;
    if !ptr::eq(current()?, device.raw_context()) {
        return Err(refuse("cudarc has loaded another file as its driver than vmem").into());
    }
    Ok(device)
}

/// The context that is current to this thread, in vmem's driver.
fn current() -> Result<*mut c_void, OpenError> {
    type GetCurrent = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
    const GET: &str = "cuCtxGetCurrent";
    let missing = || DriverError::new(GET, DriverCode::NOT_SUPPORTED);
    let found = driver()?.symbol(c"cuCtxGetCurrent").ok_or_else(missing)?;
    // SAFETY: this is the function's prototype in `cuda.h`.
    let get = unsafe { std::mem::transmute::<*mut c_void, GetCurrent>(found.as_ptr()) };
    let mut context = ptr::null_mut();
    // SAFETY: the driver writes to a local.
    let code = unsafe { get(&raw mut context) };
    match u32::try_from(code) {
        Ok(0) => Ok(context),
        code => Err(DriverError::new(GET, DriverCode(code.unwrap_or(u32::MAX))).into()),
    }
}
