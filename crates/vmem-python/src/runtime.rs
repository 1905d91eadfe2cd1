//! Devices: opening them, and what is asked of one as a whole.

use std::ffi::{CString, c_char, c_int, c_void};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use vmem::vmem_options;

use crate::allocation::{Allocation, Own, allocate};
use crate::calls::{self, pointer};
use crate::error::{Filled, Refusal, check};
use crate::stats::{Stats, Usage};
use crate::{exit, reclaim, streams};

/// How many devices the driver sees.
#[pyfunction]
pub(crate) fn device_count(py: Python<'_>) -> PyResult<i32> {
    let mut count = 0;
    // SAFETY: a local to write to.
    let counted = py.detach(|| check(unsafe { vmem::vmem_device_count(&raw mut count) }));
    counted.map_err(|refusal| refusal.raise(py))?;
    Ok(count)
}

/// Opens a device by its number. `config` has settings as `NAME=VALUE` in place of the environment's
/// variables, whose names begin with `prefix` (`VMEM`). Where the configured stack cannot be built, the
/// fallback is, unless `fallback` is false. `footprint` is `"tight"`, or `"lazy"` to move memory only where no more is to be had.
#[pyfunction]
#[pyo3(signature = (device=0, config=None, *, prefix=None, fallback=true, footprint="tight"))]
pub(crate) fn open(
    py: Python<'_>,
    device: i32,
    config: Option<CString>,
    prefix: Option<CString>,
    fallback: bool,
    footprint: &str,
) -> PyResult<Runtime> {
    let footprint = match footprint {
        "lazy" => 1,
        "tight" => 2,
        other => {
            return Err(PyValueError::new_err(format!(
                "footprint is {other:?}; accepted: 'lazy', 'tight'"
            )));
        }
    };
    calls::call(py, || {
        let text = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
        let options = vmem_options {
            struct_size: size_of::<vmem_options>(),
            prefix: text(&prefix),
            config: text(&config),
            on_failed_setup: u32::from(!fallback),
            footprint,
        };
        // SAFETY: a struct of its size, and C strings.
        unsafe { vmem::vmem_open(device, &raw const options) }
    })?;
    Ok(Runtime { device })
}

/// The runtime of a device, which is opened by the environment's settings if it is not open.
#[pyfunction]
#[pyo3(signature = (device=0))]
pub(crate) fn runtime(py: Python<'_>, device: i32) -> PyResult<Runtime> {
    let opened = py.detach(|| calls::ensure_open(device));
    opened.map_err(|refusal| refusal.raise(py))?;
    Ok(Runtime { device })
}

/// An open device. Every object for a device is about the same one; the process has one for each.
#[pyclass(frozen, eq, hash, module = "vmem_gpu")]
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Runtime {
    #[pyo3(get)]
    device: i32,
}

#[pymethods]
impl Runtime {
    /// Allocates `size` bytes for use in the order of `stream`. 0 for the usual alignment of 256 bytes.
    #[pyo3(signature = (size, *, stream=None, alignment=0, tag=None))]
    fn allocate(
        &self,
        py: Python<'_>,
        size: u64,
        stream: Option<&Bound<'_, PyAny>>,
        alignment: u64,
        tag: Option<CString>,
    ) -> PyResult<Allocation> {
        let stream = streams::named(stream)?;
        let own = Own { size, alignment, device: self.device, open: false };
        own.allocate(py, stream, tag, None)
    }

    /// The same without an owner: the address, which is to be given to `vmem_gpu.free`. 0 for 0 bytes.
    #[pyo3(signature = (size, *, stream=None, alignment=0, tag=None))]
    fn allocate_address(
        &self,
        py: Python<'_>,
        size: u64,
        stream: Option<&Bound<'_, PyAny>>,
        alignment: u64,
        tag: Option<CString>,
    ) -> PyResult<usize> {
        let handle = streams::named(stream)?.handle;
        allocate(py, false, size, alignment, self.device, handle, tag)
    }

