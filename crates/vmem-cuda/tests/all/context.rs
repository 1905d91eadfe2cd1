//! The device's context is current during a call, and only then.

use std::ffi::{c_int, c_void};
use std::ptr;

use vmem_core::{Device, DriverCode};

use crate::support::{bench, calls, driver_functions, has_control};

driver_functions! {
    fn cuCtxGetCurrent(context: *mut *mut c_void) -> c_int;
}

/// This thread's current context.
fn current() -> *mut c_void {
    let mut context = ptr::null_mut();
    // SAFETY: the driver writes to a local.
    assert_eq!(unsafe { cuCtxGetCurrent(&raw mut context) }, 0);
    context
}

#[test]
fn a_call_leaves_the_threads_contexts_as_they_were() {
    let Some(bench) = bench() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(current().is_null());
            bench.device.memory_info().unwrap();
            assert!(current().is_null());
        });
    });
    bench.finish();
}

#[test]
fn calls_are_counted_whether_they_fail_or_not() {
    let Some(bench) = bench() else { return };
    let before = bench.device.driver_calls();
    bench.device.memory_info().unwrap();
    bench.device.allocate(1 << 50).unwrap_err();
    assert_eq!(bench.device.driver_calls() - before, 2);
    bench.finish();
}

#[test]
fn a_failed_call_does_so_too() {
    let Some(bench) = bench() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            bench.device.allocate(1 << 50).unwrap_err();
            assert!(current().is_null());
        });
    });
    bench.finish();
}

#[test]
fn a_guard_makes_the_context_current_for_the_programs_own_calls() {
    let Some(bench) = bench() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let outer = bench.device.enter().unwrap();
            assert_eq!(current(), bench.device.raw_context());
            let inner = bench.device.enter().unwrap();
            bench.device.memory_info().unwrap();
            drop(inner);
            assert_eq!(current(), bench.device.raw_context());
            drop(outer);
            assert!(current().is_null());
        });
    });
    bench.finish();
}

#[test]
fn where_the_context_is_current_already_it_is_not_pushed() {
    let Some(bench) = bench() else { return };
    if has_control() {
        let _current = bench.device.enter().unwrap();
        let before = calls(Some("cuCtxPushCurrent_v2"));
        bench.device.memory_info().unwrap();
        assert_eq!(calls(Some("cuCtxPushCurrent_v2")), before);
    }
    bench.finish();
}

#[test]
fn a_forks_child_is_refused_every_call() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let answer = vmem_testkit::in_child(|| {
        let refused = |code: Option<DriverCode>| code == Some(DriverCode::NOT_INITIALIZED);
        refused(bench.device.memory_info().err().map(|error| error.code()))
            && refused(bench.device.allocate(256).err().map(|error| error.code()))
            && refused(stream.synchronize().err().map(|error| error.code()))
            && vmem_cuda::CudaDevice::open(0).is_err()
            && vmem_cuda::device_count().is_err()
    });
    assert_eq!(answer, Ok(true));
    bench.device.memory_info().unwrap();
    drop(stream);
    bench.finish();
}
