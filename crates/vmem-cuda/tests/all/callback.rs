//! Inside a host function of the driver's, nothing calls it.

use std::ffi::{c_int, c_void};
use std::ptr;

use vmem_core::{Device, DriverCode, IdleEvent, RawStream, Stream};
use vmem_cuda::{CudaDevice, OpenError, device_count, host_callback};

use crate::support::{bench, calls, has_control, skip};

unsafe extern "C" {
    fn cuLaunchHostFunc(
        stream: *mut c_void,
        function: extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) -> c_int;
}

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
    let bench = bench();
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
    let RawStream(raw) = stream.raw();
    let raw = ptr::with_exposed_provenance_mut(usize::try_from(raw).unwrap());
    // SAFETY: a live stream, and data that outlives the wait below.
    let code = unsafe { cuLaunchHostFunc(raw, drop_all, (&raw mut dropped).cast()) };
    assert_eq!(code, 0);
    stream.synchronize().unwrap();
    assert_eq!(dropped.refused, Some(DriverCode::NOT_PERMITTED));
    drop((dropped, stream, current));
    bench.finish();
}

#[test]
fn calls_inside_a_host_function_are_refused_without_reaching_the_driver() {
    let bench = bench();
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
        assert_eq!(device_count().unwrap_err().code(), DriverCode::NOT_PERMITTED);
        assert!(matches!(CudaDevice::open(77), Err(OpenError::Driver(_))));
    });
    bench.device.memory_info().unwrap();
    drop(stream);
    bench.finish();
}

#[test]
fn what_is_dropped_inside_a_host_function_is_destroyed_by_the_next_call() {
    let bench = bench();
    let stream = bench.stream();
    let event = IdleEvent::new(bench.device()).unwrap();
    let memory = bench.device.allocate(256).unwrap();
    let before = if has_control() { calls(None) } else { 0 };
    host_callback(|| {
        drop(event);
        drop(stream);
        // SAFETY: contract, devices 3: no work was queued on the memory.
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
    let bench = bench();
    bench.device.synchronize().unwrap();
    let event = IdleEvent::new(bench.device()).unwrap();
    let device = bench.device.clone();
    host_callback(|| drop(event));
    drop(device);
    bench.finish();
}

#[test]
fn a_panic_inside_leaves_the_thread_usable() {
    let bench = bench();
    let panicked = std::panic::catch_unwind(|| host_callback(|| panic!("as planned")));
    assert!(panicked.is_err());
    bench.device.memory_info().unwrap();
    bench.finish();
}
