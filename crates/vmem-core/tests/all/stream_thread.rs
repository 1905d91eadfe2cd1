//! Per-thread default streams: only their own thread names them to the driver.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use vmem_core::author::StreamExt;
use vmem_core::{
    Device, DeviceBuffer, DeviceMemory, DevicePtr, DriverCode, Event, RawStream, ResourceExt,
    Stream, StreamKind,
};
use vmem_sim::{CallKind, Kernel, SimDevice};

use crate::common::{Told, code, dyn_device, launch, scratch, sim, stream};

#[test]
fn a_thread_has_one_and_another_thread_another() {
    let device = dyn_device(&sim(0));
    let (one, two) =
        (Stream::per_thread_default(device.clone()), Stream::per_thread_default(device.clone()));
    assert_eq!((one.kind(), one.raw()), (StreamKind::PerThreadDefault, RawStream::PER_THREAD));
    assert_eq!(one, two);
    let elsewhere = thread::scope(|scope| {
        let stream = scope.spawn(|| Stream::per_thread_default(device.clone()).id());
        stream.join().unwrap()
    });
    assert_ne!(one.id(), elsewhere);
    let other_device = dyn_device(&sim(0));
    assert_ne!(one.id(), Stream::per_thread_default(other_device.clone()).id());
}

#[test]
fn other_threads_cannot_name_it_and_wait_for_the_device_instead() {
    for seed in 0..8 {
        let device = sim(seed);
        let (own, ptr) = (Stream::per_thread_default(dyn_device(&device)), scratch(&device));
        launch(&device, &own, Kernel::write_pattern(ptr, 4096, 1));
        assert!(own.is_callable_here());
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!own.is_callable_here());
                let refused = own.with_raw("test", |_, _| Ok(()));
                assert_eq!(code(refused), DriverCode::NOT_PERMITTED);
                assert_eq!(code(own.retire()), DriverCode::NOT_PERMITTED);
                assert!(!own.is_complete().unwrap());
                let before = device.calls();
                own.synchronize().unwrap();
                let made = device.calls() - before;
                assert_eq!((made.total(), made.of(CallKind::Synchronize)), (1, 1));
                let next = stream(&device);
                launch(&device, &next, Kernel::check_pattern(ptr, 4096, 1));
            });
        });
        device.assert_clean();
    }
}

#[test]
fn a_wait_asked_by_another_thread_is_queued_by_its_own() {
    for seed in 0..8 {
        let device = sim(seed);
        let (own, ptr) = (Stream::per_thread_default(dyn_device(&device)), scratch(&device));
        thread::scope(|scope| {
            scope.spawn(|| {
                let producer = stream(&device);
                launch(&device, &producer, Kernel::write_pattern(ptr, 4096, 1));
                let marker = producer.marker().unwrap();
                let before = device.calls();
                own.wait(&marker).unwrap();
                assert_eq!((device.calls() - before).total(), 0);
            });
        });
        assert!(own.has_pending_waits());
        // The next use queues it first.
        launch(&device, &own, Kernel::check_pattern(ptr, 4096, 1));
        assert!(!own.has_pending_waits());
        own.synchronize().unwrap();
        device.assert_clean();
    }
}

#[test]
fn a_buffer_that_another_thread_gave_a_stream_is_ready_once_it_is_waited_for() {
    for seed in 0..8 {
        let device = sim(seed);
        let own = Stream::per_thread_default(dyn_device(&device));
        let memory = DeviceMemory::new(device.clone()).into_dyn();
        let buffer = thread::scope(|scope| {
            let give = scope.spawn(|| {
                let producer = stream(&device);
                let mut buffer = DeviceBuffer::new(memory.clone(), 4096, &producer).unwrap();
                let at = buffer.ptr().unwrap();
                let slow = Kernel::write_pattern(at, 4096, 1).taking(Duration::from_millis(5));
                launch(&device, &producer, slow);
                buffer.set_stream(&own).unwrap();
                buffer
            });
            give.join().unwrap()
        });
        buffer.make_ready_on(&own).unwrap();
        let check = Kernel::check_pattern(buffer.ptr().unwrap(), 4096, 1);
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live buffer, on
        // this thread's own default stream.
        unsafe { device.launch_raw(own.raw(), check) }.unwrap();
        drop(buffer);
        device.assert_clean();
    }
}

/// A point behind a write of the scratch memory, which takes a while.
fn slow_write(device: &Arc<SimDevice>, ptr: DevicePtr) -> Event {
    let producer = stream(device);
    let slow = Kernel::write_pattern(ptr, 4096, 1).taking(Duration::from_millis(5));
    launch(device, &producer, slow);
    producer.marker().unwrap()
}

/// Has the last handle of another thread's stream wait for `marker`, and go. The point is pending, or
/// cannot be asked about.
fn wait_and_drop_elsewhere(device: &SimDevice, own: Stream, marker: Event) {
    thread::scope(|scope| {
        scope.spawn(move || {
            own.wait(&marker).unwrap();
            device.fail_call(Some(CallKind::QueryEvent), 1, DriverCode::UNKNOWN);
            drop((own, marker));
        });
    });
    assert_ne!(device.leaks().events, 0);
}

#[test]
fn what_a_stream_owes_is_queued_when_its_last_handle_goes_on_its_thread() {
    // It was left to the thread, which kept the event, and with it the device, for as long as it
    // did not ask for a stream of that device again.
    for seed in 0..8 {
        let device = sim(seed);
        let (own, ptr) = (Stream::per_thread_default(dyn_device(&device)), scratch(&device));
        let marker = slow_write(&device, ptr);
        thread::scope(|scope| {
            scope.spawn(|| own.wait(&marker).unwrap());
        });
        drop((own, marker));
        assert_eq!(device.leaks().events, 0);
        let next = Stream::per_thread_default(dyn_device(&device));
        launch(&device, &next, Kernel::check_pattern(ptr, 4096, 1));
        next.synchronize().unwrap();
        device.assert_clean();
    }
}

