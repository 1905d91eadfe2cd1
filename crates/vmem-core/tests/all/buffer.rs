//! Buffers: memory that frees itself in stream order. The cases follow RMM's `device_buffer` tests
//! where our contract has them.

use std::sync::Arc;

use vmem_core::{
    AllocErrorKind, AsyncMemory, Device, DeviceBuffer, DeviceMemory, DriverCode, MemoryResource,
    ResourceExt, Stream,
};
use vmem_sim::{CallKind, Kernel, SimConfig, SimDevice, Strictness};

use crate::common::{MIB, code, launch, sim, stream};

type Memory = Arc<dyn MemoryResource>;

fn setup(seed: u64) -> (Arc<SimDevice>, Stream, Memory) {
    let device = sim(seed);
    let stream = stream(&device);
    let memory = DeviceMemory::new(device.clone()).into_dyn();
    (device, stream, memory)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..=255).cycle().take(count).collect()
}

#[test]
fn an_abandoned_buffer_is_never_freed_and_counted() {
    let (device, stream, memory) = setup(0);
    let failures = device.base().drop_failures();
    memory.owned_buffer(0, &stream).unwrap().abandon(&"it holds nothing");
    assert_eq!(failures.count(), 0);
    memory.owned_buffer(4096, &stream).unwrap().abandon(&"nobody knows who uses it");
    assert_eq!(failures.count(), 1);
    assert!(format!("{:?}", failures.first()).contains("nobody knows who uses it"));
    drop((stream, memory));
    assert!(!device.leaks().is_empty());
}

#[test]
fn an_empty_buffer_holds_no_block_and_makes_no_call() {
    let (device, stream, memory) = setup(0);
    let before = device.calls();
    let mut buffer = DeviceBuffer::new(memory.clone(), 0, &stream).unwrap();
    assert!(buffer.is_empty() && buffer.ptr().is_none() && buffer.block().is_none());
    assert_eq!((buffer.len(), buffer.capacity()), (0, 0));
    assert_eq!(buffer.to_vec().unwrap(), []);
    buffer.copy_from_slice(0, &[]).unwrap();
    buffer.fill(0..0, 1).unwrap();
    let clone = buffer.try_clone(&stream).unwrap();
    assert!(clone.is_empty() && clone.into_block().unwrap().is_none());
    buffer.shrink_to_fit().unwrap();
    drop(buffer);
    assert!(DeviceBuffer::from_slice(memory, &[], &stream).unwrap().is_empty());
    assert_eq!((device.calls() - before).total(), 0);
}

#[test]
fn a_buffer_knows_its_resource_stream_and_size() {
    let (device, stream, memory) = setup(0);
    let buffer = DeviceBuffer::new(memory.clone(), 1000, &stream).unwrap();
    assert_eq!((buffer.len(), buffer.capacity()), (1000, 1000));
    assert_eq!(buffer.stream(), &stream);
    assert!(Arc::ptr_eq(buffer.resource(), &memory));
    let block = buffer.block().unwrap();
    assert_eq!(Some(block.ptr()), buffer.ptr());
    drop(buffer);
    assert_eq!(device.leaks().plain.count, 0);
}

#[test]
fn bytes_go_there_and_back() {
    for seed in 0..8 {
        let (device, stream, memory) = setup(seed);
        let mut buffer = DeviceBuffer::from_slice(memory, &bytes(10_000), &stream).unwrap();
        assert_eq!(buffer.to_vec().unwrap(), bytes(10_000));
        buffer.fill(100..200, 7).unwrap();
        buffer.copy_from_slice(150, &[1, 2]).unwrap();
        let mut part = [0; 4];
        buffer.copy_to_slice(149, &mut part).unwrap();
        assert_eq!(part, [7, 1, 2, 7]);
        device.assert_clean();
    }
}

#[test]
fn ranges_outside_the_buffer_are_refused() {
    let (device, stream, memory) = setup(0);
    let mut buffer = DeviceBuffer::new(memory, 16, &stream).unwrap();
    let invalid = DriverCode::INVALID_VALUE;
    assert_eq!(code(buffer.copy_from_slice(15, &[0; 2])), invalid);
    assert_eq!(code(buffer.copy_to_slice(u64::MAX, &mut [0; 2])), invalid);
    assert_eq!(code(buffer.fill(16..17, 0)), invalid);
    #[expect(clippy::reversed_empty_ranges, reason = "it is what must be refused")]
    let reversed = 3..1;
    assert_eq!(code(buffer.fill(reversed, 0)), invalid);
    buffer.fill(16..16, 0).unwrap();
    device.assert_clean();
}

