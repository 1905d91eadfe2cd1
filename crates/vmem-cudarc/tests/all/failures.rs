//! What the driver does not do when it is asked.

use vmem_core::{AllocErrorKind, Device};
use vmem_cudarc::VmemSlice;

use crate::support::{bench_with, calls, control};

#[test]
fn a_slice_whose_events_cannot_be_made_is_an_error_and_its_memory_goes_back() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, handle) = bench.pool();
    let stream = bench.stream();
    drop(VmemSlice::<u8>::alloc_zeros(pool.clone(), 100, &stream).unwrap());
    for (nth, function) in [(1, "cuEventCreate"), (2, "cuEventCreate"), (1, "cuEventRecord")] {
        control(&format!("fail {nth} 2 {function}"));
        // SAFETY: never read.
        let made = unsafe { VmemSlice::<u8>::alloc(pool.clone(), 100, &stream) };
        assert_eq!(control("fired"), function);
        let refused = made.unwrap_err();
        let expected =
            [AllocErrorKind::DeviceFault, AllocErrorKind::OutOfMemory].contains(&refused.kind());
        assert!(expected, "{refused}");
        assert_eq!(handle.counters().unwrap().live, 0, "{function}");
        assert_eq!(bench.context.check_err(), Ok(()));
    }
    drop((pool, stream));
    bench.finish();
}

#[test]
fn an_error_that_an_earlier_call_left_is_an_error_of_the_allocation_and_no_panic() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, handle) = bench.pool();
    let stream = bench.stream();
    let code = cudarc::driver::sys::CUresult::CUDA_ERROR_INVALID_VALUE;
    bench.context.record_err::<()>(Err(cudarc::driver::DriverError(code)));
    // SAFETY: never read.
    let alloc = || unsafe { VmemSlice::<u8>::alloc(pool.clone(), 100, &stream) };
    assert_eq!(alloc().unwrap_err().kind(), AllocErrorKind::DeviceFault);
    assert_eq!(handle.counters().unwrap().live, 0);
    drop(alloc().unwrap());
    drop((pool, stream));
    bench.finish();
}

#[test]
fn memory_of_which_a_use_cannot_be_waited_for_is_never_used_again_and_counted() {
    for failing in [1, 2] {
        let Some(bench) = bench_with("SEED=0") else { return };
        let (pool, handle) = bench.pool();
        let stream = bench.stream();
        let x: VmemSlice<u8> = VmemSlice::alloc_zeros(pool.clone(), 4096, &stream).unwrap();
        stream.vmem().synchronize().unwrap();
        let waits = calls("cuStreamWaitEvent");
        control(&format!("fail {failing} 999 cuStreamWaitEvent"));
        drop(x);
        assert!(calls("cuStreamWaitEvent") > waits);
        assert_eq!(bench.failed_drops(), 1);
        let first = bench.device.base().drop_failures().first().unwrap();
        assert!(format!("{first:?}").contains("CudaSlice::leak"), "{first:?}");
        assert_eq!(handle.counters().unwrap().live, 4096, "the memory is still in use");
        assert!(bench.context.check_err().is_err(), "cudarc's next call has the error");
    }
}

#[test]
fn into_buffer_says_when_a_use_cannot_be_waited_for() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, handle) = bench.pool();
    let stream = bench.stream();
    let x: VmemSlice<u8> = VmemSlice::alloc_zeros(pool.clone(), 4096, &stream).unwrap();
    control("fail 1 999 cuStreamWaitEvent");
    x.into_buffer().unwrap_err();
    assert_eq!(bench.failed_drops(), 1);
    assert_eq!(handle.counters().unwrap().live, 4096);
}
