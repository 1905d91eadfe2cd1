//! Streams.

use std::ffi::c_int;
use std::ptr;

use vmem_core::{Completion, DriverError, RawEvent, RawStream};

use super::{check, completion, event};
use crate::sys::{self, CUcontext, CUstream, Code};

/// The driver's form of a handle. The default streams' handles are small numbers, not addresses.
pub(crate) fn handle(stream: RawStream) -> CUstream {
    ptr::with_exposed_provenance_mut(super::size(stream.0))
}

/// Creates a stream that does not synchronise with the legacy default stream.
pub(crate) fn create() -> Result<RawStream, DriverError> {
    let mut stream = ptr::null_mut();
    let flags = sys::CU_STREAM_NON_BLOCKING;
    // SAFETY: the driver writes to a local.
    check("cuStreamCreate", unsafe { sys::cuStreamCreate(&raw mut stream, flags) })?;
    Ok(RawStream(stream.expose_provenance() as u64))
}

/// Destroys a stream.
///
/// # Safety
/// It is valid and not used again.
pub(crate) unsafe fn destroy(stream: RawStream) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuStreamDestroy", unsafe { sys::cuStreamDestroy_v2(handle(stream)) })
}

/// Whether all work queued on it has completed.
///
/// # Safety
/// It is valid and callable from this thread.
pub(crate) unsafe fn query(stream: RawStream) -> Result<Completion, DriverError> {
    // SAFETY: the caller's promise.
    completion("cuStreamQuery", unsafe { sys::cuStreamQuery(handle(stream)) })
}

/// Waits for all work queued on it.
///
/// # Safety
/// It is valid and callable from this thread.
pub(crate) unsafe fn synchronize(stream: RawStream) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(handle(stream)) })
}

/// Makes its later work wait for an event.
///
/// # Safety
/// Both are valid, the stream is callable from this thread.
pub(crate) unsafe fn wait(stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuStreamWaitEvent(handle(stream), event::handle(event), 0) };
    check("cuStreamWaitEvent", code)
}

/// The context that a stream is of; null if it is of a green context.
///
/// # Safety
/// The stream is valid.
pub(crate) unsafe fn context(stream: RawStream) -> Result<CUcontext, DriverError> {
    let stream = handle(stream);
    let mut context = ptr::null_mut();
    let mut green = ptr::null_mut();
    let code = match sys::stream_get_ctx_v2() {
        // SAFETY: the caller's promise; the driver writes to locals.
        Some(get) => unsafe { get(stream, &raw mut context, &raw mut green) },
        // SAFETY: as above.
        None => unsafe { sys::cuStreamGetCtx(stream, &raw mut context) },
    };
    check("cuStreamGetCtx", code)?;
    Ok(if green.is_null() { context } else { ptr::null_mut() })
}

/// Whether nothing may be queued on a stream but what a capture takes.
///
/// # Safety
/// It is valid and callable from this thread.
pub(crate) unsafe fn is_capturing(stream: RawStream) -> Result<bool, DriverError> {
    let mut status: c_int = 0;
    // SAFETY: the caller's promise; the driver writes to a local.
    let code = unsafe { sys::cuStreamIsCapturing(handle(stream), &raw mut status) };
    if code == Code::STREAM_CAPTURE_IMPLICIT {
        // The legacy default stream, while a stream that synchronises with it captures: work on it
        // would become part of that capture.
        return Ok(true);
    }
    check("cuStreamIsCapturing", code)?;
    // Active or invalidated: either way the capture has not ended.
    Ok(status != 0)
}

/// The number that no other stream of the process ever has; none from a driver that knows none.
///
/// # Safety
/// The stream is valid, callable from this thread, and does not capture.
pub(crate) unsafe fn id(stream: RawStream) -> Result<Option<u64>, DriverError> {
    let Some(get) = sys::stream_get_id() else { return Ok(None) };
    let mut id = 0;
    // SAFETY: the caller's promise; the driver writes to a local.
    check("cuStreamGetId", unsafe { get(handle(stream), &raw mut id) })?;
    Ok(Some(id))
}

/// Sets how the calling thread's calls treat captures, and returns how they did.
pub(crate) fn exchange_capture_mode(mode: c_int) -> Result<c_int, DriverError> {
    let mut mode = mode;
    // SAFETY: the driver reads and writes a local.
    let code = unsafe { sys::cuThreadExchangeStreamCaptureMode(&raw mut mode) };
    check("cuThreadExchangeStreamCaptureMode", code)?;
    Ok(mode)
}

/// Calls that are unsafe in a capture are allowed while others capture.
pub(crate) const RELAXED: c_int = sys::CU_STREAM_CAPTURE_MODE_RELAXED;