#[test]
fn a_clone_has_the_same_bytes_elsewhere_on_the_stream_chosen() {
    for seed in 0..8 {
        let (device, home, memory) = setup(seed);
        let other = stream(&device);
        let mut buffer = DeviceBuffer::from_slice(memory, &bytes(5000), &home).unwrap();
        buffer.reserve(6000).unwrap();
        launch(&device, &home, Kernel::add_one(buffer.ptr().unwrap(), 5000));
        let clone = buffer.try_clone(&other).unwrap();
        assert_ne!(clone.ptr(), buffer.ptr());
        assert_eq!((clone.len(), clone.capacity()), (5000, 5000));
        assert_eq!(clone.stream(), &other);
        // The source may change and go at once: the copy is ordered before both.
        buffer.fill(0..5000, 0).unwrap();
        drop(buffer);
        let expected: Vec<u8> = bytes(5000).iter().map(|b| b.wrapping_add(1)).collect();
        assert_eq!(clone.to_vec().unwrap(), expected);
        device.assert_clean();
    }
}

#[test]
fn moving_a_buffer_moves_no_bytes() {
    let (device, stream, memory) = setup(0);
    let buffer = DeviceBuffer::new(memory, 64, &stream).unwrap();
    let (ptr, before) = (buffer.ptr(), device.calls());
    let mut moved = Some(buffer);
    assert_eq!(moved.as_ref().unwrap().ptr(), ptr);
    assert_eq!((device.calls() - before).total(), 0);
    assert!(moved.take().is_some());
    assert_eq!(device.leaks().plain.count, 0);
}

#[test]
fn growing_moves_and_keeps_the_bytes_and_shrinking_does_not_move() {
    for seed in 0..8 {
        let (device, stream, memory) = setup(seed);
        let mut buffer = DeviceBuffer::from_slice(memory, &bytes(1000), &stream).unwrap();
        let first = buffer.ptr();
        buffer.resize(10).unwrap();
        assert_eq!((buffer.ptr(), buffer.len(), buffer.capacity()), (first, 10, 1000));
        buffer.resize(1000).unwrap();
        assert_eq!(buffer.ptr(), first);
        buffer.resize(3000).unwrap();
        assert_ne!(buffer.ptr(), first);
        assert_eq!(buffer.to_vec().unwrap()[..1000], bytes(1000));
        buffer.reserve(100).unwrap();
        assert_eq!(buffer.capacity(), 3000);
        buffer.reserve(5000).unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (3000, 5000));
        buffer.resize(500).unwrap();
        buffer.shrink_to_fit().unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (500, 500));
        assert_eq!(buffer.to_vec().unwrap(), bytes(500));
        buffer.resize(0).unwrap();
        buffer.shrink_to_fit().unwrap();
        assert!(buffer.ptr().is_none());
        device.assert_clean();
        assert_eq!(device.leaks().plain.count, 0);
    }
}

#[test]
fn an_empty_buffer_grows_like_any_other() {
    let (device, stream, memory) = setup(0);
    let mut resized = DeviceBuffer::new(memory.clone(), 0, &stream).unwrap();
    resized.resize(10).unwrap();
    resized.fill(0..10, 3).unwrap();
    assert_eq!(resized.to_vec().unwrap(), [3; 10]);
    let mut reserved = DeviceBuffer::new(memory, 0, &stream).unwrap();
    reserved.reserve(10).unwrap();
    assert_eq!((reserved.len(), reserved.capacity()), (0, 10));
    device.assert_clean();
}

#[test]
fn a_failed_growth_leaves_the_buffer_as_it_was() {
    let (device, stream, memory) = setup(0);
    let mut buffer = DeviceBuffer::from_slice(memory.clone(), &bytes(100), &stream).unwrap();
    let ptr = buffer.ptr();
    let refused = buffer.resize(100 * MIB).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::OutOfMemory);
    device.fail_call(Some(CallKind::CopyWithin), 1, DriverCode::UNKNOWN);
    let refused = buffer.reserve(200).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::DeviceFault);
    assert_eq!((buffer.ptr(), buffer.len(), buffer.capacity()), (ptr, 100, 100));
    assert_eq!(buffer.to_vec().unwrap(), bytes(100));
    assert_eq!(device.leaks().plain.count, 1);
    device.fail_call(Some(CallKind::CopyFromHost), 1, DriverCode::UNKNOWN);
    assert!(DeviceBuffer::from_slice(memory, &[1], &stream).is_err());
    assert_eq!(device.leaks().plain.count, 1);
    device.assert_clean();
}

