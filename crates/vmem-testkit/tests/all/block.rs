//! A tracked block waits for what it must, and for no more.

use std::sync::Arc;

use vmem_core::author::StreamExt;
use vmem_core::{
    BlockLayout, DeviceMemory, DriverCode, FreeErrorKind, MemoryResource, Request, Stream,
};
use vmem_sim::{CallKind, SimDevice};
use vmem_testkit::conformance::Subject;
use vmem_testkit::{Countdown, Finding, TrackedBlock};

struct Scene {
    device: Arc<SimDevice>,
    memory: DeviceMemory,
    streams: [Stream; 3],
}

fn scene() -> Scene {
    let device = SimDevice::new(1 << 20);
    let streams = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    Scene { memory: DeviceMemory::new(device.clone()), streams, device }
}

impl Scene {
    fn block(&self) -> TrackedBlock {
        let request = Request::new(BlockLayout::new(5000).unwrap(), &self.streams[0]);
        TrackedBlock::allocate(&self.memory, &request).unwrap()
    }

    /// How many waits `work` queues.
    fn waits(&self, work: impl FnOnce()) -> u64 {
        let before = self.device.calls();
        work();
        (self.device.calls() - before).of(CallKind::WaitEvent)
    }
}

#[test]
fn the_own_stream_waits_for_nothing() {
    let scene = scene();
    let [a, ..] = &scene.streams;
    let waits = scene.waits(|| {
        let mut block = scene.block();
        block.write(a).unwrap();
        block.verify(a).unwrap();
        block.write(a).unwrap();
        block.free(&scene.memory, a).unwrap();
    });
    assert_eq!(waits, 0);
    scene.device.assert_clean();
}

#[test]
fn reads_wait_for_writes_and_writes_for_everything() {
    let scene = scene();
    let [a, b, c] = &scene.streams;
    let mut block = scene.block();
    let mut copies = [scene.block(), scene.block()];
    block.write(a).unwrap();
    let [first, second] = &mut copies;
    // Each copy waits for the source's writer and for its target's own stream.
    assert_eq!(scene.waits(|| block.copy_to(first, b).unwrap()), 2);
    assert_eq!(scene.waits(|| block.copy_to(second, c).unwrap()), 2);
    // Both readers are waited for; the writer is the stream itself.
    assert_eq!(scene.waits(|| block.write(a).unwrap()), 2);
    // That write followed all others: it alone is waited for.
    assert_eq!(scene.waits(|| block.write(c).unwrap()), 1);
    assert_eq!(scene.waits(|| block.free(&scene.memory, a).unwrap()), 1);
    for mut copy in copies {
        copy.verify(a).unwrap();
        copy.free(&scene.memory, a).unwrap();
    }
    scene.device.assert_clean();
}

#[test]
fn verifying_finds_a_byte_that_others_wrote() {
    let scene = scene();
    let [a, ..] = &scene.streams;
    let mut block = scene.block();
    assert!(!block.is_written());
    block.write(a).unwrap();
    let at = block.ptr().checked_add(4321).unwrap();
    a.with_raw("test", |device, raw| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a byte of a live
        // block and a valid stream.
        unsafe { device.fill(at, 0, 1, raw) }
    })
    .unwrap();
    let text = block.verify(a).unwrap_err().to_string();
    assert!(text.contains("wrong bytes: 0x00 instead of"), "{text}");
    assert!(text.contains("at offset 4321 of 5000"), "{text}");
    block.free(&scene.memory, a).unwrap();
}

#[test]
fn a_refused_free_gives_the_block_back() {
    let scene = scene();
    let [a, b, _] = &scene.streams;
    let other = DeviceMemory::new(scene.device.clone());
    let mut block = scene.block();
    block.write(a).unwrap();
    let refused = block.free(&other, b).unwrap_err();
    assert_eq!(refused.kind(), FreeErrorKind::Foreign);
    let mut block = refused.into_block();
    block.verify(b).unwrap();
    block.free(&scene.memory, b).unwrap();
    scene.device.assert_clean();
}

#[test]
fn a_use_that_cannot_be_recorded_is_waited_for() {
    let scene = scene();
    let [a, b, _] = &scene.streams;
    let mut block = scene.block();
    scene.device.fail_call(Some(CallKind::CreateEvent), 1, DriverCode::UNKNOWN);
    block.write(a).unwrap();
    block.verify(b).unwrap();
    block.free(&scene.memory, b).unwrap();
    scene.device.assert_clean();
}

#[test]
fn a_use_that_is_lost_sight_of_delays_the_free_until_the_device_rests() {
    let scene = scene();
    let [a, b, _] = &scene.streams;
    let mut block = scene.block();
    scene.device.fail_call(Some(CallKind::CreateEvent), 1, DriverCode::UNKNOWN);
    scene.device.fail_call(Some(CallKind::SynchronizeStream), 1, DriverCode::UNKNOWN);
    assert!(block.write(a).is_err());
    assert!(!block.is_written());
    block.free(&scene.memory, b).unwrap();
    scene.device.assert_clean();
}

#[test]
fn a_block_whose_allocation_cannot_be_recorded_is_given_back() {
    let scene = scene();
    let [a, ..] = &scene.streams;
    scene.device.fail_call(Some(CallKind::CreateEvent), 1, DriverCode::UNKNOWN);
    let request = Request::new(BlockLayout::new(5000).unwrap(), a);
    let refused = TrackedBlock::allocate(&scene.memory, &request).unwrap_err();
    assert_eq!(refused.resource(), "TrackedBlock");
    assert_eq!(scene.device.leaks().plain.count, 0);
}

#[test]
fn a_finding_tells_the_whole_chain_once() {
    let scene = scene();
    let request = Request::new(BlockLayout::new(1 << 30).unwrap(), &scene.streams[0]);
    let error = scene.memory.allocate(&request).unwrap_err();
    let text = Finding::from(error).to_string();
    assert!(text.starts_with("DeviceMemory: out of memory"), "{text}");
    assert_eq!(text.matches("CUDA_ERROR_OUT_OF_MEMORY").count(), 1, "{text}");
}

#[test]
fn what_a_test_holds_prints_a_line_for_debugging() {
    let device = SimDevice::new(1 << 20);
    let countdown = Countdown::new(device.clone());
    let memory = DeviceMemory::new(countdown.clone());
    let streams: Vec<_> = (0..100).map(|_| Stream::new(countdown.clone()).unwrap()).collect();
    let request = Request::new(BlockLayout::new(64).unwrap(), &streams[0]);
    let mut block = TrackedBlock::allocate(&memory, &request).unwrap();
    block.write(&streams[0]).unwrap();
    streams.iter().for_each(|stream| block.verify(stream).unwrap());
    let others: Vec<_> = (0..100).map(|_| memory.allocate(&request).unwrap()).collect();
    let subject = Subject::new(&memory);
    for what in [&block as &dyn std::fmt::Debug, &countdown, &memory, &subject] {
        let line = format!("{what:?}");
        assert!(line.len() < 1000, "{line}");
    }
    block.free(&memory, &streams[1]).unwrap();
    for block in others {
        // SAFETY: contract, freeing: no work was ever queued on it.
        unsafe { memory.deallocate(block, &streams[0]) }.unwrap();
    }
}
