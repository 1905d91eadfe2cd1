//! A stream capture on one thread, and vmem's calls on others.

use std::ffi::{c_int, c_void};
use std::ptr;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{AsyncMemory, Device, DeviceMemory, Stream};
use vmem_cuda::StreamIdentity;

use crate::support::{MIB, alloc, bench, driver_functions, free};

driver_functions! {
    fn cuStreamBeginCapture_v2(stream: u64, mode: c_int) -> c_int;
    fn cuStreamEndCapture(stream: u64, graph: *mut *mut c_void) -> c_int;
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int;
    fn cuGraphDestroy(graph: *mut c_void) -> c_int;
}

/// Runs `during` while the stream captures, in the global mode. Returns what ending the capture came
/// to: zero if it survived.
fn capture(device: &dyn Device, stream: &Stream, during: impl FnOnce()) -> c_int {
    assert!(!stream.is_capturing().unwrap());
    let raw = stream.raw().0;
    // SAFETY: a live stream.
    assert_eq!(unsafe { cuStreamBeginCapture_v2(raw, 0) }, 0);
    assert!(stream.is_capturing().unwrap());
    during();
    let mut graph = ptr::null_mut();
    // SAFETY: the stream captures, and the driver writes to a local.
    let ended = unsafe { cuStreamEndCapture(raw, &raw mut graph) };
    if ended == 0 {
        // SAFETY: the graph that the capture ended in.
        assert_eq!(unsafe { cuGraphDestroy(graph) }, 0);
    }
    assert!(!stream.is_capturing().unwrap());
    device.synchronize().unwrap();
    ended
}

/// The same, for what must not break the capture.
fn while_capturing(device: &dyn Device, stream: &Stream, during: impl FnOnce()) {
    assert_eq!(capture(device, stream, during), 0, "the capture was broken");
}

#[test]
fn an_allocation_that_is_not_vmems_does_break_a_capture() {
    let Some(bench) = bench() else { return };
    let current = bench.device.enter().unwrap();
    let stream = bench.stream();
    let ended = capture(&*bench.device, &stream, || {
        let mut address = 0;
        // SAFETY: the context is current, and the driver writes to a local.
        assert_eq!(unsafe { cuMemAlloc_v2(&raw mut address, 256) }, 900);
    });
    assert_eq!(ended, 901);
    drop((current, stream));
    // The software driver counts the refused call as misuse, as it is.
}

#[test]
fn calls_on_another_thread_do_not_break_a_capture() {
    let Some(bench) = bench() else { return };
    let current = bench.device.enter().unwrap();
    let stream = bench.stream();
    while_capturing(&*bench.device, &stream, || {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let stream = bench.stream();
                let memory = DeviceMemory::new(bench.device());
                let block = alloc(&memory, MIB, &stream);
                let marker = stream.record(IdleEvent::new(bench.device()).unwrap()).unwrap();
                marker.synchronize().unwrap();
                assert!(marker.is_complete().unwrap());
                assert!(stream.is_complete().unwrap());
                bench.device.memory_info().unwrap();
                let pool = bench.device.async_pool().unwrap();
                pool.reserved().unwrap();
                pool.trim_to(0).unwrap();
                free(&memory, block, &stream);
                if let Ok(memory) = AsyncMemory::new(bench.device()) {
                    free(&memory, alloc(&memory, MIB, &stream), &stream);
                }
            });
            other.join().unwrap();
        });
    });
    drop((current, stream));
    bench.finish();
}

#[test]
fn calls_on_the_capturing_thread_do_not_break_it_either() {
    let Some(bench) = bench() else { return };
    let current = bench.device.enter().unwrap();
    let stream = bench.stream();
    while_capturing(&*bench.device, &stream, || {
        let memory = bench.device.allocate(MIB).unwrap();
        bench.device.memory_info().unwrap();
        // SAFETY: contract, devices/pending-work: no work was queued on the memory.
        unsafe { bench.device.free(memory) }.unwrap();
    });
    drop((current, stream));
    bench.finish();
}

#[test]
fn a_capturing_stream_gets_what_is_at_hand_and_more_and_its_capture_survives() {
    use vmem_pool::{Pool, PoolConfig, VirtualArena};

    let Some(bench) = bench() else { return };
    let current = bench.device.enter().unwrap();
    let stream = bench.stream();
    let pool =
        Pool::new(VirtualArena::new(bench.device()).unwrap(), PoolConfig::default()).unwrap();
    let block = alloc(&pool, 2 * MIB, &stream);
    free(&pool, block, &stream);
    let mut kept = Vec::new();
    while_capturing(&*bench.device, &stream, || {
        kept.push(alloc(&pool, MIB, &stream));
        kept.push(alloc(&pool, 64 * MIB, &stream));
    });
    kept.into_iter().for_each(|block| free(&pool, block, &stream));
    drop((pool, current, stream));
    bench.finish();
}

#[test]
fn asking_which_stream_a_capturing_one_is_leaves_its_capture_alone() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    // SAFETY: the stream is alive.
    let identify = || unsafe { bench.device.identify(stream.raw()) }.unwrap();
    let before = identify();
    // The test's own calls are past vmem.
    let current = bench.device.enter().unwrap();
    while_capturing(&*bench.device, &stream, || assert_eq!(identify(), StreamIdentity::Capturing));
    assert_eq!(identify(), before);
    drop(current);
    drop(stream);
    bench.finish();
}