#[test]
fn sizes_that_are_no_layout_are_refused() {
    let (_device, stream, memory) = setup(0);
    let refused = DeviceBuffer::new(memory, u64::MAX, &stream).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::InvalidLayout);
}

/// The two calls that make a buffer usable on another stream, and what happens without them.
#[test]
fn another_stream_waits_before_and_is_recorded_after() {
    for seed in 0..16 {
        for resource in ["plain", "stream-ordered"] {
            let device = sim(seed);
            let (home, other) = (stream(&device), stream(&device));
            let memory = match resource {
                "plain" => DeviceMemory::new(device.clone()).into_dyn(),
                _ => AsyncMemory::new(device.clone()).unwrap().into_dyn(),
            };
            let mut buffer = DeviceBuffer::new(memory.clone(), 4096, &home).unwrap();
            let ptr = buffer.ptr().unwrap();
            launch(&device, &home, Kernel::write_pattern(ptr, 4096, 1));
            buffer.make_ready_on(&other).unwrap();
            launch(&device, &other, Kernel::check_pattern(ptr, 4096, 1));
            buffer.record_use(&other).unwrap();
            drop(buffer);
            let next = DeviceBuffer::new(memory, 4096, &home).unwrap();
            launch(&device, &home, Kernel::write_pattern(next.ptr().unwrap(), 4096, 2));
            device.assert_clean();
        }
    }
}

#[test]
fn forgetting_to_wait_or_to_record_is_noticed() {
    let (device, home, memory) = setup(0);
    let other = stream(&device);
    let mut buffer = DeviceBuffer::new(memory.clone(), 4096, &home).unwrap();
    let ptr = buffer.ptr().unwrap();
    launch(&device, &home, Kernel::write_pattern(ptr, 4096, 1));
    launch(&device, &other, Kernel::check_pattern(ptr, 4096, 1));
    assert_eq!(device.take_violations().len(), 1, "no wait before");
    buffer.fill(0..4096, 1).unwrap();
    assert_eq!(device.take_violations().len(), 1, "no record after");
    drop(buffer);
    // A device that is not so strict frees it after the work, as CUDA does.
    let strict = SimConfig::default().strictness.contains(Strictness::PENDING_FREE);
    let failures = device.base().drop_failures().count();
    assert_eq!(failures, u64::from(strict), "work on it is pending");
}

#[test]
fn the_home_stream_waits_for_recorded_uses_on_the_device_not_the_host() {
    let device = sim(0);
    let (home, other) = (stream(&device), stream(&device));
    let memory = AsyncMemory::new(device.clone()).unwrap().into_dyn();
    let mut buffer = DeviceBuffer::new(memory, 4096, &home).unwrap();
    buffer.make_ready_on(&other).unwrap();
    launch(&device, &other, Kernel::write_pattern(buffer.ptr().unwrap(), 4096, 1));
    buffer.record_use(&other).unwrap();
    let before = device.calls();
    drop(buffer);
    let made = device.calls() - before;
    assert_eq!((made.of(CallKind::WaitEvent), made.of(CallKind::AsyncFree)), (1, 1));
    assert_eq!(made.of(CallKind::SynchronizeEvent) + made.of(CallKind::SynchronizeStream), 0);
    device.assert_clean();
}

#[test]
fn every_access_of_the_buffer_waits_for_recorded_uses() {
    for seed in 0..8 {
        let (device, home, memory) = setup(seed);
        let other = stream(&device);
        let mut buffer = DeviceBuffer::from_slice(memory, &[1; 512], &home).unwrap();
        let use_elsewhere = |buffer: &mut DeviceBuffer| {
            buffer.make_ready_on(&other).unwrap();
            launch(&device, &other, Kernel::add_one(buffer.ptr().unwrap(), 512));
            buffer.record_use(&other).unwrap();
        };
        use_elsewhere(&mut buffer);
        assert_eq!(buffer.to_vec().unwrap()[0], 2);
        use_elsewhere(&mut buffer);
        buffer.fill(1..2, 9).unwrap();
        use_elsewhere(&mut buffer);
        buffer.resize(2000).unwrap();
        assert_eq!(buffer.to_vec().unwrap()[..2], [4, 10]);
        use_elsewhere(&mut buffer);
        buffer.copy_from_slice(0, &[7]).unwrap();
        assert_eq!(buffer.to_vec().unwrap()[..3], [7, 11, 5]);
        device.assert_clean();
    }
}

