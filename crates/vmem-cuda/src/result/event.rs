//! Events.

use std::num::NonZeroU64;
use std::ptr;

use vmem_core::{Completion, DriverCode, DriverError, RawEvent, RawStream};

use super::{check, completion, stream};
use crate::sys::{self, CUevent};

/// The driver's form of a handle.
pub(crate) fn handle(event: RawEvent) -> CUevent {
    ptr::with_exposed_provenance_mut(super::size(event.0.get()))
}

/// Creates an event without timing.
pub(crate) fn create() -> Result<RawEvent, DriverError> {
    let mut event = ptr::null_mut();
    let flags = sys::CU_EVENT_DISABLE_TIMING;
    // SAFETY: the driver writes to a local.
    check("cuEventCreate", unsafe { sys::cuEventCreate(&raw mut event, flags) })?;
    let null = || DriverError::new("cuEventCreate", DriverCode::UNKNOWN).with_detail("null");
    NonZeroU64::new(event.expose_provenance() as u64).map(RawEvent).ok_or_else(null)
}

/// Destroys an event.
///
/// # Safety
/// It is valid and not used again.
pub(crate) unsafe fn destroy(event: RawEvent) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuEventDestroy", unsafe { sys::cuEventDestroy_v2(handle(event)) })
}

/// Records an event at a stream's tail.
///
/// # Safety
/// Both are valid, the stream is callable from this thread.
pub(crate) unsafe fn record(event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuEventRecord(handle(event), stream::handle(stream)) };
    check("cuEventRecord", code)
}

/// Whether the work before the event has completed.
///
/// # Safety
/// It is valid.
pub(crate) unsafe fn query(event: RawEvent) -> Result<Completion, DriverError> {
    // SAFETY: the caller's promise.
    completion("cuEventQuery", unsafe { sys::cuEventQuery(handle(event)) })
}

/// Waits for the work before the event.
///
/// # Safety
/// It is valid.
pub(crate) unsafe fn synchronize(event: RawEvent) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(handle(event)) })
}

/// Creates an event that keeps when it is reached.
pub(crate) fn create_timed() -> Result<RawEvent, DriverError> {
    let mut event = ptr::null_mut();
    // SAFETY: the driver writes to a local.
    check("cuEventCreate", unsafe { sys::cuEventCreate(&raw mut event, 0) })?;
    let null = || DriverError::new("cuEventCreate", DriverCode::UNKNOWN).with_detail("null");
    NonZeroU64::new(event.expose_provenance() as u64).map(RawEvent).ok_or_else(null)
}

/// How much later `end` was reached than `start`, in nanoseconds; the driver answers in milliseconds, to
/// about half a microsecond.
///
/// # Safety
/// Both are valid.
pub(crate) unsafe fn elapsed_ns(start: RawEvent, end: RawEvent) -> Result<i64, DriverError> {
    let mut milliseconds = 0.0;
    // SAFETY: the caller's promise; the driver writes to a local.
    let code =
        unsafe { sys::cuEventElapsedTime(&raw mut milliseconds, handle(start), handle(end)) };
    check("cuEventElapsedTime", code)?;
    #[expect(clippy::cast_possible_truncation, reason = "a float becomes the nearest whole number")]
    Ok((f64::from(milliseconds) * 1e6).round() as i64)
}
