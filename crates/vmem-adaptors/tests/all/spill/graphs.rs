//! Buffers that graphs use.

use vmem_adaptors::Lease;
use vmem_core::{DeviceBuffer, DriverCode, Stream};
use vmem_sim::{CaptureMode, Kernel};

use super::{Bench, Buffer, Memory, SIZE};

/// Begins to capture, and captures a write under a lease.
fn captured(bench: &Bench, buffer: &Buffer) -> Lease<DeviceBuffer<Memory>> {
    bench.device.exchange_capture_mode(CaptureMode::Relaxed);
    let lease = buffer.lease(&bench.stream).unwrap();
    bench.device.begin_capture(&bench.stream).unwrap();
    bench.launch(&bench.stream, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, 7));
    lease
}

#[test]
fn a_graph_captured_under_a_lease_keeps_the_memory_until_its_hold_is_dropped() {
    for seed in 0..8 {
        let bench = Bench::new(seed, 2, 2);
        let (buffer, launcher) = (bench.buffer(), Stream::new(bench.device.clone()).unwrap());
        let lease = captured(&bench, &buffer);
        let hold = lease.retain_for_graph();
        // In the capture: its work is the graph's.
        drop(lease);
        let graph = bench.device.end_capture(&bench.stream).unwrap();
        bench.device.settle();
        assert_eq!((bench.spill.demote(SIZE), bench.spill.counts().leased), (0, 1));
        // SAFETY: contract, devices/ranges: the buffer lives.
        unsafe { bench.device.launch_graph(&launcher, &graph) }.unwrap();
        hold.record_use(&launcher).unwrap();
        bench.stream.wait(&launcher.marker().unwrap()).unwrap();
        // SAFETY: contract, devices/ranges: the buffer lives.
        unsafe { bench.device.launch_graph(&bench.stream, &graph) }.unwrap();
        drop((hold, graph));
        // What is pending may be over by chance; the checker would find a move that comes too early.
        bench.spill.demote(SIZE);
        bench.device.settle();
        bench.spill.demote(SIZE);
        assert!(!buffer.is_on_device(), "seed {seed}");
        bench.check(&buffer, &launcher, 7);
        drop((buffer, launcher));
        bench.finish();
    }
}

#[test]
fn a_hold_keeps_the_memory_alive() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffer();
    let hold = buffer.lease(&bench.stream).unwrap().retain_for_graph();
    drop(buffer);
    assert_eq!(bench.spill.counts().buffers, 1);
    drop(hold);
    assert_eq!(bench.spill.counts().buffers, 0);
    bench.finish();
}

#[test]
fn memory_that_was_captured_without_a_hold_never_moves() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffer();
    let lease = captured(&bench, &buffer);
    drop(lease);
    let graph = bench.device.end_capture(&bench.stream).unwrap();
    bench.device.settle();
    assert_eq!((bench.spill.room(), bench.spill.demote(SIZE)), (0, 0));
    assert_eq!(bench.spill.counts().captured, 1);
    drop(graph);
    drop(buffer.lease(&bench.stream).unwrap());
    bench.device.settle();
    assert_eq!(bench.spill.demote(SIZE), 0);
    drop(buffer);
    bench.finish();
}

#[test]
fn a_lease_and_a_use_by_a_launch_are_refused_on_a_capturing_stream_which_captures_on() {
    let bench = Bench::new(0, 1, 1);
    let (buffer, capturing) = (bench.buffer(), Stream::new(bench.device.clone()).unwrap());
    let hold = buffer.lease(&bench.stream).unwrap().retain_for_graph();
    bench.device.exchange_capture_mode(CaptureMode::Relaxed);
    bench.device.begin_capture(&capturing).unwrap();
    let capture = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
    assert_eq!(buffer.lease(&capturing).unwrap_err().code(), capture);
    assert_eq!(hold.record_use(&capturing).unwrap_err().code(), capture);
    // Another buffer may move meanwhile.
    assert!(bench.device.end_capture(&capturing).unwrap().is_empty());
    drop((hold, buffer, capturing));
    bench.finish();
}

#[test]
fn dropped_in_a_capture_of_its_home_the_memory_is_freed_after_work_under_leases() {
    for seed in 0..8 {
        let bench = Bench::new(seed, 1, 1);
        let (buffer, other) = (bench.buffer(), Stream::new(bench.device.clone()).unwrap());
        bench.write(&buffer, &other, 1);
        bench.device.exchange_capture_mode(CaptureMode::Relaxed);
        bench.device.begin_capture(&bench.stream).unwrap();
        drop(buffer);
        assert!(bench.device.end_capture(&bench.stream).unwrap().is_empty());
        bench.stream.synchronize().unwrap();
        drop(other);
        bench.finish();
    }
}

#[test]
fn work_that_was_queued_before_a_capture_with_a_hold_is_waited_for() {
    for seed in 0..16 {
        let bench = Bench::new(seed, 1, 1);
        let buffer = bench.buffer();
        let [own, other] = [(); 2].map(|()| Stream::new(bench.device.clone()).unwrap());
        bench.device.exchange_capture_mode(CaptureMode::Relaxed);
        let lease = buffer.lease(&own).unwrap();
        bench.launch(&own, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, 7));
        bench.device.begin_capture(&own).unwrap();
        let hold = lease.retain_for_graph();
        drop(lease);
        // Nothing can tell when it is over.
        let capture = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
        assert_eq!(buffer.lease(&other).unwrap_err().code(), capture);
        drop(bench.device.end_capture(&own).unwrap());
        bench.check(&buffer, &other, 7);
        drop(hold);
        drop((buffer, own, other));
        bench.finish();
    }
}

#[test]
fn work_on_the_home_stream_before_a_capture_with_a_hold_keeps_the_memory_where_it_is() {
    for seed in 0..16 {
        let bench = Bench::new(seed, 1, 1);
        let (buffer, other) = (bench.buffer(), Stream::new(bench.device.clone()).unwrap());
        bench.device.exchange_capture_mode(CaptureMode::Relaxed);
        let lease = buffer.lease(&other).unwrap();
        let ptr = lease.memory().ptr().unwrap();
        bench.launch(&bench.stream, Kernel::write_pattern(ptr, SIZE, 7));
        bench.device.begin_capture(&bench.stream).unwrap();
        let hold = lease.retain_for_graph();
        drop(lease);
        drop(bench.device.end_capture(&bench.stream).unwrap());
        drop(hold);
        // The checker finds a move that comes too early.
        bench.spill.demote(SIZE);
        bench.device.settle();
        bench.spill.demote(SIZE);
        assert!(!buffer.is_on_device(), "seed {seed}");
        bench.check(&buffer, &other, 7);
        drop((buffer, other));
        bench.finish();
    }
}

#[test]
fn a_hold_that_is_dropped_while_its_stream_captures_another_graph_lets_its_buffer_move() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffer();
    let lease = captured(&bench, &buffer);
    let hold = lease.retain_for_graph();
    drop(lease);
    drop(bench.device.end_capture(&bench.stream).unwrap());
    bench.device.begin_capture(&bench.stream).unwrap();
    drop(hold);
    drop(bench.device.end_capture(&bench.stream).unwrap());
    bench.device.settle();
    assert_eq!(bench.spill.demote(SIZE), 0, "what was queued before that capture is marked");
    bench.device.settle();
    assert_eq!((bench.spill.demote(SIZE), bench.spill.counts().captured), (SIZE, 0));
    drop(buffer);
    bench.finish();
}