    /// What the device's memory is used for.
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        calls::ask(py, || Stats::of(self.device))
    }

    /// What is in use under a tag; zeros for one that was never used.
    fn tag_usage(&self, py: Python<'_>, tag: CString) -> PyResult<Usage> {
        calls::ask(py, || Usage::of(self.device, &tag))
    }

    /// Makes what is in use now the peaks of the statistics.
    fn reset_peaks(&self, py: Python<'_>) -> PyResult<()> {
        calls::call(py, || vmem::vmem_reset_peaks(self.device))
    }

    /// Returns free memory to the device, and says how many bytes; with `wait`, after the frees that are
    /// pending.
    #[pyo3(signature = (*, wait=false))]
    fn trim(&self, py: Python<'_>, wait: bool) -> PyResult<u64> {
        let mut returned = 0;
        let device = self.device;
        calls::call(py, || match wait {
            // SAFETY: a local to write to.
            true => unsafe { vmem::vmem_wait_and_trim(device, &raw mut returned) },
            // SAFETY: as above.
            false => unsafe { vmem::vmem_trim(device, &raw mut returned) },
        })?;
        Ok(returned)
    }

    /// Moves the memory of live allocations to the host, at their addresses, so that the device has it for
    /// others: of those under `tag`, or of all. Without `keep` contents are given up, and nothing may touch
    /// the memory before `wake`. Waits for the whole device first; without `wait`, raises where work is
    /// pending. All that can move moves, or nothing. Returns the bytes of the device's memory that were
    /// given up. No work on the memory may be queued meanwhile.
    #[pyo3(signature = (tag=None, *, keep=true, wait=true))]
    fn sleep(&self, py: Python<'_>, tag: Option<CString>, keep: bool, wait: bool) -> PyResult<u64> {
        let discard = if keep { 0 } else { vmem::VMEM_REST_DISCARD };
        let device = self.device;
        calls::ask(py, || moved(vmem::vmem_sleep, device, tag.as_deref(), discard | no_wait(wait)))
    }

    /// Gives memory that rests back to the device, with its contents unless those were given up: all under
    /// `tag`, or all, or none of it. Returns the bytes of the device's memory that it took.
    #[pyo3(signature = (tag=None, *, wait=true))]
    fn wake(&self, py: Python<'_>, tag: Option<CString>, wait: bool) -> PyResult<u64> {
        let device = self.device;
        calls::ask(py, || moved(vmem::vmem_wake, device, tag.as_deref(), no_wait(wait)))
    }

    /// Keeps so many bytes of the host's memory ready for what goes to sleep, from now on. To make some takes
    /// long: see docs/residency.md.
    fn fill_host_reserve(&self, py: Python<'_>, bytes: u64) -> PyResult<()> {
        calls::call(py, || vmem::vmem_fill_host_reserve(self.device, bytes))
    }

    /// Waits for the whole device: all that was freed before can then be used by every stream.
    fn synchronize(&self, py: Python<'_>) -> PyResult<()> {
        calls::call(py, || vmem::vmem_synchronize(self.device))
    }

    /// Promises that a stream is not destroyed before it is forgotten.
    fn hold_stream(&self, py: Python<'_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
        let (device, handle) = (self.device, streams::named(Some(stream))?.handle);
        // SAFETY: the Python caller's promise.
        calls::call(py, || unsafe { vmem::vmem_hold_stream(device, pointer(handle)) })
    }

    /// Tells that a stream is about to be destroyed. Nothing after `atexit`.
    fn forget_stream(&self, py: Python<'_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
        if exit::has_begun() {
            return Ok(());
        }
        let (device, handle) = (self.device, streams::named(Some(stream))?.handle);
        // SAFETY: the Python caller names a stream that exists.
        calls::call(py, || unsafe { vmem::vmem_forget_stream(device, pointer(handle)) })
    }

    /// All that is known of the device, as the JSON that it is, read.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut json: Vec<u8> = Vec::new();
        let device = self.device;
        let to = (&raw mut json).expose_provenance();
        // SAFETY: the function below takes the list, which outlives the call.
        calls::call(py, || unsafe { vmem::vmem_snapshot(device, Some(collect), pointer(to)) })?;
        py.import("json")?.call_method1("loads", (json,))
    }

    /// Records what is allocated and freed into a new file, until the returned object's `stop`, or the end
    /// of a `with` statement on it. `vmem inspect`, `replay` and `convert` read the file, and convert it for PyTorch's
    /// memory_viz.
    fn record(&self, py: Python<'_>, path: std::path::PathBuf) -> PyResult<Recording> {
        let device = self.device;
        let path = CString::new(path.into_os_string().into_encoded_bytes())?;
        // SAFETY: a C string.
        calls::call(py, || unsafe { vmem::vmem_start_recording(device, path.as_ptr()) })?;
        Ok(Recording { device, events: std::sync::OnceLock::new() })
    }

    /// Has `function(wanted)` free what it can spare when a request would fail: it returns how many bytes it
    /// freed, or None for none. A decorator. Functions are asked in the order in which they were given.
    fn reclaimer(&self, py: Python<'_>, function: Py<PyAny>) -> PyResult<Py<PyAny>> {
        reclaim::add(py, self.device, function.clone_ref(py))?;
        Ok(function)
    }

    /// Takes a reclaimer away. Returns whether it was there.
    fn remove_reclaimer(&self, function: &Bound<'_, PyAny>) -> bool {
        reclaim::remove(self.device, function)
    }

    /// Closes the device: waits for it, and gives back what is free. Blocks that are live stay valid.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        calls::call(py, || vmem::vmem_close(self.device))?;
        reclaim::remove_all(self.device);
        Ok(())
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _exception: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        format!("<vmem_gpu.Runtime of device {}>", self.device)
    }
}

