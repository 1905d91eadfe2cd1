//! vmem as PyTorch's allocator for everything: what its pluggable allocator calls.
//!
//! PyTorch calls from any thread, with the interpreter's lock or without. It holds none of its own meanwhile,
//! so that reclaimers in Python are asked, but for memory of a graph that is captured. A free never waits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use vmem::{vmem_options, vmem_status, vmem_stream};

use super::graphs::{self, PoolId};
use super::{ALIGNMENT, aside, pooled};
use crate::allocation::block_at;
use crate::calls::{self, Wanted, pointer};
use crate::error::{Refusal, check};
use crate::exit;
use crate::stats::Stats;

/// In C.
mod shim {
    use std::ffi::{c_char, c_int, c_void};

    use vmem::vmem_stream;

    unsafe extern "C" {
        pub(super) fn vmem_gpu_torch_prepare() -> *const c_char;
    }
    // Their addresses are all that is used of these: they throw.
    unsafe extern "C-unwind" {
        pub(super) fn vmem_gpu_torch_allocate(
            size: isize,
            device: c_int,
            stream: vmem_stream,
        ) -> *mut c_void;
        pub(super) fn vmem_gpu_torch_set_fraction(fraction: f64, device: c_int);
    }
}

thread_local! {
    /// The text of the thread's last refusal, for the shim to throw.
    static TEXT: RefCell<CString> = RefCell::default();
}

/// How many devices PyTorch has.
static DEVICES: AtomicI32 = AtomicI32::new(0);

/// `PyGILState_Check`, which is no part of Python's stable ABI: the address is Python's own answer, 0 for none.
static HOLDS_LOCK: AtomicUsize = AtomicUsize::new(0);

/// Whether the thread has the interpreter's lock.
fn holds_lock() -> bool {
    let address = HOLDS_LOCK.load(Ordering::Relaxed);
    if address == 0 || exit::has_begun() {
        return false;
    }
    // SAFETY: `torch_hooks` got it from the interpreter, which is not at its end.
    let ask = unsafe { std::mem::transmute::<usize, extern "C" fn() -> c_int>(address) };
    ask() != 0
}

/// Calls without the interpreter's lock: nobody waits for memory with it, as reclaimers need it.
fn without_lock<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    match holds_lock() {
        true => Python::attach(|py| py.detach(call)),
        false => call(),
    }
}

/// Keeps a text for the shim.
fn keep(text: String) -> *const c_char {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    TEXT.with_borrow_mut(|kept| {
        *kept = text;
        kept.as_ptr()
    })
}

fn panicked<T>(_: T) -> Refusal {
    Refusal::internal("vmem_gpu panicked")
}

/// Allocates. Null and `ptr` written, or why not.
///
/// # Safety
/// The stream exists during the call; `ptr` and `is_exhausted` may be written to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_gpu_torch_try_allocate(
    size: usize,
    device: c_int,
    stream: vmem_stream,
    ptr: *mut *mut c_void,
    is_exhausted: *mut c_int,
) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { ptr.write(std::ptr::null_mut()) };
    if size == 0 {
        return null();
    }
    let (size, handle) = (size as u64, stream.expose_provenance());
    let wanted = Wanted { size, alignment: ALIGNMENT, device, stream: handle, tag: None };
    let call = || without_lock(|| allocate(wanted));
    match catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(panic))) {
        Ok(address) => {
            // SAFETY: the caller's promise.
            unsafe { ptr.write(pointer(address)) };
            null()
        }
        Err(refusal) => {
            let exhausted = refusal.is_exhaustion();
            // SAFETY: the caller's promise.
            unsafe { is_exhausted.write(exhausted.into()) };
            // Programs over PyTorch look for these words.
            let said = if exhausted { "CUDA out of memory. " } else { "" };
            keep(format!("{said}{}", refusal.text))
        }
    }
}

fn allocate(wanted: Wanted<'_>) -> Result<usize, Refusal> {
    // SAFETY: PyTorch's current stream exists.
    if let Some(pool) = unsafe { graphs::pool_of(wanted.device, wanted.stream) }? {
        return calls::marked(false, || graphs::allocate(pool, wanted));
    }
    pooled::hold(wanted.device, wanted.stream);
    // SAFETY: as above.
    let ask = || calls::marked(true, || unsafe { aside::allocate_for(wanted) });
    ask().or_else(|refusal| match refusal.is_of_the_moment() && wait_for_all(wanted.device) {
        true => ask(),
        false => Err(refusal),
    })
}

/// Waits for the device if that can make memory usable, and no graph of PyTorch's is being captured, which it
/// would break. PyTorch's own allocator does so too before it gives up.
fn wait_for_all(device: i32) -> bool {
    let waits =
        Stats::of(device).is_ok_and(|stats| stats.reserved.is_none_or(|held| held > stats.bytes));
    waits && !graphs::is_capturing(device) && check(vmem::vmem_synchronize(device)).is_ok()
}

/// Frees, in the order of the stream that it was allocated on, which may have been destroyed.
///
/// # Safety
/// Work that uses the block is ordered before what follows on the stream, or was recorded.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vmem_gpu_torch_free(
    ptr: *mut c_void,
    _size: isize,
    _device: c_int,
    stream: vmem_stream,
) {
    if exit::has_begun() || graphs::free(ptr.expose_provenance()) {
        return;
    }
    // SAFETY: the caller's promise. PyTorch frees in destructors, and cannot be told of a failure.
    let _ = unsafe { vmem::vmem_free(ptr, stream) };
}

