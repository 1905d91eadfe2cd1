//! One driver for both libraries, whichever loads it first.

use std::env;
use std::ffi::c_void;
use std::process::Command;

use cudarc::driver::{CudaContext, sys};
use vmem_cuda::driver;

use crate::support::turn;

/// Where cudarc finds a function.
fn of_cudarc(name: &str) -> *mut c_void {
    // SAFETY: loads the driver, of which nothing is run here.
    let library = unsafe { sys::culib() };
    // SAFETY: an address of any type is read as one; nothing is called.
    unsafe { *library.get::<*mut c_void>(name.as_bytes()).unwrap() }
}

/// Where vmem finds it.
fn of_vmem() -> *mut c_void {
    driver().unwrap().symbol(c"cuInit").unwrap().as_ptr()
}

/// Not a test of its own: `WHO` says who loads the driver first in this process.
const WHO: &str = "VMEM_CUDARC_TEST_FIRST";

#[test]
fn both_libraries_have_one_driver() {
    if let Ok(first) = env::var(WHO) {
        let (one, other) = match first.as_str() {
            "cudarc" => (of_cudarc("cuInit"), of_vmem()),
            _ => (of_vmem(), of_cudarc("cuInit")),
        };
        assert_eq!(one, other, "{first} has another driver");
        // Neither is refused what the other made.
        let context = CudaContext::new(0).unwrap();
        vmem_cudarc::open(&context).unwrap();
        return;
    }
    let Some(_turn) = turn("") else { return };
    for first in ["cudarc", "vmem"] {
        let mut alone = Command::new(env::current_exe().unwrap());
        alone.args(["--exact", "loading::both_libraries_have_one_driver"]).env(WHO, first);
        let ended = alone.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success(), "{first} first: {said}");
        assert!(said.contains("1 passed"), "{said}");
    }
}

#[test]
fn a_context_that_is_not_the_primary_one_is_refused() {
    let Some(_turn) = turn("DEVICES=2") else { return };
    let first = CudaContext::new(0).unwrap();
    let second = CudaContext::new(1).unwrap();
    // SAFETY: the context is that of the other device, and is held below longer than this handle of
    // it, which is never dropped: it would be destroyed.
    let other = unsafe { CudaContext::from_raw_context(0, first.cu_device(), second.cu_ctx()) };
    let other = std::mem::ManuallyDrop::new(other.unwrap());
    let refused = vmem_cudarc::open(&other).unwrap_err().to_string();
    assert!(refused.contains("not its device's primary one"), "{refused}");
    vmem_cudarc::open(&second).unwrap();
}