const fn no_wait(wait: bool) -> u32 {
    if wait { 0 } else { vmem::VMEM_REST_NO_WAIT }
}

type Rest =
    unsafe extern "C" fn(i32, *const c_char, u32, *mut vmem::vmem_moved) -> vmem::vmem_status;

/// What a call moved of the device's memory.
fn moved(
    call: Rest,
    device: i32,
    tag: Option<&std::ffi::CStr>,
    flags: u32,
) -> Result<u64, Refusal> {
    let tag = tag.map_or(std::ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: a C string, and a struct of its size; the Python caller's promise about the memory.
    let moved = vmem::vmem_moved::by(|moved| unsafe { call(device, tag, flags, moved) })?;
    Ok(moved.device)
}

/// Takes a piece of a text.
unsafe extern "C" fn collect(to: *mut c_void, bytes: *const c_char, len: usize) -> c_int {
    // SAFETY: the list that `snapshot` passes.
    let to = unsafe { &mut *to.cast::<Vec<u8>>() };
    // SAFETY: the library's text has so many bytes.
    to.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast(), len) });
    0
}

/// A recording in progress.
#[pyclass(frozen, module = "vmem_gpu")]
#[derive(Debug)]
pub(crate) struct Recording {
    device: i32,
    events: std::sync::OnceLock<u64>,
}

#[pymethods]
impl Recording {
    /// Ends it, and says how many events it has. Again, it says the same.
    fn stop(&self, py: Python<'_>) -> PyResult<u64> {
        if let Some(&events) = self.events.get() {
            return Ok(events);
        }
        let mut events = 0;
        let device = self.device;
        // SAFETY: a local to write to.
        calls::call(py, || unsafe { vmem::vmem_stop_recording(device, &raw mut events) })?;
        Ok(*self.events.get_or_init(|| events))
    }

    /// How many events it has, once it has ended.
    #[getter]
    fn events(&self) -> Option<u64> {
        self.events.get().copied()
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _exception: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<()> {
        self.stop(py).map(drop)
    }
}
