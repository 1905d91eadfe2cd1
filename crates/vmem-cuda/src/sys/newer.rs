//! Functions newer than the floor, looked up with the version of the prototype used.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use super::{CUcontext, CUstream, Code, cuDriverGetVersion, cuGetProcAddress};

/// The functions of the driver that are looked up when a program runs: name, and version of the
/// prototype. Without them vmem does with what the [required](super::REQUIRED_SYMBOLS) ones know.
pub const LOOKED_UP_SYMBOLS: &[(&str, u32)] =
    &[("cuStreamGetCtx", 12_050), ("cuStreamGetId", 12_000)];

/// `cuStreamGetCtx` since CUDA 12.5: the context, and the green context if the stream is of one.
type StreamGetCtxV2 = unsafe extern "C" fn(
    stream: CUstream,
    context: *mut CUcontext,
    green_context: *mut *mut c_void,
) -> Code;

/// That function, if the driver has it.
pub(crate) fn stream_get_ctx_v2() -> Option<StreamGetCtxV2> {
    static FOUND: OnceLock<Option<StreamGetCtxV2>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let function = look_up(c"cuStreamGetCtx", 12_050)?;
        // SAFETY: the driver was asked for the version of the function that has this prototype, and
        // knows that version.
        Some(unsafe { std::mem::transmute::<*mut c_void, StreamGetCtxV2>(function) })
    })
}

/// `cuStreamGetId`, since CUDA 12.0.
type StreamGetId = unsafe extern "C" fn(stream: CUstream, id: *mut u64) -> Code;

/// That function, if the driver has it.
pub(crate) fn stream_get_id() -> Option<StreamGetId> {
    static FOUND: OnceLock<Option<StreamGetId>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let function = look_up(c"cuStreamGetId", 12_000)?;
        // SAFETY: the driver was asked for the version of the function that has this prototype, and
        // knows that version.
        Some(unsafe { std::mem::transmute::<*mut c_void, StreamGetId>(function) })
    })
}

/// The function as `version` has it. A driver older than that would answer with an older prototype,
/// so it is not asked.
fn look_up(name: &CStr, version: c_int) -> Option<*mut c_void> {
    let mut known = 0;
    // SAFETY: the driver writes to a local.
    let code = unsafe { cuDriverGetVersion(&raw mut known) };
    if code != Code::SUCCESS || known < version {
        return None;
    }
    let mut function = ptr::null_mut();
    // SAFETY: the name is a C string, and the driver writes the address to a local.
    let code = unsafe { cuGetProcAddress(name.as_ptr(), &raw mut function, version, 0) };
    (code == Code::SUCCESS && !function.is_null()).then_some(function)
}
