//! Uses of one piece of memory that two threads note at a time.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use vmem_core::author::Leaf;
use vmem_core::{
    Block, BlockLayout, Device, DeviceBox, DeviceBuffer, DeviceMemory, Request, ResourceExt, Stream,
};
use vmem_sim::Kernel;
use vmem_testkit::Countdown;

use crate::common::{launch, sim};

const RECORDING: &str = "Device::record_event";

/// Calls `first`, and `second` on another thread as soon as `first` has recorded a marker. `first` then
/// goes on when `second` has returned, or is taken to wait for `first`: it is given a moment, and what
/// holds must hold whether or not that is enough.
fn while_marking(device: &Countdown, first: impl FnOnce(), second: impl FnOnce() + Send) {
    let (go, started) = channel();
    let (finished, over) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            started.recv().unwrap();
            second();
            let _ = finished.send(());
        });
        device.after(RECORDING, move || {
            go.send(()).unwrap();
            let _ = over.recv_timeout(Duration::from_millis(100));
        });
        first();
        device.after(RECORDING, || ());
    });
}

#[test]
fn the_newer_of_two_uses_by_one_stream_is_kept_whichever_thread_notes_first() {
    for seed in 0..4 {
        let device = sim(seed);
        let hooked = Countdown::new(device.clone());
        let memory = DeviceMemory::new(hooked.clone()).into_dyn();
        let [home, other] = [(); 2].map(|()| Stream::new(hooked.clone()).unwrap());
        let elements = DeviceBox::<[u8]>::zeroed(memory, 4096, &home).unwrap();
        let slice = elements.as_slice();
        let ptr = slice.ptr().unwrap();
        slice.make_ready_on(&other).unwrap();
        let work = |tag| {
            launch(&device, &other, Kernel::write_pattern(ptr, 4096, tag));
            slice.record_use(&other).unwrap();
        };
        while_marking(&hooked, || work(1), || work(2));
        drop(elements);
        device.assert_clean();
    }
}

#[test]
fn a_buffer_outlives_the_later_of_two_copies_that_two_threads_queue() {
    for seed in 0..4 {
        let device = sim(seed);
        let hooked = Countdown::new(device.clone());
        let memory = DeviceMemory::new(hooked.clone()).into_dyn();
        let [home, other] = [(); 2].map(|()| Stream::new(hooked.clone()).unwrap());
        let from = DeviceBuffer::from_slice(memory.clone(), &[7; 4096], &home).unwrap();
        let [mut first, mut second] =
            [(); 2].map(|()| DeviceBuffer::new(memory.clone(), 4096, &other).unwrap());
        // It cannot wait for the copies, so they are noted.
        home.retire().unwrap();
        while_marking(
            &hooked,
            || first.copy_from_buffer(0, &from, 0..4096).unwrap(),
            || second.copy_from_buffer(0, &from, 0..4096).unwrap(),
        );
        drop(from);
        device.assert_clean();
        assert_eq!(second.to_vec().unwrap(), [7; 4096]);
    }
}

#[test]
fn a_leafs_block_outlives_the_later_of_two_uses_that_two_threads_queue() {
    for seed in 0..4 {
        let device = sim(seed);
        let hooked = Countdown::new(device.clone());
        // SAFETY: contract, devices/handles and devices/pending-work: the leaf's promise.
        let leaf = Leaf::new("Test", hooked.clone(), |device, base| unsafe { device.free(base) });
        let [home, other] = [(); 2].map(|()| Stream::new(hooked.clone()).unwrap());
        let request = Request::new(BlockLayout::new(4096).unwrap(), &home);
        let block: Block = leaf.allocate(&request, |bytes| device.allocate(bytes)).unwrap();
        let fill = |value| {
            let queue = |device: &dyn Device, raw| {
                // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live
                // block, valid stream.
                unsafe { device.fill(block.ptr(), value, 4096, raw) }
            };
            leaf.queue_use(&block, &other, "fill", queue).unwrap();
        };
        while_marking(&hooked, || fill(1), || fill(2));
        // SAFETY: contract, freeing: only the leaf's own work used the block.
        unsafe { leaf.deallocate(block, &home) }.unwrap();
        device.assert_clean();
    }
}
