//! Inside a host function of the driver's, nothing calls it.

use std::ffi::{c_int, c_void};

use vmem_core::author::IdleEvent;
use vmem_core::{Device, DriverCode, Stream};
use vmem_cuda::{CudaDevice, OpenError, device_count, host_callback};

use crate::support::{bench, calls, driver_functions, has_control, skip};

driver_functions! {
    fn cuLaunchHostFunc(stream: u64, function: HostFunction, data: *mut c_void) -> c_int;
}

type HostFunction = extern "C" fn(*mut c_void);

/// What a host function drops, and what its calls come to.
struct Dropped {
    event: Option<IdleEvent>,
    stream: Option<Stream>,
    device: std::sync::Arc<CudaDevice>,
    refused: Option<DriverCode>,
}

extern "C" fn drop_all(data: *mut c_void) {
    // SAFETY: the test passes this type, and waits before it looks at it again.
    let dropped = unsafe { &mut *data.cast::<Dropped>() };
    host_callback(|| {
        dropped.event = None;
        dropped.stream = None;
        dropped.refused = dropped.device.memory_info().err().map(|error| error.code());
    });
}

#[test]
fn a_real_host_function_may_drop_events_and_streams() {
    let Some(bench) = bench() else { return };
    if has_control() {
        skip("the software driver runs no host functions");
        return bench.finish();
    }
    let current = bench.device.enter().unwrap();
    let stream = bench.stream();
    let mut dropped = Dropped {
        event: Some(IdleEvent::new(bench.device()).unwrap()),
        stream: Some(bench.stream()),
        device: bench.device.clone(),
        refused: None,
    };
    // SAFETY: a live stream, and data that outlives the wait below.
    let code = unsafe { cuLaunchHostFunc(stream.raw().0, drop_all, (&raw mut dropped).cast()) };
    assert_eq!(code, 0);
    stream.synchronize().unwrap();
    assert_eq!(dropped.refused, Some(DriverCode::NOT_PERMITTED));
    drop((dropped, stream, current));
    bench.finish();
}

#[test]
fn calls_inside_a_host_function_are_refused_without_reaching_the_driver() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let before = if has_control() { calls(None) } else { 0 };
    host_callback(|| {
        assert_eq!(bench.device.memory_info().unwrap_err().code(), DriverCode::NOT_PERMITTED);
        assert_eq!(stream.synchronize().unwrap_err().code(), DriverCode::NOT_PERMITTED);
        // Callbacks may run one inside the other.
        host_callback(|| bench.device.allocate(256).unwrap_err());
        assert_eq!(bench.device.memory_info().unwrap_err().code(), DriverCode::NOT_PERMITTED);
    });
    if has_control() {
        assert_eq!(calls(None), before);
    }
    host_callback(|| {
        let Err(OpenError::Driver(refused)) = device_count() else { panic!("not refused") };
        assert_eq!(refused.code(), DriverCode::NOT_PERMITTED);
        assert!(matches!(CudaDevice::open(77), Err(OpenError::Driver(_))));
    });
    bench.device.memory_info().unwrap();
    drop(stream);
    bench.finish();
}

#[test]
fn what_is_dropped_inside_a_host_function_is_destroyed_by_the_next_call() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let event = IdleEvent::new(bench.device()).unwrap();
    let memory = bench.device.allocate(256).unwrap();
    let before = if has_control() { calls(None) } else { 0 };
    host_callback(|| {
        drop(event);
        drop(stream);
        // SAFETY: contract, devices/pending-work: no work was queued on the memory.
        unsafe { bench.device.free(memory) }.unwrap();
    });
    if has_control() {
        assert_eq!(calls(None), before);
        bench.device.memory_info().unwrap();
        for function in ["cuEventDestroy_v2", "cuStreamDestroy_v2"] {
            assert_eq!(calls(Some(function)), 1, "{function}");
        }
    }
    bench.finish();
}

#[test]
fn what_was_dropped_inside_a_host_function_last_is_destroyed_with_the_device() {
    let Some(bench) = bench() else { return };
    bench.device.synchronize().unwrap();
    let event = IdleEvent::new(bench.device()).unwrap();
    let device = bench.device.clone();
    host_callback(|| drop(event));
    drop(device);
    bench.finish();
}

#[test]
fn a_panic_inside_leaves_the_thread_usable() {
    let Some(bench) = bench() else { return };
    let panicked = std::panic::catch_unwind(|| host_callback(|| panic!("as planned")));
    assert!(panicked.is_err());
    bench.device.memory_info().unwrap();
    bench.finish();
}
