//! Results: one function per driver call, returning a value or a [`DriverError`].
//!
//! An error keeps the driver's code, whatever it is; its text is asked for on demand by [`text`].
//! Functions that take a handle or a range are unsafe, as the driver checks neither.

pub(crate) mod context;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod managed;
pub(crate) mod memory;
pub(crate) mod pool;
pub(crate) mod stream;
pub(crate) mod virtual_memory;

use std::ffi::{CStr, c_char};
use std::ptr;

use vmem_core::{Completion, DriverCode, DriverError};

use crate::sys::{self, Code};

/// The driver's own words for a code: its name and what it means. None if the driver does not know
/// the code either, and if no driver is loaded. Two driver calls, of those that work in every state of
/// the driver.
pub fn error_text(code: DriverCode) -> Option<String> {
    let code = Code(code.0.cast_signed());
    let ask = |function: unsafe fn(Code, *mut *const c_char) -> Code| {
        let mut text = ptr::null();
        // SAFETY: the driver writes the address of a constant string to a local.
        let answer = unsafe { function(code, &raw mut text) };
        if answer != Code::SUCCESS || text.is_null() {
            return None;
        }
        // SAFETY: on success it is a C string that the driver keeps for ever.
        Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let name = ask(sys::cuGetErrorName)?;
    let meaning = ask(sys::cuGetErrorString)?;
    Some(format!("{name}: {meaning}"))
}

/// A driver's answer as a result. `call` is the call's name without the suffix of its version.
///
/// A code that vmem has no name for carries the driver's text, if it has one.
fn check(call: &'static str, code: Code) -> Result<(), DriverError> {
    if code == Code::SUCCESS {
        return Ok(());
    }
    let code = DriverCode(code.0.cast_unsigned());
    let error = DriverError::new(call, code);
    let text = if code.name().is_none() { error_text(code) } else { None };
    Err(match text {
        Some(text) => error.with_detail(text),
        None => error,
    })
}

/// The same for a question that may be answered with "not ready".
fn completion(call: &'static str, code: Code) -> Result<Completion, DriverError> {
    if code == Code::NOT_READY {
        return Ok(Completion::Pending);
    }
    check(call, code).map(|()| Completion::Complete)
}

/// A size for the driver. CUDA exists only where addresses have 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "asserted below")]
const fn size(bytes: u64) -> usize {
    const { assert!(usize::BITS == 64) };
    bytes as usize
}
