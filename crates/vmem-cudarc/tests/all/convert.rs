//! Slices and buffers of vmem's own.

use vmem_core::{DeviceMemory, DeviceVec, DriverCode, ResourceExt, Stream};
use vmem_cudarc::VmemSlice;

use crate::support::{bench, calls, has_control};

#[test]
fn a_slice_and_a_buffer_are_one_memory_in_turn() {
    let Some(bench) = bench() else { return };
    let (pool, handle) = bench.pool();
    let stream = bench.stream();
    let x = DeviceVec::from_slice(pool.clone(), &[1_u32, 2, 3], stream.vmem()).unwrap();
    let buffer = x.into_boxed_slice().unwrap().into_buffer();
    let at = buffer.ptr();
    // SAFETY: the bytes are these numbers.
    let x = unsafe { VmemSlice::<u32>::from_buffer(buffer, &stream) }.unwrap();
    assert_eq!(stream.cudarc().clone_dtoh(&x).unwrap(), [1, 2, 3]);
    let buffer = x.into_buffer().unwrap();
    assert_eq!((buffer.ptr(), buffer.len()), (at, 12));
    assert_eq!(buffer.to_vec().unwrap()[..4], 1_u32.to_le_bytes());
    drop(buffer);
    assert_eq!(handle.counters().unwrap().live, 0);
    drop((pool, stream));
    bench.finish();
}

#[test]
fn a_buffer_of_another_stream_comes_after_its_own_work() {
    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let ours = Stream::new(bench.device.clone()).unwrap();
    let stream = bench.stream();
    let x = DeviceVec::filled(pool.clone(), 7_u8, 1 << 20, &ours).unwrap();
    let buffer = x.into_boxed_slice().unwrap().into_buffer();
    // SAFETY: the bytes are numbers of one byte.
    let x = unsafe { VmemSlice::<u8>::from_buffer(buffer, &stream) }.unwrap();
    assert_eq!(stream.cudarc().clone_dtoh(&x).unwrap(), vec![7; 1 << 20]);
    drop((x, pool, ours, stream));
    bench.finish();
}

#[test]
fn an_empty_slice_is_an_empty_buffer_and_back() {
    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    let none: VmemSlice<u32> = VmemSlice::clone_htod(pool.clone(), &[0_u32; 0], &stream).unwrap();
    let buffer = none.into_buffer().unwrap();
    assert!(buffer.is_empty());
    // SAFETY: there are no bytes.
    let none = unsafe { VmemSlice::<u32>::from_buffer(buffer, &stream) }.unwrap();
    assert!(none.is_empty());
    drop((none, pool, stream));
    bench.finish();
}

#[test]
fn a_buffer_of_another_device_is_refused() {
    let Some(bench) = crate::support::bench_with("DEVICES=2") else { return };
    let other = vmem_cuda::CudaDevice::open(1).unwrap();
    let far = Stream::new(other.clone()).unwrap();
    let memory = DeviceMemory::new(other).into_dyn();
    let buffer = memory.owned_buffer(8, &far).unwrap();
    let stream = bench.stream();
    // SAFETY: numbers of one byte.
    let refused = unsafe { VmemSlice::<u8>::from_buffer(buffer, &stream) }.unwrap_err();
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert!(source.contains(DriverCode::INVALID_CONTEXT.name().unwrap()), "{source}");
    drop((memory, far, stream));
    bench.finish();
}

#[test]
fn nothing_of_vmems_is_freed_by_cudarc() {
    let Some(bench) = bench() else { return };
    if !has_control() {
        return;
    }
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    let x = VmemSlice::clone_htod(pool.clone(), &[1_u8, 2], &stream).unwrap();
    drop(x.as_cuda_slice().clone());
    assert_eq!(calls("cuMemFreeAsync"), 1, "the clone is cudarc's own memory");
    drop((x, pool, stream));
    assert_eq!((calls("cuMemFreeAsync"), calls("cuMemFree_v2")), (1, 0));
    bench.finish();
}