#[test]
fn a_new_home_stream_is_ordered_after_the_old_one() {
    for seed in 0..8 {
        let (device, home, memory) = setup(seed);
        let (other, third) = (stream(&device), stream(&device));
        let mut buffer = DeviceBuffer::new(memory, 512, &home).unwrap();
        buffer.fill(0..512, 1).unwrap();
        buffer.set_stream(&other).unwrap();
        buffer.fill(0..512, 1).unwrap();
        buffer.make_ready_on(&third).unwrap();
        launch(&device, &third, Kernel::add_one(buffer.ptr().unwrap(), 512));
        buffer.record_use(&third).unwrap();
        buffer.set_stream(&home).unwrap();
        assert_eq!(buffer.stream(), &home);
        assert_eq!(buffer.to_vec().unwrap(), [2; 512]);
        drop((home, other));
        drop(buffer);
        device.assert_clean();
        assert_eq!(device.base().drop_failures().count(), 0);
    }
}

#[test]
fn a_use_on_the_home_stream_records_nothing() {
    let (device, home, memory) = setup(0);
    let mut buffer = DeviceBuffer::new(memory, 512, &home).unwrap();
    let before = device.calls();
    buffer.make_ready_on(&home.clone()).unwrap();
    buffer.record_use(&home.clone()).unwrap();
    assert_eq!((device.calls() - before).total(), 0);
}

#[test]
fn a_buffer_outlives_every_other_handle_of_its_stream() {
    for seed in 0..8 {
        let (device, home, memory) = setup(seed);
        let mut buffer = DeviceBuffer::new(memory, 512, &home).unwrap();
        drop(home);
        buffer.fill(0..512, 1).unwrap();
        drop(buffer);
        assert!(device.leaks().is_empty(), "{}", device.leaks());
        device.assert_clean();
    }
}

#[test]
fn a_block_given_up_is_not_freed() {
    let (device, stream, memory) = setup(0);
    let buffer = DeviceBuffer::new(memory.clone(), 512, &stream).unwrap();
    let block = buffer.into_block().unwrap().unwrap();
    assert_eq!(device.leaks().plain.count, 1);
    // SAFETY: contract, freeing: no work uses the block.
    unsafe { memory.deallocate(block, &stream) }.unwrap();
    assert_eq!(device.leaks().plain.count, 0);
}

#[test]
fn failed_drops_are_counted_and_the_first_is_kept() {
    let (device, stream, memory) = setup(0);
    for kind in [CallKind::Free, CallKind::SynchronizeStream] {
        let buffer = DeviceBuffer::new(memory.clone(), 512, &stream).unwrap();
        device.fail_call(Some(kind), 1, DriverCode::UNKNOWN);
        drop(buffer);
    }
    let failures = device.base().drop_failures();
    assert_eq!((failures.count(), failures.first().unwrap().what), (2, "a buffer"));
    assert!(failures.first().unwrap().to_string().contains("DeviceMemory"));
}

#[test]
fn a_home_stream_that_cannot_wait_makes_the_host_wait() {
    let (device, home, memory) = setup(0);
    let other = stream(&device);
    let mut buffer = DeviceBuffer::new(memory, 512, &home).unwrap();
    buffer.make_ready_on(&other).unwrap();
    launch(&device, &other, Kernel::write_pattern(buffer.ptr().unwrap(), 512, 1));
    buffer.record_use(&other).unwrap();
    device.fail_call(Some(CallKind::WaitEvent), 1, DriverCode::UNKNOWN);
    drop(buffer);
    assert_eq!(device.leaks().plain.count, 0);
    assert_eq!(device.base().drop_failures().count(), 0);
    device.assert_clean();
}

#[test]
fn a_buffer_dropped_after_device_loss_is_counted_and_does_not_panic() {
    let (device, stream, memory) = setup(0);
    let mut buffer = DeviceBuffer::new(memory, 512, &stream).unwrap();
    buffer.fill(0..512, 1).unwrap();
    device.lose();
    assert_eq!(code(buffer.to_vec()), DriverCode::LAUNCH_FAILED);
    drop(buffer);
    assert!(device.base().drop_failures().count() >= 1);
}
