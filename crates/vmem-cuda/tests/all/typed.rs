//! Typed memory, transfers and elapsed time over the loaded driver.

use std::num::NonZeroUsize;
use std::time::Duration;

use vmem_core::{
    DeviceMemory, DeviceScalar, DeviceVec, PinnedBuffer, PinnedMemory, ResourceExt, StreamPool,
};

use crate::support::bench;

#[test]
fn typed_memory_is_filled_copied_and_read() {
    let Some(bench) = bench() else { return };
    let streams = StreamPool::new(bench.device(), NonZeroUsize::new(2).unwrap());
    let (first, second) = (streams.get().unwrap(), streams.get().unwrap());
    let memory = DeviceMemory::new(bench.device()).into_dyn();
    let pinned = PinnedMemory::new(bench.device()).unwrap().into_dyn();

    let bytes = DeviceVec::filled(memory.clone(), 7_u8, 1001, &first).unwrap();
    let halves = DeviceVec::filled(memory.clone(), 0x0102_u16, 1001, &first).unwrap();
    let words = DeviceVec::filled(memory.clone(), 1.5_f32, 1001, &first).unwrap();
    let doubles = DeviceVec::filled(memory.clone(), -0.1_f64, 1001, &first).unwrap();
    assert_eq!(bytes.to_vec().unwrap(), [7; 1001]);
    assert_eq!(halves.to_vec().unwrap(), [0x0102; 1001]);
    assert_eq!(words.to_vec().unwrap(), [1.5; 1001]);
    assert_eq!(doubles.to_vec().unwrap(), [-0.1; 1001]);

    let numbers: Vec<u32> = (0..100_000).collect();
    let staging = PinnedBuffer::from_slice(pinned, &numbers, &second).unwrap();
    let mut there = DeviceVec::zeroed(memory.clone(), 100_000, &first).unwrap();
    let upload = there.copy_from_pinned(staging, ..).unwrap();
    let mut copy = DeviceVec::new(memory.clone(), &second).unwrap();
    copy.extend_from(&there).unwrap();
    there.fill(0).unwrap();
    let mut staging = upload.wait().unwrap();
    staging.fill(9);
    let staging = copy.copy_to_pinned(staging, ..).unwrap().wait().unwrap();
    assert_eq!(*staging, *numbers);
    let scalar = DeviceScalar::new(memory.clone(), u64::MAX - 5, &second).unwrap();
    assert_eq!(scalar.value().unwrap(), u64::MAX - 5);

    drop((bytes, halves, words, doubles, there, copy, staging, scalar));
    drop((first, second, streams, memory));
    bench.finish();
}

#[test]
fn time_passes_between_two_events() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let memory = DeviceMemory::new(bench.device()).into_dyn();
    let start = stream.record_timed().unwrap();
    let zeros = DeviceVec::<u8>::zeroed(memory.clone(), 16 << 20, &stream).unwrap();
    let end = stream.record_timed().unwrap();
    let elapsed = end.elapsed_since(&start).unwrap();
    assert!(elapsed > Duration::ZERO && elapsed < Duration::from_secs(60), "{elapsed:?}");
    drop((start, end, zeros, stream, memory));
    bench.finish();
}
