//! Streams of ours, of others, and the default ones.

use vmem_core::{Device, DeviceMemory, DriverCode, RawStream, ResourceExt, Stream};
use vmem_cuda::{CudaDevice, StreamIdentity};

use crate::support::{bench, control, turn};

#[test]
fn a_foreign_stream_of_this_context_is_accepted_and_not_destroyed() {
    let Some(bench) = bench() else { return };
    let owned = bench.stream();
    // SAFETY: `owned` outlives the handle.
    let foreign = unsafe { Stream::foreign(bench.device(), owned.raw()) }.unwrap();
    let memory = DeviceMemory::new(bench.device());
    let mut buffer = memory.buffer(4096, &foreign).unwrap();
    buffer.copy_from_slice(0, &[9; 4096]).unwrap();
    assert_eq!(buffer.to_vec().unwrap(), vec![9; 4096]);
    drop((buffer, foreign));
    owned.synchronize().unwrap();
    drop((owned, memory));
    bench.finish();
}

#[test]
fn a_foreign_stream_of_another_context_is_refused() {
    let Some(_turn) = turn("DEVICES=2") else { return };
    let (first, second) = (CudaDevice::open(0).unwrap(), CudaDevice::open(1).unwrap());
    let stream = Stream::new(second.clone()).unwrap();
    // SAFETY: `stream` outlives the handle, which is not even made.
    let refused = unsafe { Stream::foreign(first.clone(), stream.raw()) }.unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_CONTEXT, "{refused}");
    drop((stream, first, second));
    assert_eq!(control("leaks"), "");
}

#[test]
fn the_default_streams_handles_are_no_foreign_streams() {
    let Some(bench) = bench() else { return };
    for raw in [RawStream::NULL, RawStream::LEGACY, RawStream::PER_THREAD] {
        // SAFETY: the default streams live as long as the context; the handle is not even made.
        let refused = unsafe { Stream::foreign(bench.device(), raw) }.unwrap_err();
        assert_eq!(refused.code(), DriverCode::INVALID_HANDLE);
        // SAFETY: contract, devices/handles: the default streams are valid.
        assert!(unsafe { bench.device.owns_stream(raw) }.unwrap());
    }
    bench.finish();
}

#[test]
fn every_kind_of_stream_carries_work() {
    let Some(bench) = bench() else { return };
    let device = bench.device();
    let memory = DeviceMemory::new(device.clone());
    for stream in [
        bench.stream(),
        Stream::legacy_default(device.clone()),
        Stream::per_thread_default(device.clone()),
    ] {
        let mut buffer = memory.buffer(1000, &stream).unwrap();
        buffer.copy_from_slice(0, &[3; 1000]).unwrap();
        assert_eq!(buffer.to_vec().unwrap(), vec![3; 1000], "{stream:?}");
        assert!(!stream.is_capturing().unwrap());
        assert!(stream.is_complete().unwrap());
    }
    drop((memory, device));
    bench.finish();
}

#[test]
fn a_streams_number_stays_and_is_not_its_handles_next_owners() {
    let Some(bench) = bench() else { return };
    // SAFETY: the stream that is passed is alive.
    let identify = |stream: &Stream| unsafe { bench.device.identify(stream.raw()) }.unwrap();
    let first = bench.stream();
    let StreamIdentity::Number(number) = identify(&first) else { return };
    assert_eq!(identify(&first), StreamIdentity::Number(number));
    drop(first);
    for stream in [bench.stream(), bench.stream()] {
        assert_ne!(identify(&stream), StreamIdentity::Number(number));
    }
    bench.finish();
}
