//! In a forked child nothing of the parent's stacks works, and nothing hangs.

use std::cell::Cell;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{error, thread};

use vmem_core::{
    BlockLayout, Device, DeviceBuffer, DeviceMemory, DriverCode, DriverError, MemoryResource,
    Request, ResourceExt, Stream, StreamPool,
};
use vmem_runtime::{Registry, Reservations, Runtime, RuntimeCapacity, RuntimeConfig, Size};
use vmem_sim::SimDevice;
use vmem_testkit::in_child;

const MIB: u64 = 1 << 20;

/// Whether an error says that the process is a forked child.
fn says_so(error: &(dyn error::Error + 'static)) -> bool {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.filter_map(|error| error.downcast_ref::<DriverError>()).any(|error| {
        error.code() == DriverCode::NOT_INITIALIZED && error.to_string().contains("forked")
    })
}

fn refused<T, E: error::Error + 'static>(answer: Result<T, E>) -> bool {
    answer.err().is_some_and(|error| says_so(&error))
}

/// The four tiers, as the runtime builds them.
fn runtimes(device: &Arc<SimDevice>) -> Vec<Runtime> {
    let all = [(false, false), (true, false), (false, true)];
    let config = |(oom_safety, managed_memory)| {
        RuntimeConfig::default()
            .with_oom_safety(oom_safety)
            .with_managed_memory(managed_memory)
            .with_memory_reserve(Size::Bytes(0))
    };
    let runtime = |choice| {
        let device = device.clone();
        Runtime::new(config(choice), move || Ok(device.clone()))
    };
    all.into_iter().map(runtime).collect()
}

#[test]
fn a_forked_child_gets_an_error_and_never_a_block() {
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    for runtime in runtimes(&device) {
        let memory = runtime.resource().unwrap();
        // The child would find this memory at hand.
        drop(DeviceBuffer::new(memory.clone(), 300, &stream).unwrap());
        let mut buffer = DeviceBuffer::new(memory.clone(), 300, &stream).unwrap();
        let event = stream.marker().unwrap();
        let streams = StreamPool::new(device.clone(), NonZeroUsize::MIN);
        let layout = BlockLayout::new(300).unwrap();
        let answer = in_child(|| {
            refused(memory.allocate_on(layout, &stream))
                && refused(DeviceBuffer::new(memory.clone(), 300, &stream))
                && refused(buffer.fill(0..300, 1))
                && refused(buffer.to_vec())
                && refused(buffer.try_clone(&stream))
                && refused(buffer.resize(5000))
                && refused(buffer.set_stream(&stream))
                && refused(stream.synchronize())
                && refused(stream.marker())
                && refused(stream.wait(&event))
                && refused(event.synchronize())
                && refused(stream.retire())
                && refused(streams.get())
                && refused(runtime.resource())
                && refused(runtime.admit(1, NonZeroU64::MIN))
                && runtime.growth_left().is_none()
                && runtime.budget_left().is_none()
                && runtime.capacity() == RuntimeCapacity::default()
                && runtime.trim() == 0
                && runtime.stats().reserved.is_none()
                && !format!("{runtime} {runtime:?} {memory:?} {buffer:?} {event:?}").is_empty()
                && refused(Stream::new(device.clone()))
        });
        assert_eq!(answer, Ok(true), "{runtime}");
        buffer.fill(0..300, 2).unwrap();
        assert_eq!(buffer.to_vec().unwrap(), [2; 300]);
    }
    drop(stream);
    device.assert_clean();
}

#[test]
fn a_forked_child_gets_an_error_although_there_is_nothing_to_do() {
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = DeviceMemory::new(device.clone()).into_dyn();
    let buffer = |bytes| DeviceBuffer::new(memory.clone(), bytes, &stream).unwrap();
    let (mut empty, full) = (buffer(0), buffer(300));
    let kept = Cell::new(Some(full));
    let answer = in_child(|| {
        refused(kept.take().unwrap().into_block())
            && refused(empty.resize(1))
            && refused(empty.into_block())
    });
    assert_eq!(answer, Ok(true));
    drop((kept, memory, stream));
    device.assert_clean();
}

#[test]
fn a_forked_child_gets_an_error_from_reservations_and_quarantines() {
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let leaf = DeviceMemory::new(device.clone());
    let quarantine = leaf.handle();
    let memory = Reservations::new(leaf);
    let reservation = memory.handle().reserve(MIB, &stream).unwrap();
    let layout = BlockLayout::new(4096).unwrap();
    let request = Request::new(layout, &stream).with_reservation(reservation.id());
    let mut block = Some(memory.allocate(&request).unwrap());
    let answer = in_child(|| {
        refused(memory.allocate(&request))
            // SAFETY: contract, freeing: no work was queued on the block.
            && refused(unsafe { memory.deallocate(block.take().unwrap(), &stream) })
            && refused(memory.handle().reserve(MIB, &stream))
            && refused(memory.handle().synchronize())
            && refused(quarantine.synchronize())
            && quarantine.quarantined().is_none()
    });
    assert_eq!(answer, Ok(true));
    // SAFETY: contract, freeing: no work was queued on the block.
    unsafe { memory.deallocate(block.take().unwrap(), &stream) }.unwrap();
    drop((reservation, memory, stream));
    device.assert_clean();
}

#[test]
fn what_a_forked_child_drops_is_left_alone() {
    let device = SimDevice::new(64 * MIB);
    let calls = {
        let runtimes = runtimes(&device);
        for runtime in &runtimes {
            runtime.ensure_ready().unwrap();
        }
        let stream = Stream::new(device.clone()).unwrap();
        let memory = runtimes[1].resource().unwrap();
        let buffer = DeviceBuffer::new(memory.clone(), 300, &stream).unwrap();
        let event = stream.marker().unwrap();
        let reserved = runtimes[0].reserve(4 * MIB, &stream).unwrap();
        let before = device.calls();
        // The child has copies of all of it, and drops those.
        let answer = in_child(move || {
            drop((event, buffer, reserved, memory, stream, runtimes));
            true
        });
        assert_eq!(answer, Ok(true));
        device.calls() - before
    };
    assert!(calls.total() > 0, "the parent has dropped its own");
    device.assert_clean();
}

#[test]
fn what_can_neither_fail_nor_be_left_alone_ends_a_forked_child_with_words() {
    let device: Arc<dyn Device> = SimDevice::new(64 * MIB);
    let registry = Registry::new();
    drop(registry.current(&device));
    assert_eq!(
        in_child(|| registry.current(&device).capabilities().features.is_empty()),
        Err(libc::SIGABRT)
    );
}

#[test]
fn a_forked_child_does_not_wait_for_a_lock_that_another_thread_holds() {
    let device = SimDevice::new(64 * MIB);
    let runtime = &runtimes(&device)[0];
    let memory = &runtime.resource().unwrap();
    let (device, go_on) = (&device, &AtomicBool::new(true));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                let stream = Stream::new(device.clone()).unwrap();
                while go_on.load(Ordering::Relaxed) {
                    drop(DeviceBuffer::new(memory.clone(), 300, &stream).unwrap());
                }
            });
        }
        let stream = Stream::new(device.clone()).unwrap();
        let children: Vec<_> = (0..20)
            .map(|_| in_child(|| refused(DeviceBuffer::new(memory.clone(), 300, &stream))))
            .collect();
        go_on.store(false, Ordering::Relaxed);
        assert_eq!(children, [Ok(true); 20]);
    });
}
