//! What PyTorch calls for the segments of a `MemPool`. PyTorch's own caching allocator is on top: a null
//! pointer makes it free its cache, try again, and raise its own error.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;
use vmem::vmem_stream;

use super::ALIGNMENT;
#[cfg(unix)]
use super::aside;
use crate::calls::{self, Wanted};
use crate::error::Refusal;
use crate::exit;

/// The text of the last segment that was refused, of any thread: PyTorch's own error does not have it.
static LAST_REFUSAL: ArcSwapOption<String> = ArcSwapOption::const_empty();

/// Allocates a segment; null for 0 bytes and for what is refused. Never throws. Reclaimers in Python are
/// not asked: PyTorch holds a lock of its own while it calls.
///
/// # Safety
/// The stream exists during the call.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_gpu_torch_pool_allocate(
    size: isize,
    device: c_int,
    stream: vmem_stream,
) -> *mut c_void {
    let Ok(size @ 1..) = u64::try_from(size) else { return std::ptr::null_mut() };
    let stream = stream.expose_provenance();
    let wanted = Wanted { size, alignment: ALIGNMENT, device, stream, tag: None };
    let call = || {
        // SAFETY: the caller's promise.
        let result = calls::marked(false, || unsafe { segment(wanted) });
        result.unwrap_or_else(|refusal| {
            LAST_REFUSAL.store(Some(Arc::new(refusal.text)));
            0
        })
    };
    calls::pointer(catch_unwind(AssertUnwindSafe(call)).unwrap_or(0))
}

/// A segment of a stream. PyTorch asks for segments in a capture too, when only what is at hand could be had on
/// the stream: such a segment has no past that anybody would have to wait for.
///
/// # Safety
/// The stream exists during the call.
unsafe fn segment(wanted: Wanted<'_>) -> Result<usize, Refusal> {
    #[cfg(unix)]
    {
        calls::ensure_open(wanted.device)?;
        // SAFETY: the caller's promise.
        if unsafe { aside::is_capturing(wanted.device, wanted.stream) }? {
            return aside::allocate(wanted);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { calls::allocate(wanted, true) }
}

/// Frees a segment. `stream` is the one it was allocated on, and may have been destroyed.
///
/// # Safety
/// Work that uses the segment is ordered before what follows on `stream`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_gpu_torch_pool_free(
    ptr: *mut c_void,
    _size: isize,
    _device: c_int,
    stream: vmem_stream,
) {
    if exit::has_begun() {
        return;
    }
    // SAFETY: the caller's promise. PyTorch cannot be told of a failure.
    let _ = unsafe { vmem::vmem_free(ptr, stream) };
}

/// The text of the last segment that was refused, if any was.
#[pyfunction]
pub(crate) fn torch_last_refusal() -> Option<String> {
    LAST_REFUSAL.load().as_ref().map(|text| String::clone(text))
}
