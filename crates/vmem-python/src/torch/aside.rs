//! A stream of our own on each device. Memory that a graph needs is allocated on it: on a stream that captures
//! only what is at hand can be had, and PyTorch empties its cache before a capture.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use vmem::vmem_status;
use vmem_core::author::{StreamExt, fork};
use vmem_core::{Device, RawStream, Stream};
use vmem_cuda::CudaDevice;

use crate::calls::{self, Wanted, pointer};
use crate::error::{Refusal, check};

/// Kept for good: each is held in the library.
static STREAMS: Mutex<BTreeMap<i32, Stream>> = Mutex::new(BTreeMap::new());

fn of(device: i32) -> Result<Stream, Refusal> {
    let mut all = fork::locked(|| STREAMS.lock());
    if let Some(stream) = all.get(&device) {
        return Ok(stream.clone());
    }
    let ordinal = u32::try_from(device).map_err(Refusal::internal)?;
    let opened: Arc<dyn Device> = CudaDevice::open(ordinal).map_err(Refusal::internal)?;
    let stream = Stream::new(opened).map_err(Refusal::internal)?;
    all.insert(device, stream.clone());
    Ok(stream)
}

/// Whether a stream of the device captures.
///
/// # Safety
/// The stream exists during the call.
pub(super) unsafe fn is_capturing(device: i32, stream: usize) -> Result<bool, Refusal> {
    let own = of(device)?;
    // SAFETY: the caller's promise.
    let captures = unsafe { own.device().is_capturing(RawStream(stream as u64)) };
    captures.map_err(Refusal::internal)
}

/// Allocates on the stream that is wanted or, if it captures and nothing is at hand, [aside](allocate).
///
/// # Safety
/// The stream exists during the call.
pub(super) unsafe fn allocate_for(wanted: Wanted<'_>) -> Result<usize, Refusal> {
    // SAFETY: the caller's promise.
    let result = unsafe { calls::allocate(wanted, true) };
    match result {
        Err(refusal) if refusal.status == vmem_status::VMEM_ERROR_CAPTURING => allocate(wanted),
        other => other,
    }
}

/// Allocates memory whose past is over: any stream can use it, in a capture too, at once. Waits for what used it
/// before, on the host, in a way that breaks no capture.
pub(super) fn allocate(wanted: Wanted<'_>) -> Result<usize, Refusal> {
    calls::ensure_open(wanted.device)?;
    let stream = of(wanted.device)?;
    let handle = pointer(usize::try_from(stream.raw().0).map_err(Refusal::internal)?);
    // Again for each time that the device was opened.
    // SAFETY: it is never destroyed.
    check(unsafe { vmem::vmem_hold_stream(wanted.device, handle) })?;
    // SAFETY: as above.
    let address =
        unsafe { calls::allocate(Wanted { stream: handle.expose_provenance(), ..wanted }, false) }?;
    stream.synchronize_alone().map_err(|error| {
        // SAFETY: nobody has it.
        let _ = unsafe { vmem::vmem_free(pointer(address), handle) };
        Refusal::internal(error)
    })?;
    Ok(address)
}
