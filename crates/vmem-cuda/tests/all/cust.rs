//! Contexts, streams and addresses shared with a program on cust. It is this program that links the
//! driver, so that the loader finds it loaded.

use ::cust::context::Context;
use ::cust::device::Device as CustDevice;
use ::cust::memory::DeviceBuffer as CustBuffer;
use ::cust::stream::{Stream as CustStream, StreamFlags};
use vmem_core::author::StreamExt;
use vmem_core::{Device, DeviceMemory, DevicePtr, DriverCode, ResourceExt};
use vmem_cuda::{CudaDevice, device_pointer};

use crate::support::{MIB, alloc, bench, bench_with, free};

#[test]
fn vmem_and_cust_use_one_context_of_a_device() {
    let Some(bench) = bench() else { return };
    ::cust::init(::cust::CudaFlags::empty()).unwrap();
    let context = Context::new(CustDevice::get_device(0).unwrap()).unwrap();
    assert_eq!(context.as_raw().cast(), bench.device.raw_context());
    drop(context);
    // The device holds its context whatever cust gives up.
    bench.device.memory_info().unwrap();
    bench.finish();
}

#[test]
fn a_stream_of_custs_carries_vmems_work_and_stays_custs() {
    let Some(bench) = bench() else { return };
    let current = bench.device.enter().unwrap();
    let theirs = CustStream::new(StreamFlags::DEFAULT, None).unwrap();
    // SAFETY: `theirs` is dropped after `ours`, below.
    let ours = unsafe { bench.device.share_stream(&theirs) }.unwrap();
    let memory = DeviceMemory::new(bench.device());
    let mut buffer = memory.buffer(MIB, &ours).unwrap();
    buffer.fill(0..MIB, 0x5a).unwrap();
    theirs.synchronize().unwrap();
    assert!(ours.is_complete().unwrap(), "the fill was not on cust's stream");
    assert_eq!(buffer.to_vec().unwrap(), vec![0x5a; 1 << 20]);
    drop(buffer);
    ours.retire().unwrap();
    drop(ours);
    theirs.synchronize().unwrap();
    drop((memory, theirs, current));
    bench.finish();
}

#[test]
fn a_stream_that_cust_made_in_another_devices_context_is_refused() {
    let Some(bench) = bench_with("DEVICES=2") else { return };
    let other = CudaDevice::open(1).unwrap();
    let current = other.enter().unwrap();
    let theirs = CustStream::new(StreamFlags::DEFAULT, None).unwrap();
    // SAFETY: `theirs` outlives the handle, which is not even made.
    let refused = unsafe { bench.device.share_stream(&theirs) }.unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_CONTEXT, "{refused}");
    drop((theirs, current));
    drop(other);
    bench.finish();
}

#[test]
fn addresses_mean_the_same_to_both() {
    let Some(bench) = bench() else { return };
    let current = bench.device.enter().unwrap();
    let stream = bench.stream();
    // Ours, as cust names it.
    let memory = DeviceMemory::new(bench.device());
    let block = alloc(&memory, 4096, &stream);
    assert_eq!(device_pointer::<u32>(block.ptr()).as_raw(), block.ptr().get());
    // Theirs, filled and read by vmem.
    // SAFETY: the words are written by the fill below before they are read.
    let words = unsafe { CustBuffer::<u32>::uninitialized(1024) }.unwrap();
    let theirs = DevicePtr::new(words.as_device_ptr().as_raw()).unwrap();
    let mut bytes = [0_u8; 4096];
    stream
        .with_raw("copies", |device, raw| {
            // SAFETY: contract, devices/handles and devices/ranges: the 4096 bytes of cust's
            // buffer, a live stream.
            unsafe { device.fill(theirs, 7, 4096, raw) }?;
            // SAFETY: contract, devices/handles and devices/ranges: both ranges are live and apart.
            unsafe { device.copy_within(block.ptr(), theirs, 4096, raw) }?;
            // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: as above;
            // the array outlives the wait below.
            unsafe { device.copy_to_host(bytes.as_mut_ptr(), block.ptr(), 4096, raw) }
        })
        .unwrap();
    stream.synchronize().unwrap();
    assert_eq!(bytes, [7; 4096]);
    drop(words);
    free(&memory, block, &stream);
    drop((memory, stream, current));
    bench.finish();
}
