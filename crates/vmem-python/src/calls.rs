//! Calls of the library from Python: without the interpreter's lock, and marked, so that reclaimers in
//! Python know when they may run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::c_void;

use pyo3::marker::Ungil;
use pyo3::prelude::*;
use vmem::vmem_status;

use crate::error::{Refusal, check};
use crate::exit;

thread_local! {
    /// Whether the thread is in a call of Python's that gave the interpreter's lock up.
    static FROM_PYTHON: Cell<bool> = const { Cell::new(false) };
    /// Whether reclaimers in Python were skipped since this was last looked at.
    static SKIPPED: Cell<bool> = const { Cell::new(false) };
}

/// Whether Python may be called by a callback on this thread.
pub(crate) fn may_call_python() -> bool {
    FROM_PYTHON.with(Cell::get) && !exit::has_begun()
}

/// Notes that reclaimers were not asked.
pub(crate) fn note_skipped() {
    SKIPPED.with(|skipped| skipped.set(true));
}

/// Whether reclaimers were skipped since the last time.
pub(crate) fn were_skipped() -> bool {
    SKIPPED.with(|skipped| skipped.replace(false))
}

/// Runs `call` with the mark as given, and restores it.
pub(crate) fn marked<T>(from_python: bool, call: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FROM_PYTHON.with(|mark| mark.set(self.0));
        }
    }
    let _restore = Restore(FROM_PYTHON.with(|mark| mark.replace(from_python)));
    call()
}

/// Calls the library without the interpreter's lock.
pub(crate) fn call<F>(py: Python<'_>, call: F) -> PyResult<()>
where
    F: FnOnce() -> vmem_status + Ungil + Send,
{
    ask(py, || check(call()))
}

/// The same for an answer.
pub(crate) fn ask<T, F>(py: Python<'_>, ask: F) -> PyResult<T>
where
    F: FnOnce() -> Result<T, Refusal> + Ungil + Send,
    T: Ungil + Send,
{
    py.detach(|| marked(true, ask)).map_err(|refusal| refusal.raise(py))
}

/// An address or a handle, as C has it.
pub(crate) fn pointer(number: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(number)
}

/// What to allocate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) size: u64,
    pub(crate) alignment: u64,
    pub(crate) device: i32,
    pub(crate) stream: usize,
    pub(crate) tag: Option<&'a std::ffi::CStr>,
}

/// Allocates; opens the device by the environment's settings if it is not open and `open` is set.
///
/// # Safety
/// The stream exists and is not destroyed during the call.
pub(crate) unsafe fn allocate(wanted: Wanted<'_>, open: bool) -> Result<usize, Refusal> {
    were_skipped();
    // SAFETY: the caller's promise.
    let mut result = unsafe { allocate_open(wanted) };
    let closed = vmem_status::VMEM_ERROR_NOT_OPEN;
    if open && result.as_ref().is_err_and(|refusal| refusal.status == closed) {
        ensure_open(wanted.device)?;
        // SAFETY: the caller's promise.
        result = unsafe { allocate_open(wanted) };
    }
    let skipped = were_skipped();
    result.map_err(|refusal| match skipped && refusal.is_exhaustion() {
        true => refusal.and(
            "reclaimers in Python were not asked: they run in calls from Python alone, and not while \
             the interpreter ends",
        ),
        false => refusal,
    })
}

/// # Safety
/// As [`allocate`].
unsafe fn allocate_open(wanted: Wanted<'_>) -> Result<usize, Refusal> {
    let mut ptr = std::ptr::null_mut();
    let Wanted { size, alignment, device, stream, tag } = wanted;
    let tag = tag.map_or(std::ptr::null(), std::ffi::CStr::as_ptr);
    // SAFETY: the caller's promise of the stream; a C string or null; a local to write to.
    let status =
        unsafe { vmem::vmem_allocate(size, alignment, device, pointer(stream), tag, &raw mut ptr) };
    check(status)?;
    Ok(ptr.expose_provenance())
}

/// Opens a device by the environment's settings, unless it is open.
pub(crate) fn ensure_open(device: i32) -> Result<(), Refusal> {
    // SAFETY: null is no options.
    let status = unsafe { vmem::vmem_open(device, std::ptr::null()) };
    match status {
        vmem_status::VMEM_ERROR_ALREADY_OPEN => Ok(()),
        other => check(other),
    }
}

/// The settings of the environment's variables, with one of them set: a configuration for `open`.
#[pyfunction]
pub(crate) fn settings_with(name: &str, value: &str) -> String {
    let given = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        let is_ours = name.starts_with("VMEM_") && !name.starts_with("VMEM_SIM_");
        // Settings end with white space.
        is_ours.then(|| (name, value.split_whitespace().collect::<String>()))
    });
    let mut settings: BTreeMap<_, _> = given.collect();
    settings.insert(name.to_owned(), value.to_owned());
    let text: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    text.join(" ")
}
