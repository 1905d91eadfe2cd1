//! What result codes are called.

use std::ffi::{CStr, c_char};

use super::exports;
use crate::refusal::{Answer, Refusal};
use crate::types::Out;

exports! {
    /// Null for a code that this driver does not know.
    fn cuGetErrorName(_, code: u32, text: Out<*const c_char>) {
        describe(code, &text, |known| known.1)
    }

    /// Null for a code that this driver does not know.
    fn cuGetErrorString(_, code: u32, text: Out<*const c_char>) {
        describe(code, &text, |known| known.2)
    }
}

type Known = (u32, &'static CStr, &'static CStr);

fn describe(code: u32, text: &Out<*const c_char>, which: fn(&Known) -> &'static CStr) -> Answer {
    let slot = text.slot()?;
    match CODES.iter().find(|known| known.0 == code) {
        Some(known) => {
            slot.put(which(known).as_ptr());
            Ok(())
        }
        None => {
            slot.put(std::ptr::null());
            Err(Refusal::value(format!("code {code} is not known")))
        }
    }
}

const CODES: &[Known] = &[
    (0, c"CUDA_SUCCESS", c"no error"),
    (1, c"CUDA_ERROR_INVALID_VALUE", c"an argument is outside its range"),
    (2, c"CUDA_ERROR_OUT_OF_MEMORY", c"not enough memory"),
    (3, c"CUDA_ERROR_NOT_INITIALIZED", c"the driver is not initialised"),
    (4, c"CUDA_ERROR_DEINITIALIZED", c"the driver is shutting down"),
    (100, c"CUDA_ERROR_NO_DEVICE", c"there is no device"),
    (101, c"CUDA_ERROR_INVALID_DEVICE", c"there is no such device"),
    (200, c"CUDA_ERROR_INVALID_IMAGE", c"a kernel image is not valid"),
    (201, c"CUDA_ERROR_INVALID_CONTEXT", c"no valid context"),
    (205, c"CUDA_ERROR_MAP_FAILED", c"mapping failed"),
    (206, c"CUDA_ERROR_UNMAP_FAILED", c"unmapping failed"),
    (209, c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image for the device"),
    (214, c"CUDA_ERROR_ECC_UNCORRECTABLE", c"uncorrectable ECC error"),
    (304, c"CUDA_ERROR_OPERATING_SYSTEM", c"a call to the operating system failed"),
    (400, c"CUDA_ERROR_INVALID_HANDLE", c"a handle is not valid"),
    (401, c"CUDA_ERROR_ILLEGAL_STATE", c"the object's state does not allow it"),
    (500, c"CUDA_ERROR_NOT_FOUND", c"a named symbol was not found"),
    (600, c"CUDA_ERROR_NOT_READY", c"work is pending"),
    (700, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an access to an illegal address"),
    (701, c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources for a launch"),
    (702, c"CUDA_ERROR_LAUNCH_TIMEOUT", c"a launch timed out"),
    (708, c"CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", c"the primary context is active"),
    (709, c"CUDA_ERROR_CONTEXT_IS_DESTROYED", c"the context was destroyed"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED", c"a kernel failed; the context is lost"),
    (800, c"CUDA_ERROR_NOT_PERMITTED", c"not permitted"),
    (801, c"CUDA_ERROR_NOT_SUPPORTED", c"not supported"),
    (802, c"CUDA_ERROR_SYSTEM_NOT_READY", c"the system is not ready"),
    (803, c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", c"driver and kernel module do not match"),
    (900, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", c"forbidden while a stream captures"),
    (901, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", c"the capture was broken"),
    (902, c"CUDA_ERROR_STREAM_CAPTURE_MERGE", c"two captures would merge"),
    (903, c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", c"the capture began on another stream"),
    (904, c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", c"a stream of the capture was not joined"),
    (905, c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", c"a dependency crosses a capture's border"),
    (906, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", c"an implicit dependency on a capture"),
    (907, c"CUDA_ERROR_CAPTURED_EVENT", c"the event was recorded in a capture"),
    (908, c"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", c"the capture began on another thread"),
    (999, c"CUDA_ERROR_UNKNOWN", c"unknown error"),
];

#[cfg(test)]
mod tests {
    use vmem_core::DriverCode;

    use super::*;

    #[test]
    fn names_are_those_that_the_rest_of_the_workspace_knows() {
        for &(code, name, _) in CODES {
            if let Some(known) = DriverCode(code).name() {
                assert_eq!(name.to_str().unwrap(), known);
            }
        }
        assert!(CODES.is_sorted_by_key(|known| known.0));
    }
}
