//! Allocating.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use serde_json::json;
use vmem_core::{
    AllocError, Block, BlockLayout, Label, LayoutError, MemoryEventKind, RawStream, Request, Stream,
};

use crate::abi::{place, pointer, text};
use crate::boundary::guard;
use crate::callback;
use crate::instance::{Instance, open_device};
use crate::recording;
use crate::status::{Failure, vmem_status};
use crate::streams::normal;
use crate::table::{self, Live};

/// A stream: a `CUstream` or `cudaStream_t`, which convert to it. The values 0 and 1 are the legacy default
/// stream, 2 is the calling thread's default stream, whatever a program was built with.
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub type vmem_stream = *mut c_void;

/// The legacy default stream.
pub const VMEM_STREAM_LEGACY: usize = 1;
/// The calling thread's default stream.
pub const VMEM_STREAM_PER_THREAD: usize = 2;

/// A stream as the driver's calls take it.
pub(crate) fn handle(stream: vmem_stream) -> RawStream {
    RawStream(stream.expose_provenance() as u64)
}

/// Allocates `size` bytes of device memory, aligned to `alignment` bytes (a power of two, at most 2 MiB;
/// 0 for 256), for use in the order of `stream`: by work queued on it after this call returned, and by work
/// ordered after that point.
///
/// The caller vouches for the stream: it exists, and is not destroyed during the call. `tag` names what
/// the memory is for in statistics, and may be null; tags should come from a bounded set. 0 bytes are a
/// null pointer, which can be freed.
///
/// # Safety
/// The stream is valid during the call; `tag` is null or ends with a zero; `ptr` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_allocate(
    size: u64,
    alignment: u64,
    device: i32,
    stream: vmem_stream,
    tag: *const c_char,
    ptr: *mut *mut c_void,
) -> vmem_status {
    guard("vmem_allocate", || {
        let ptr = place(ptr, "ptr")?;
        // SAFETY: the caller's promise.
        unsafe { ptr.put(std::ptr::null_mut()) };
        let open = open_device(device)?;
        let Some(instance) = &*open else { return Ok(()) };
        if size == 0 {
            return Ok(());
        }
        let alignment = if alignment == 0 { BlockLayout::DEFAULT_ALIGNMENT } else { alignment };
        let layout = BlockLayout::with_alignment(size, alignment).map_err(refused_layout)?;
        // SAFETY: the caller's promise.
        let label = match unsafe { text(tag, "tag") }? {
            Some(tag) => Label::intern(tag),
            None => Label::current(),
        };
        // SAFETY: the caller's promise.
        let address = unsafe { allocate(instance, layout, handle(stream), label) }?;
        // SAFETY: the caller's promise.
        unsafe { ptr.put(address) };
        Ok(())
    })
}

fn refused_layout(error: LayoutError) -> Failure {
    let status = match error {
        LayoutError::SizeTooLarge { .. } => vmem_status::VMEM_ERROR_NEVER_FITS,
        _ => vmem_status::VMEM_ERROR_INVALID_ARGUMENT,
    };
    Failure::new(status, error.to_string())
}

/// So often a stream is named anew that other threads hold or forget while it is allocated on.
const NAMINGS: usize = 16;

/// # Safety
/// The handle names a stream that is not destroyed during the call.
unsafe fn allocate(
    instance: &Arc<Instance>,
    layout: BlockLayout,
    handle: RawStream,
    label: Label,
) -> Result<*mut c_void, Failure> {
    // SAFETY: the caller's promise.
    let mut named = unsafe { instance.streams.name(handle) }?;
    let mut result = named.vouched(|| ask(instance, layout, &named.stream, label));
    for _ in 1..NAMINGS {
        if result.is_ok() || !named.stream.is_retired() {
            break;
        }
        // The caller vouches for the stream, which is another one to the library from now on.
        instance.streams.know_no_more(normal(handle), &named.stream);
        drop(named);
        // SAFETY: the caller's promise.
        named = unsafe { instance.streams.name(handle) }?;
        result = named.vouched(|| ask(instance, layout, &named.stream, label));
    }
    let kind = match &result {
        Ok(block) => MemoryEventKind::Allocate { ptr: block.ptr(), layout },
        Err(_) => MemoryEventKind::Failure { layout },
    };
    recording::tell(instance, kind, &named.stream, label);
    let block = result.map_err(|error| {
        Failure::from(error).with(
            "request",
            json!({
                "size": layout.size(), "alignment": layout.alignment(),
                "device": instance.ordinal, "stream": handle.0, "tag": label.as_str(),
            }),
        )
    })?;
    let raw = block.into_raw();
    let (stream, handle) = (named.stream, normal(handle));
    table::enter(Live { raw, instance: instance.clone(), stream, handle, uses: None });
    Ok(pointer(raw.ptr().get()))
}

fn ask(
    instance: &Instance,
    layout: BlockLayout,
    stream: &Stream,
    label: Label,
) -> Result<Block, AllocError> {
    let request = Request::new(layout, stream).with_label(label);
    let request = if callback::is_running() { request.without_retry() } else { request };
    instance.resource.allocate(&request)
}
