//! Statuses as exceptions.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use pyo3::create_exception;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use vmem::{vmem_block, vmem_stats, vmem_status, vmem_usage};

create_exception!(
    vmem_gpu,
    Error,
    PyRuntimeError,
    "What vmem refused, but for want of memory. `status` is the name of the C status, `details` what is \
     known besides, as JSON."
);
create_exception!(
    vmem_gpu,
    OutOfMemoryError,
    PyMemoryError,
    "Memory is exhausted. `status` is the name of the C status, `details` the request and a report, as JSON."
);

/// What a call failed with: what the library keeps for the thread, before another call replaces it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: vmem_status,
    pub(crate) text: String,
    details: String,
}

/// The answer of a call: it succeeded, or why it did not. On the thread that called.
pub(crate) fn check(status: vmem_status) -> Result<(), Refusal> {
    if status == vmem_status::VMEM_OK {
        return Ok(());
    }
    let text = owned(vmem::vmem_last_error());
    Err(Refusal { status, text, details: owned(vmem::vmem_last_error_json()) })
}

/// A struct of the library's that calls fill.
///
/// # Safety
/// It begins with its size, and zeros will do for its other fields.
pub(crate) unsafe trait Filled: Sized {
    /// What a call fills it with.
    fn by(fill: impl FnOnce(*mut Self) -> vmem_status) -> Result<Self, Refusal> {
        let mut own = MaybeUninit::<Self>::zeroed();
        // SAFETY: the size is there.
        unsafe { own.as_mut_ptr().cast::<usize>().write(size_of::<Self>()) };
        check(fill(own.as_mut_ptr()))?;
        // SAFETY: zeros will do for what the call has not filled.
        Ok(unsafe { own.assume_init() })
    }
}

// SAFETY: it begins with its size, and has integers and addresses.
unsafe impl Filled for vmem_block {}
// SAFETY: it begins with its size, and has integers.
unsafe impl Filled for vmem_stats {}
// SAFETY: it begins with its size, and has integers.
unsafe impl Filled for vmem_usage {}
// SAFETY: it begins with its size, and has integers.
unsafe impl Filled for vmem::vmem_moved {}

/// A copy of a text of the library's.
fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the library's texts end with a zero, and these live until the thread's next failure.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl Refusal {
    /// A fault of this package.
    pub(crate) fn internal(text: impl ToString) -> Self {
        let status = vmem_status::VMEM_ERROR_INTERNAL;
        Self { status, text: text.to_string(), details: String::new() }
    }

    /// The same with something more to say.
    #[must_use]
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.text = format!("{}; {more}", self.text);
        self
    }

    /// Whether freeing memory, or asking for less, could have helped.
    pub(crate) fn is_exhaustion(&self) -> bool {
        use vmem_status::{VMEM_ERROR_LIMIT, VMEM_ERROR_NEVER_FITS, VMEM_ERROR_OUT_OF_MEMORY};
        matches!(self.status, VMEM_ERROR_OUT_OF_MEMORY | VMEM_ERROR_LIMIT | VMEM_ERROR_NEVER_FITS)
    }

    /// Whether freeing memory could have helped.
    pub(crate) fn is_of_the_moment(&self) -> bool {
        self.is_exhaustion() && self.status != vmem_status::VMEM_ERROR_NEVER_FITS
    }

    /// The exception.
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        let is_exhaustion = self.is_exhaustion();
        let Self { status, text, details } = self;
        let error = match is_exhaustion {
            true => OutOfMemoryError::new_err(text),
            false => Error::new_err(text),
        };
        let value = error.value(py);
        let name = owned(vmem::vmem_status_name(status as i32));
        // An exception without its details still says what happened.
        let _ = value.setattr("status", name);
        let _ = value.setattr("details", details);
        error
    }
}