#[test]
fn what_a_stream_owes_is_kept_for_its_thread_until_it_is_over() {
    for seed in 0..8 {
        let (device, other) = (sim(seed), sim(seed));
        let (own, ptr) = (Stream::per_thread_default(dyn_device(&device)), scratch(&device));
        wait_and_drop_elsewhere(&device, own, slow_write(&device, ptr));
        let next = Stream::per_thread_default(dyn_device(&device));
        launch(&device, &next, Kernel::check_pattern(ptr, 4096, 1));
        wait_and_drop_elsewhere(&device, next, slow_write(&device, scratch(&device)));
        device.synchronize().unwrap();
        // Any stream that the thread asks for will do.
        let elsewhere = Stream::per_thread_default(dyn_device(&other));
        assert_eq!(device.leaks().events, 0);
        drop(elsewhere);
        device.assert_clean();
    }
}

#[test]
fn what_a_stream_owes_goes_with_its_last_handle_if_it_is_over() {
    let device = sim(0);
    let (own, ptr) = (Stream::per_thread_default(dyn_device(&device)), scratch(&device));
    let marker = slow_write(&device, ptr);
    thread::scope(|scope| {
        scope.spawn(|| {
            own.wait(&marker).unwrap();
            device.synchronize().unwrap();
            drop((own, marker));
        });
    });
    assert_eq!(device.leaks().events, 0);
    device.assert_clean();
}

#[test]
fn what_a_stream_owes_goes_with_its_thread() {
    let device = sim(0);
    let (shared, ptr) = (device.clone(), scratch(&device));
    let user = thread::spawn(move || {
        let own = Stream::per_thread_default(dyn_device(&shared));
        wait_and_drop_elsewhere(&shared, own, slow_write(&shared, ptr));
    });
    user.join().unwrap();
    assert_eq!(device.leaks().events, 0);
    device.assert_clean();
}

#[test]
fn a_wait_that_cannot_be_queued_stays() {
    let device = sim(0);
    let own = Stream::per_thread_default(dyn_device(&device));
    let (producer, ptr) = (stream(&device), scratch(&device));
    launch(&device, &producer, Kernel::write_pattern(ptr, 4096, 1));
    let marker = producer.marker().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| own.wait(&marker).unwrap());
    });
    device.fail_call(Some(CallKind::WaitEvent), 1, DriverCode::UNKNOWN);
    assert_eq!(code(own.queue_pending_waits()), DriverCode::UNKNOWN);
    assert!(own.has_pending_waits());
    own.queue_pending_waits().unwrap();
    assert!(!own.has_pending_waits());
    launch(&device, &own, Kernel::check_pattern(ptr, 4096, 1));
    device.assert_clean();
}

#[test]
fn the_final_marker_covers_waits_not_queued_yet() {
    for seed in 0..8 {
        let device = sim(seed);
        let own = Stream::per_thread_default(dyn_device(&device));
        let (producer, next, ptr) = (stream(&device), stream(&device), scratch(&device));
        launch(&device, &producer, Kernel::write_pattern(ptr, 4096, 1));
        let marker = producer.marker().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| own.wait(&marker).unwrap());
        });
        own.retire().unwrap();
        next.wait(&own.final_marker().unwrap()).unwrap();
        launch(&device, &next, Kernel::check_pattern(ptr, 4096, 1));
        device.assert_clean();
    }
}

#[test]
fn another_threads_wait_that_comes_too_late_for_the_final_marker_is_refused() {
    // It was accepted and never queued: a block freed on the stream afterwards was reused behind the
    // final marker alone.
    let device = sim(0);
    let own = Stream::per_thread_default(dyn_device(&device));
    let marker = stream(&device).marker().unwrap();
    own.retire().unwrap();
    thread::scope(|scope| {
        let late = scope.spawn(|| code(own.wait(&marker)));
        assert_eq!(late.join().unwrap(), DriverCode::INVALID_HANDLE);
    });
    device.assert_clean();
}

#[test]
fn asking_for_the_whole_device_covers_waits_not_queued_yet() {
    let device = sim(1);
    let own = Stream::per_thread_default(dyn_device(&device));
    let marker = stream(&device).marker().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            own.wait(&marker).unwrap();
            own.synchronize().unwrap();
            assert!(marker.was_observed());
        });
    });
    own.synchronize().unwrap();
    device.assert_clean();
}

#[test]
fn a_stream_outliving_its_thread_is_an_orphan_and_ends_without_a_marker() {
    let device = sim(0);
    let (send, receive) = mpsc::channel();
    let shared = dyn_device(&device);
    thread::spawn(move || send.send(Stream::per_thread_default(shared.clone())).unwrap())
        .join()
        .unwrap();
    let orphan = receive.recv().unwrap();
    assert!(orphan.is_orphaned() && !orphan.is_callable_here());
    orphan.synchronize().unwrap();
    let told = Told::watch(&orphan);
    drop(orphan);
    assert!(told.once().1.is_none());
    device.assert_clean();
}

#[test]
fn its_own_thread_can_retire_it_and_start_anew() {
    let device = sim(0);
    let handle = dyn_device(&device);
    let own = Stream::per_thread_default(handle.clone());
    let told = Told::watch(&own);
    own.retire().unwrap();
    assert!(told.once().1.is_some());
    drop(own);
    let next = Stream::per_thread_default(handle.clone());
    assert!(!next.is_retired());
    next.synchronize().unwrap();
    device.assert_clean();
}
