//! What every call does at the boundary: it never unwinds, refuses in a forked child, and leaves the text
//! of what went wrong.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};
use vmem_core::author::fork;

use crate::status::{Failure, vmem_status};

thread_local! {
    static LAST: RefCell<LastError> = const { RefCell::new(LastError { text: None, json: None }) };
}

/// The calling thread's last error.
struct LastError {
    text: Option<CString>,
    json: Option<CString>,
}

const NONE: &CStr = c"";
const ENDING: &CStr = c"the thread ends, and what its last error was is gone";

/// Runs a call. Whatever it comes to becomes a status; a failure's text is kept for the thread.
pub(crate) fn guard(call: &'static str, body: impl FnOnce() -> Result<(), Failure>) -> vmem_status {
    let failure = match fork::refuse(call) {
        Err(error) => Failure::from(error),
        Ok(()) => match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => return vmem_status::VMEM_OK,
            Ok(Err(failure)) => failure,
            Err(payload) => panicked(payload),
        },
    };
    let status = failure.status;
    // What cannot be told is still a status.
    let _ = catch_unwind(AssertUnwindSafe(|| keep(call, failure)));
    status
}

fn panicked(payload: Box<dyn Any + Send>) -> Failure {
    let said = payload.downcast_ref::<&str>().map(|said| (*said).to_owned());
    let said = said.or_else(|| payload.downcast_ref::<String>().cloned());
    // A payload may panic when it is dropped.
    std::mem::forget(payload);
    let said = said.unwrap_or_else(|| "without a text".to_owned());
    let text = format!("vmem panicked, which is a fault of vmem's: {said}");
    Failure::new(vmem_status::VMEM_ERROR_INTERNAL, text)
}

#[cold]
fn keep(call: &'static str, failure: Failure) {
    let Failure { status, text, details } = failure;
    let text = format!("{call}: {text}");
    let name = status.name().to_string_lossy();
    let mut object = json!({ "status": name, "code": status as i32, "call": call, "text": text });
    if let Value::Object(object) = &mut object {
        object.extend(details);
    }
    let last = LastError { text: c_string(text), json: c_string(object.to_string()) };
    let previous = LAST
        .try_with(|slot| slot.try_borrow_mut().map(|mut slot| std::mem::replace(&mut *slot, last)));
    drop(previous);
}

/// A C string; a zero in it is left out.
fn c_string(text: String) -> Option<CString> {
    let mut bytes = text.into_bytes();
    bytes.retain(|&byte| byte != 0);
    CString::new(bytes).ok()
}

fn last(part: impl Fn(&LastError) -> &Option<CString>) -> *const c_char {
    let found = LAST.try_with(|slot| {
        let slot = slot.try_borrow().ok()?;
        part(&slot).as_ref().map(|text| text.as_ptr())
    });
    match found {
        Ok(Some(text)) => text,
        Ok(None) => NONE.as_ptr(),
        Err(_) => ENDING.as_ptr(),
    }
}

/// The text of the calling thread's last call that failed; empty if none has. Never null. It is valid
/// until the thread's next call that fails, or its end.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_last_error() -> *const c_char {
    last(|last| &last.text)
}

/// The same as JSON: an object with `status`, `code`, `call` and `text`, and what is known besides:
/// `request` and `report` where memory was exhausted, `driver_code` where the driver failed. Sizes are in
/// bytes.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_last_error_json() -> *const c_char {
    last(|last| &last.json)
}

/// The name of a status, `VMEM_OK` say; null for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_status_name(status: i32) -> *const c_char {
    vmem_status::name_of(status).map_or(std::ptr::null(), CStr::as_ptr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: *const c_char) -> String {
        // SAFETY: the functions above return strings that live until the thread's next failure.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_and_a_text() {
        let status = guard("vmem_test", || panic!("number {}", 7));
        assert_eq!(status, vmem_status::VMEM_ERROR_INTERNAL);
        assert!(said(vmem_last_error()).contains("vmem_test: vmem panicked"));
        let json: Value = serde_json::from_str(&said(vmem_last_error_json())).unwrap();
        assert!(json["text"].as_str().unwrap().ends_with("number 7"));
        assert_eq!(json["code"], vmem_status::VMEM_ERROR_INTERNAL as i32);
    }

    #[test]
    fn a_thread_sees_its_own_last_error_and_success_leaves_it() {
        assert_eq!(
            guard("vmem_test", || Err(Failure::argument("a\0b"))),
            vmem_status::VMEM_ERROR_INVALID_ARGUMENT
        );
        assert_eq!(guard("vmem_test", || Ok(())), vmem_status::VMEM_OK);
        assert_eq!(said(vmem_last_error()), "vmem_test: ab");
        std::thread::spawn(|| assert_eq!(said(vmem_last_error()), "")).join().unwrap();
    }
}