/// Notes that a stream uses a block until it is freed, as PyTorch's own allocator takes it: programs say so
/// before they queue the work. What cannot be marked then, because the stream is none of PyTorch's and not held
/// either, makes the block wait for the device; a graph that is being captured keeps what it uses, or its caller
/// does.
extern "C" fn record_stream(ptr: *mut c_void, stream: vmem_stream) {
    let address = ptr.expose_provenance();
    if exit::has_begun() || graphs::record_use(address) {
        return;
    }
    let stream = stream.expose_provenance();
    let call = || {
        if let Ok((_, _, device, _)) = block_at(address) {
            pooled::hold(device, stream);
        }
        // SAFETY: PyTorch's stream exists.
        unsafe { vmem::vmem_use_until_free(pointer(address), pointer(stream)) }
    };
    let _ = catch_unwind(AssertUnwindSafe(|| without_lock(call)));
}

/// The block that an address lies in: where it starts, and its size.
///
/// # Safety
/// `size` is null or may be written to.
unsafe extern "C" fn base_of(ptr: *mut c_void, size: *mut usize) -> *mut c_void {
    let (base, bytes) = match block_at(ptr.expose_provenance()) {
        Ok((base, bytes, ..)) => (pointer(base), usize::try_from(bytes).unwrap_or(usize::MAX)),
        Err(_) => (ptr, 0),
    };
    if !size.is_null() {
        // SAFETY: the caller's promise.
        unsafe { size.write(bytes) };
    }
    base
}

/// PyTorch says how many devices it has.
extern "C" fn init(devices: c_int) {
    DEVICES.fetch_max(devices, Ordering::Relaxed);
}

/// `torch.cuda.empty_cache`: returns all free memory to the devices that are open.
extern "C" fn empty_cache() {
    if exit::has_begun() {
        return;
    }
    let empty = || {
        for device in 0..DEVICES.load(Ordering::Relaxed) {
            wait_for_all(device);
            // SAFETY: null is nothing to write to. A device that is not open has nothing.
            let _ = unsafe { vmem::vmem_wait_and_trim(device, std::ptr::null_mut()) };
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(|| without_lock(|| calls::marked(true, empty))));
}

/// `torch.cuda.set_per_process_memory_fraction`: opens the device with the limit. Null, or why not.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vmem_gpu_torch_try_set_fraction(
    fraction: f64,
    device: c_int,
) -> *const c_char {
    let call = || without_lock(|| set_fraction(fraction, device));
    match catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(panic))) {
        Ok(()) => null(),
        Err(refusal) => keep(refusal.text),
    }
}

fn set_fraction(fraction: f64, device: i32) -> Result<(), Refusal> {
    // PyTorch has seen to it that it is between 0 and 1, whose percentage is a small whole number.
    let percent = format!("{:.0}%", (fraction * 100.0 + 1e-6).floor());
    let settings = calls::settings_with("VMEM_POOL_LIMIT", &percent);
    let settings = CString::new(settings).map_err(Refusal::internal)?;
    let options = vmem_options {
        struct_size: size_of::<vmem_options>(),
        prefix: null(),
        config: settings.as_ptr(),
        on_failed_setup: 0,
        footprint: 0,
    };
    // SAFETY: a struct of its size, and C strings.
    let opened = check(unsafe { vmem::vmem_open(device, &raw const options) });
    opened.map_err(|refusal| match refusal.status {
        vmem_status::VMEM_ERROR_ALREADY_OPEN => refusal.and(
            "the fraction must be set before the first tensor on the device, or the limit by \
             VMEM_POOL_LIMIT",
        ),
        _ => refusal,
    })
}

/// A capture is about to begin. The filter, a `std::function` that is passed by its address, is not called.
extern "C" fn begin_pool(device: c_int, id: PoolId, _filter: *const c_void) {
    graphs::begin(device, id);
}

extern "C" fn end_pool(device: c_int, id: PoolId) {
    graphs::end(device, id);
}

extern "C" fn release_pool(_device: c_int, id: PoolId) {
    graphs::release(id);
}

/// The addresses of all that PyTorch calls, by the names of its setters, after a look at what throwing takes.
/// `holds_lock` is the address of `PyGILState_Check`; `pooled_streams` lists the handles of PyTorch's pooled
/// streams of a device.
#[pyfunction]
pub(crate) fn torch_hooks(
    holds_lock: usize,
    pooled_streams: Py<PyAny>,
) -> PyResult<BTreeMap<&'static str, usize>> {
    // SAFETY: it only looks for symbols.
    let lacking = unsafe { shim::vmem_gpu_torch_prepare() };
    if !lacking.is_null() {
        // SAFETY: a text of the shim's.
        let lacking = unsafe { CStr::from_ptr(lacking) }.to_string_lossy();
        return Err(PyRuntimeError::new_err(format!("libstdc++ of this process lacks {lacking}")));
    }
    HOLDS_LOCK.store(holds_lock, Ordering::Relaxed);
    pooled::listed_by(pooled_streams);
    Ok(BTreeMap::from([
        ("allocate", shim::vmem_gpu_torch_allocate as *const () as usize),
        ("free", vmem_gpu_torch_free as *const () as usize),
        ("try_allocate", vmem_gpu_torch_try_allocate as *const () as usize),
        ("set_init_fn", init as *const () as usize),
        ("set_reset_fn", empty_cache as *const () as usize),
        ("set_memory_fraction_fn", shim::vmem_gpu_torch_set_fraction as *const () as usize),
        ("set_base_alloc_fn", base_of as *const () as usize),
        ("set_record_stream_fn", record_stream as *const () as usize),
        ("set_begin_allocate_to_pool", begin_pool as *const () as usize),
        ("set_end_allocate_to_pool_fn", end_pool as *const () as usize),
        ("set_release_pool", release_pool as *const () as usize),
    ]))
}
