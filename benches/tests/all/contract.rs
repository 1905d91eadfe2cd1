//! Every baseline is a memory resource.

use std::sync::Arc;

use vmem_benches::{ALL, Baseline, device, driver_calls, replay_stack};
use vmem_core::{BlockLayout, Device, DeviceMemory, MemoryResource, ResourceExt, Stream};
use vmem_sim::SimDevice;
use vmem_testkit::conformance::{self, Subject};
use vmem_testkit::{Countdown, FAULT_CODES, sweep};
use vmem_trace::{ReplayOptions, Workload, WorkloadOptions, replay};

use crate::support::{baseline, on};

const MIB: u64 = 1 << 20;

#[test]
fn every_baseline_keeps_the_contract() {
    for baseline in ALL {
        let device = SimDevice::new(1 << 30);
        let memory = with_room_beside_it(*baseline, &device);
        let other_device: Arc<dyn Device> = SimDevice::new(1 << 30);
        let subject = Subject::new(&*memory);
        conformance::check(&Subject { other_device: Some(other_device), ..subject });
        drop(memory);
        device.assert_clean();
        // A pool of ours leaves what an ended thread freed on its default stream, and says so.
        let is_reported = device.base().drop_failures().count() > 0;
        let leaks = device.leaks();
        assert!(is_reported || leaks.is_empty(), "{}: {leaks:?}", baseline.name);
    }
}

/// The baseline on the device, of which the suite needs some for itself, however much the baseline
/// takes at first.
fn with_room_beside_it(baseline: Baseline, device: &Arc<SimDevice>) -> Box<dyn MemoryResource> {
    let stream = Stream::new(device.clone()).unwrap();
    let plain = DeviceMemory::new(device.clone());
    let room = plain.allocate_on(BlockLayout::new(64 << 20).unwrap(), &stream).unwrap();
    let memory = (baseline.build)(device.clone()).unwrap();
    // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
    unsafe { plain.deallocate(room, &stream) }.unwrap();
    memory
}

#[test]
fn two_streams_share_every_baseline() {
    let workload = Workload::OverlayTwoStreams;
    let options = WorkloadOptions { scale: "1k".parse().unwrap(), ..workload.defaults() };
    let trace = workload.generate(&options).unwrap();
    for baseline in ALL {
        let device = SimDevice::new(1 << 30);
        let stack = on(*baseline, device.clone()).unwrap();
        let report = replay(&trace, &stack, &ReplayOptions::default()).unwrap();
        assert!(report.passed(), "{}: {report:?}", baseline.name);
        drop(stack);
        device.assert_clean();
        assert_eq!(device.used(), 0, "{}", baseline.name);
    }
}

/// Allocates and frees on two streams until the device is full, and goes on after a failed call.
fn strain(memory: &dyn MemoryResource, streams: &[Stream; 2]) {
    for turn in 0..3 {
        let mut held = Vec::new();
        for size in [3 * MIB, MIB, 2 * MIB, 5 * MIB] {
            let layout = BlockLayout::new(size).unwrap();
            held.extend(memory.allocate_on(layout, &streams[turn % 2]).ok());
        }
        // Blocks of one stream are freed on both, the other of which must come after it.
        let marker = streams[turn % 2].marker();
        let ordered = marker.and_then(|marker| streams[1 - turn % 2].wait(&marker)).is_ok();
        for (at, block) in held.into_iter().enumerate() {
            let stream = &streams[if ordered { at % 2 } else { turn % 2 }];
            // SAFETY: contract, freeing: no work was queued on the block, the stream is valid and
            // comes after the allocating one.
            if let Err(error) = unsafe { memory.deallocate(block, stream) } {
                // SAFETY: as above.
                unsafe { memory.deallocate(error.into_block(), stream) }.unwrap();
            }
        }
    }
}

#[test]
fn a_failed_driver_call_leaves_the_models_usable() {
    for name in ["rmm", "cupy", "offset"] {
        sweep(&FAULT_CODES, 200, |fault| {
            let device = device(12 * MIB);
            let countdown = Countdown::new(device.clone());
            let driver: Arc<dyn Device> = countdown.clone();
            let streams = [(); 2].map(|()| Stream::new(driver.clone()).unwrap());
            let memory = (baseline(name).build)(driver).unwrap();
            fault.arm(&countdown);
            strain(&*memory, &streams);
            let fired = countdown.fired();
            countdown.disarm();
            let layout = BlockLayout::new(MIB).unwrap();
            let block = memory.allocate_on(layout, &streams[0]).unwrap();
            // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
            unsafe { memory.deallocate(block, &streams[0]) }.unwrap();
            drop(memory);
            // Memory whose freeing failed is out of everyone's reach.
            let is_lost = matches!(fired, Some("Device::free" | "Device::synchronize"));
            assert!(is_lost || device.used() == 0, "{name} {fault:?} {fired:?}");
            countdown
        });
    }
}

#[test]
#[should_panic(expected = "the device is not the resource's")]
fn a_resource_is_measured_on_its_own_device() {
    let [device, other] = [(); 2].map(|()| SimDevice::new(1 << 30));
    replay_stack("elsewhere", other, Arc::new(driver_calls(device)));
}
