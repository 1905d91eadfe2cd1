//! Freed blocks that could not be waited for: set aside, counted, freed later.

use std::sync::Arc;

use vmem_core::{
    AllocErrorKind, AsyncMemory, Device, DeviceBuffer, DeviceMemory, DriverCode, MemoryResource,
    PinnedMemory, QuarantineHandle, Quarantined, ResourceExt, Stream,
};
use vmem_sim::{CallKind, CaptureMode, Kernel, SimDevice};
use vmem_testkit::Countdown;

use crate::captures::Scene;
use crate::common::{launch, sim, stream};

/// A device whose plain memory may be allocated and freed by this thread while others capture, as
/// `vmem-cuda` sees to on hardware.
pub(crate) fn device(seed: u64) -> Arc<SimDevice> {
    let device = sim(seed);
    device.exchange_capture_mode(CaptureMode::Relaxed);
    device
}

pub(crate) fn plain(device: &Arc<SimDevice>) -> (Arc<dyn MemoryResource>, QuarantineHandle) {
    let memory = DeviceMemory::new(device.clone());
    let quarantine = memory.handle();
    (memory.into_dyn(), quarantine)
}

pub(crate) fn pinned(device: &Arc<SimDevice>) -> (Arc<dyn MemoryResource>, QuarantineHandle) {
    let memory = PinnedMemory::new(device.clone()).unwrap();
    let quarantine = memory.handle();
    (memory.into_dyn(), quarantine)
}

pub(crate) fn stream_ordered(
    device: &Arc<SimDevice>,
) -> (Arc<dyn MemoryResource>, QuarantineHandle) {
    let memory = AsyncMemory::new(device.clone()).unwrap();
    let quarantine = memory.handle();
    (memory.into_dyn(), quarantine)
}

pub(crate) type Leaf = fn(&Arc<SimDevice>) -> (Arc<dyn MemoryResource>, QuarantineHandle);
pub(crate) const LEAVES: [(&str, Leaf); 3] =
    [("plain", plain), ("pinned", pinned), ("stream-ordered", stream_ordered)];

/// How many blocks are set aside, and their bytes.
fn held(quarantine: &QuarantineHandle) -> Option<(usize, u64)> {
    quarantine.quarantined().map(|held| (held.blocks, held.bytes))
}

#[test]
fn a_block_freed_in_a_capture_is_freed_by_a_later_call() {
    for (leaf, make_leaf) in LEAVES {
        let device = device(0);
        let (memory, quarantine) = make_leaf(&device);
        let home = stream(&device);
        let mut scene = Scene::new(&device, &memory);
        device.begin_capture(&scene.home).unwrap();
        drop(scene.buffer.take());
        let one = Some((1, 8192));
        assert_eq!(held(&quarantine), one, "{leaf}");
        // It cannot be freed yet, and asking for it does not disturb the capture.
        drop(DeviceBuffer::new(memory.clone(), 64, &home).unwrap());
        let refused = quarantine.synchronize().unwrap_err();
        assert_eq!(refused.driver().unwrap().code(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
        assert_eq!(held(&quarantine), one, "{leaf}");
        device.end_capture(&scene.home).unwrap();
        // Marked by the first call, seen complete by one of the next.
        for _ in 0..20 {
            drop(DeviceBuffer::new(memory.clone(), 64, &home).unwrap());
        }
        assert_eq!(quarantine.quarantined(), Some(Quarantined::default()), "{leaf}");
        device.assert_clean();
        assert_eq!(device.base().drop_failures().count(), 0);
    }
}

#[test]
fn what_is_set_aside_is_waited_for_before_a_request_is_refused() {
    let device = device(3);
    let (memory, quarantine) = plain(&device);
    let home = stream(&device);
    let mut large = DeviceBuffer::new(memory.clone(), 40 << 20, &home).unwrap();
    large.fill(0..40 << 20, 1).unwrap();
    device.begin_capture(&home).unwrap();
    drop(large);
    let other = stream(&device);
    let refused = DeviceBuffer::new(memory.clone(), 40 << 20, &other).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::OutOfMemory);
    device.end_capture(&home).unwrap();
    drop(DeviceBuffer::new(memory.clone(), 40 << 20, &other).unwrap());
    assert_eq!(quarantine.quarantined(), Some(Quarantined::default()));
    device.assert_clean();
}

#[test]
fn a_free_on_another_threads_stream_does_not_wait_for_the_device() {
    for (leaf, make_leaf) in LEAVES {
        for seed in 0..4 {
            let device = device(seed);
            let (memory, quarantine) = make_leaf(&device);
            let shared: Arc<dyn Device> = device.clone();
            let unrelated = stream(&device);
            let own = Stream::per_thread_default(shared.clone());
            let buffer = DeviceBuffer::new(memory.clone(), 4096, &own).unwrap();
            launch(&device, &own, Kernel::write_pattern(buffer.ptr().unwrap(), 4096, 1));
            device.begin_capture(&unrelated).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let before = device.calls();
                    drop(buffer);
                    assert_eq!((device.calls() - before).total(), 0, "{leaf}");
                });
            });
            assert_eq!(quarantine.quarantined().unwrap().blocks, 1, "{leaf}");
            // The stream's own thread can mark it.
            drop(own);
            let retired = Stream::per_thread_default(shared.clone());
            for _ in 0..20 {
                drop(DeviceBuffer::new(memory.clone(), 64, &retired).unwrap());
            }
            assert!(device.end_capture(&unrelated).unwrap().is_empty(), "{leaf}");
            quarantine.synchronize().unwrap();
            assert_eq!(quarantine.quarantined().unwrap().blocks, 0, "{leaf}");
            device.assert_clean();
            assert_eq!(device.base().drop_failures().count(), 0);
        }
    }
}

