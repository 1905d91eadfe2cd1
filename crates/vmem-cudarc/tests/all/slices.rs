//! Slices in copies and fills.

use cudarc::driver::{DevicePtr, DeviceSlice};
use vmem_core::{AllocErrorKind, DeviceMemory, DriverCode, ResourceExt};
use vmem_cudarc::{SharedStream, VmemSlice};

use crate::support::{bench, bench_with, calls};

#[test]
fn a_slice_is_written_copied_and_read_by_cudarc() {
    let Some(bench) = bench() else { return };
    let (pool, handle) = bench.pool();
    let stream = bench.stream();
    let theirs = stream.cudarc();
    let x = VmemSlice::clone_htod(pool.clone(), &[1_u32, 2, 3, 4], &stream).unwrap();
    let mut y: VmemSlice<u32> = VmemSlice::alloc_zeros(pool.clone(), 4, &stream).unwrap();
    assert_eq!(handle.counters().unwrap().live, 32);
    assert_eq!((DeviceSlice::len(&x), x.num_bytes(), y.is_empty()), (4, 16, false));
    assert_eq!(theirs.clone_dtoh(&y).unwrap(), [0; 4]);
    theirs.memcpy_dtod(&x, &mut y).unwrap();
    theirs.memset_zeros(&mut y.slice_mut(1..3)).unwrap();
    assert_eq!(theirs.clone_dtoh(&y).unwrap(), [1, 0, 0, 4]);
    let z = VmemSlice::clone_dtod(pool.clone(), &y, &stream).unwrap();
    assert_eq!(theirs.clone_dtoh(&z).unwrap(), [1, 0, 0, 4]);
    assert!(format!("{z:?}").contains("len: 4"));
    drop((x, y, z));
    assert_eq!(handle.counters().unwrap().live, 0);
    drop((pool, stream));
    bench.finish();
}

#[test]
fn views_are_parts_of_the_slice() {
    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    let theirs = stream.cudarc();
    let mut x: VmemSlice<u16> = VmemSlice::alloc_zeros(pool.clone(), 6, &stream).unwrap();
    let (mut left, mut right) = x.split_at_mut(2);
    theirs.memcpy_htod(&[1, 2], &mut left).unwrap();
    theirs.memcpy_htod(&[3, 4, 5, 6], &mut right).unwrap();
    theirs.memcpy_htod(&[9], &mut x.try_slice_mut(5..).unwrap()).unwrap();
    assert_eq!(theirs.clone_dtoh(&x.as_view()).unwrap(), [1, 2, 3, 4, 5, 9]);
    assert_eq!(theirs.clone_dtoh(&x.slice(1..=2)).unwrap(), [2, 3]);
    let (left, right) = x.split_at(5);
    assert_eq!((left.len(), right.len()), (5, 1));
    assert!(x.try_slice(3..7).is_none() && x.try_slice_mut(7..).is_none());
    assert_eq!(x.as_view_mut().len(), 6);
    assert_eq!(theirs.clone_dtoh(x.as_cuda_slice()).unwrap(), [1, 2, 3, 4, 5, 9]);
    drop((x, pool, stream));
    bench.finish();
}

#[test]
fn addresses_are_aligned_for_the_elements() {
    #[repr(align(4096))]
    struct Page;
    // SAFETY: it has no bytes to be wrong.
    unsafe impl cudarc::driver::DeviceRepr for Page {}

    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    let _one = VmemSlice::<u8, _>::alloc_zeros(&*pool, 1, &stream).unwrap();
    // SAFETY: never read.
    let pages = unsafe { VmemSlice::<Page, _>::alloc(&*pool, 3, &stream) }.unwrap();
    let (address, _read) = pages.device_ptr(stream.cudarc());
    assert_eq!(address % 4096, 0);
    drop(_read);
    drop((pages, _one));
    drop((pool, stream));
    bench.finish();
}

#[test]
fn an_empty_slice_has_an_address_that_calls_accept() {
    let Some(bench) = bench() else { return };
    let memory = DeviceMemory::new(bench.device.clone()).into_dyn();
    let stream = bench.stream();
    let none: [f32; 0] = [];
    let x = VmemSlice::clone_htod(memory.clone(), &none, &stream).unwrap();
    assert!(x.is_empty());
    assert_eq!(stream.cudarc().clone_dtoh(&x).unwrap(), none);
    drop((x, memory, stream));
    bench.finish();
}

#[test]
fn what_no_memory_can_hold_is_an_error_and_leaves_nothing() {
    let Some(bench) = bench() else { return };
    let (pool, handle) = bench.pool();
    let stream = bench.stream();
    // SAFETY: never read.
    let alloc = |len| unsafe { VmemSlice::<u64>::alloc(pool.clone(), len, &stream) };
    assert_eq!(alloc(usize::MAX).unwrap_err().kind(), AllocErrorKind::InvalidLayout);
    assert_eq!(alloc(1 << 50).unwrap_err().kind(), AllocErrorKind::NeverFits);
    assert_eq!(handle.counters().unwrap().live, 0);
    drop((pool, stream));
    bench.finish();
}

#[test]
fn default_streams_and_those_of_another_device_are_refused() {
    let Some(bench) = bench_with("DEVICES=2") else { return };
    for default in [bench.context.default_stream(), bench.context.per_thread_stream()] {
        let refused = SharedStream::new(&bench.device, &default).unwrap_err();
        assert_eq!(refused.code(), DriverCode::INVALID_HANDLE, "{refused}");
    }
    let other = cudarc::driver::CudaContext::new(1).unwrap();
    let theirs = other.new_stream().unwrap();
    bench.context.bind_to_thread().unwrap();
    let refused = SharedStream::new(&bench.device, &theirs).unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_CONTEXT, "{refused}");
    drop((theirs, other));
    bench.context.bind_to_thread().unwrap();
    bench.finish();
}

#[test]
fn without_event_tracking_slices_of_a_warm_pool_make_no_driver_call() {
    let Some(bench) = bench_with("SEED=0") else { return };
    // SAFETY: there is one stream.
    unsafe { bench.context.disable_event_tracking() };
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    // SAFETY: never read.
    let alloc = || unsafe { VmemSlice::<f32, _>::alloc(&*pool, 1000, &stream) }.unwrap();
    drop(alloc());
    let count = || crate::support::control("calls");
    let before = count();
    (0..10).for_each(|_| drop(alloc()));
    assert_eq!(count(), before);
    assert_eq!(calls("cuMemFreeAsync"), 0);
    drop((pool, stream));
    bench.finish();
}
