//! Slices while their stream captures a graph.

use cudarc::driver::sys::CUstreamCaptureMode;
use vmem_cudarc::VmemSlice;

use crate::support::{Bench, bench_with};

/// Whether a capture survives what is done in it.
fn survives(bench: &Bench, during: impl FnOnce(&vmem_cudarc::SharedStream)) -> bool {
    let stream = bench.stream();
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
    stream.cudarc().begin_capture(mode).unwrap();
    during(&stream);
    let mut graph = std::ptr::null_mut();
    // SAFETY: the stream captures, and the driver writes to a local.
    let ended = unsafe {
        cudarc::driver::sys::cuStreamEndCapture(stream.cudarc().cu_stream(), &raw mut graph)
    };
    if ended.result().is_ok() {
        // SAFETY: the graph that the capture ended in.
        unsafe { cudarc::driver::sys::cuGraphDestroy(graph) }.result().unwrap();
    }
    ended.result().is_ok()
}

#[test]
fn without_tracking_slices_are_made_and_dropped_in_a_capture() {
    let Some(bench) = bench_with("SEED=0") else { return };
    // SAFETY: there is one stream.
    unsafe { bench.context.disable_event_tracking() };
    let (pool, _) = bench.pool();
    // Memory at hand, for the stream that captures to have: another stream's would need a wait.
    let warm = bench.stream();
    let x: VmemSlice<u8> = VmemSlice::alloc_zeros(pool.clone(), 1 << 20, &warm).unwrap();
    drop(x);
    warm.vmem().synchronize().unwrap();
    let kept = survives(&bench, |stream| {
        // SAFETY: never read.
        let x = unsafe { VmemSlice::<u8>::alloc(pool.clone(), 4096, stream) };
        drop(x);
    });
    assert!(kept, "the capture was broken");
    drop((pool, warm));
    bench.finish();
}

#[test]
fn with_tracking_an_earlier_slice_that_is_dropped_in_a_capture_breaks_it() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, _) = bench.pool();
    let kept = survives(&bench, |stream| {
        let mut x = None;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let made: Result<VmemSlice<u8>, _> =
                    VmemSlice::alloc_zeros(pool.clone(), 4096, &bench.stream());
                x = made.ok();
            });
            other.join().unwrap();
        });
        // What cudarc's own slice does too: it waits for events from outside of the capture.
        let Some(mut x) = x else { return };
        let _ = stream.cudarc().memset_zeros(&mut x);
        drop(x);
    });
    assert!(!kept, "cudarc has learnt of captures, and the documentation does not say so");
    let _ = bench.context.check_err();
}