#[test]
fn what_a_thread_that_ended_used_is_freed_when_the_program_asks() {
    let device = device(0);
    let (memory, quarantine) = plain(&device);
    let shared: Arc<dyn Device> = device.clone();
    let buffer = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let own = Stream::per_thread_default(shared.clone());
            let buffer = DeviceBuffer::new(memory.clone(), 4096, &own).unwrap();
            launch(&device, &own, Kernel::write_pattern(buffer.ptr().unwrap(), 4096, 1));
            buffer
        });
        work.join().unwrap()
    });
    let before = device.calls();
    drop(buffer);
    for _ in 0..3 {
        drop(DeviceBuffer::new(memory.clone(), 64, &stream(&device)).unwrap());
    }
    assert_eq!((device.calls() - before).of(CallKind::Synchronize), 0);
    assert_eq!(held(&quarantine), Some((1, 4096)));
    quarantine.synchronize().unwrap();
    assert_eq!(quarantine.quarantined(), Some(Quarantined::default()));
    device.assert_clean();
    assert_eq!(device.leaks().plain.count, 0);
}

#[test]
fn a_leaf_that_goes_frees_what_it_can_and_counts_the_rest() {
    let device = device(0);
    let (memory, quarantine) = plain(&device);
    let (home, other) = (stream(&device), stream(&device));
    let (first, second) = (
        DeviceBuffer::new(memory.clone(), 64, &home).unwrap(),
        DeviceBuffer::new(memory.clone(), 64, &other).unwrap(),
    );
    device.begin_capture(&home).unwrap();
    device.begin_capture(&other).unwrap();
    drop((first, second));
    device.end_capture(&home).unwrap();
    drop(memory);
    assert_eq!(quarantine.quarantined(), None);
    assert!(quarantine.synchronize().is_err_and(|error| error.is_gone()));
    let failure = device.base().drop_failures().first().unwrap();
    let why = "1 freed blocks that could not be waited for leak";
    assert_eq!((failure.what, &*failure.reason), ("DeviceMemory", why));
    assert_eq!(device.leaks().plain.count, 1);
    device.end_capture(&other).unwrap();
    device.assert_clean();
}

#[test]
fn what_is_freed_while_its_stream_is_being_marked_waits_for_the_next_marker() {
    for seed in 0..8 {
        let device = device(seed);
        let hooked = Countdown::new(device.clone());
        let memory = DeviceMemory::new(hooked.clone());
        let quarantine = memory.handle();
        let memory: Arc<dyn MemoryResource> = memory.into_dyn();
        let (home, other) = (Stream::new(hooked.clone()), Stream::new(hooked.clone()));
        let (home, other) = (home.unwrap(), other.unwrap());
        let first = DeviceBuffer::new(memory.clone(), 4096, &home).unwrap();
        let second = DeviceBuffer::new(memory.clone(), 4096, &home).unwrap();
        device.begin_capture(&home).unwrap();
        drop(first);
        device.end_capture(&home).unwrap();
        let (meanwhile, on) = (device.clone(), home.clone());
        hooked.after("Device::record_event", move || {
            launch(&meanwhile, &on, Kernel::write_pattern(second.ptr().unwrap(), 4096, 1));
            meanwhile.begin_capture(&on).unwrap();
            drop(second);
            meanwhile.end_capture(&on).unwrap();
        });
        for _ in 0..20 {
            drop(DeviceBuffer::new(memory.clone(), 64, &other).unwrap());
        }
        assert_eq!(quarantine.quarantined(), Some(Quarantined::default()));
        device.assert_clean();
    }
}

#[test]
fn a_request_is_served_by_what_was_freed_although_more_was_set_aside_meanwhile() {
    for seed in 0..8 {
        let device = device(seed);
        let hooked = Countdown::new(device.clone());
        let memory = DeviceMemory::new(hooked.clone());
        let quarantine = memory.handle();
        let memory: Arc<dyn MemoryResource> = memory.into_dyn();
        let [home, other, third] = [(); 3].map(|()| Stream::new(hooked.clone()).unwrap());
        let mut large = DeviceBuffer::new(memory.clone(), 40 << 20, &home).unwrap();
        let small = DeviceBuffer::new(memory.clone(), 64, &other).unwrap();
        large.fill(0..40 << 20, 1).unwrap();
        device.begin_capture(&home).unwrap();
        drop(large);
        device.end_capture(&home).unwrap();
        let (meanwhile, on) = (device.clone(), other.clone());
        hooked.after("Device::free", move || {
            meanwhile.begin_capture(&on).unwrap();
            drop(small);
        });
        drop(DeviceBuffer::new(memory.clone(), 40 << 20, &third).unwrap());
        assert_eq!(held(&quarantine), Some((1, 64)));
        device.end_capture(&other).unwrap();
        quarantine.synchronize().unwrap();
        device.assert_clean();
    }
}
