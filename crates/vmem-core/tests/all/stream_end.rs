//! How streams end: with a marker, told to whoever keeps state for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use vmem_core::author::{StreamExt, StreamObserver, WeakStream};
use vmem_core::{DriverCode, Event, Stream, StreamId};
use vmem_sim::{CallKind, Kernel};

use crate::common::{Told, code, dyn_device, is_alive, launch, scratch, sim, stream};

#[test]
fn the_last_drop_tells_observers_with_a_marker_behind_all_work() {
    for seed in 0..8 {
        let device = sim(seed);
        let (old, next, ptr) = (stream(&device), stream(&device), scratch(&device));
        let told = Told::watch(&old);
        let (id, clone) = (old.id(), old.clone());
        launch(&device, &old, Kernel::write_pattern(ptr, 4096, 1));
        drop(old);
        assert!(told.is_silent(), "a handle still lives");
        drop(clone);
        let (who, marker) = told.once();
        assert_eq!(who, id);
        next.wait(&marker.unwrap()).unwrap();
        launch(&device, &next, Kernel::write_pattern(ptr, 4096, 2));
        launch(&device, &next, Kernel::check_pattern(ptr, 4096, 2));
        device.assert_clean();
    }
}

#[test]
fn without_observers_the_end_records_nothing() {
    let device = sim(0);
    let stream = stream(&device);
    drop(Told::watch(&stream));
    let before = device.calls();
    drop(stream);
    let made = device.calls() - before;
    let kinds = [CallKind::IsCapturing, CallKind::DestroyStream].map(|kind| made.of(kind));
    assert_eq!((made.total(), kinds), (2, [1, 1]));
}

#[test]
fn a_capturing_stream_ends_without_a_marker() {
    let device = sim(0);
    let stream = stream(&device);
    let told = Told::watch(&stream);
    device.begin_capture(&stream).unwrap();
    drop(stream);
    assert!(told.once().1.is_none());
}

#[test]
fn a_failing_driver_leaves_observers_without_a_marker() {
    let device = sim(0);
    let stream = stream(&device);
    let told = Told::watch(&stream);
    device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    drop(stream);
    assert!(told.once().1.is_none());
    assert!(device.leaks().is_empty(), "{}", device.leaks());
}

#[test]
fn retiring_ends_a_stream_under_its_handles() {
    for seed in 0..8 {
        let device = sim(seed);
        let (old, next, ptr) = (stream(&device), stream(&device), scratch(&device));
        let (told, raw, clone) = (Told::watch(&old), old.raw(), old.clone());
        launch(&device, &old, Kernel::write_pattern(ptr, 4096, 1));
        old.retire().unwrap();
        assert!(!is_alive(&device, raw));
        assert!(clone.is_retired() && told.once().1.is_some());
        // Markers and waits on remaining handles mean the final marker.
        next.wait(&clone.marker().unwrap()).unwrap();
        launch(&device, &next, Kernel::check_pattern(ptr, 4096, 1));
        clone.synchronize().unwrap();
        assert!(clone.is_complete().unwrap());
        let refused = clone.with_raw("test", |_, _| Ok(()));
        assert_eq!(code(refused), DriverCode::INVALID_HANDLE);
        old.retire().unwrap();
        drop((old, clone));
        told.once();
        device.assert_clean();
    }
}

#[test]
fn retiring_fails_whole() {
    let device = sim(0);
    let stream = stream(&device);
    let told = Told::watch(&stream);
    device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    assert_eq!(code(stream.retire()), DriverCode::UNKNOWN);
    assert!(told.is_silent() && !stream.is_retired());
    device.begin_capture(&stream).unwrap();
    assert_eq!(code(stream.retire()), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    device.end_capture(&stream).unwrap();
    stream.retire().unwrap();
    assert!(told.once().1.is_some());
}

#[test]
fn a_retired_foreign_stream_may_be_destroyed_by_its_owner() {
    let device = sim(0);
    let raw = device.create_blocking_stream().unwrap();
    // SAFETY: the handle is retired before the stream is destroyed.
    let foreign = unsafe { Stream::foreign(device.clone(), raw) }.unwrap();
    let told = Told::watch(&foreign);
    foreign.retire().unwrap();
    assert!(is_alive(&device, raw));
    // SAFETY: the stream is valid and, its handle being retired, not used again.
    unsafe { vmem_core::Device::destroy_stream(&*device, raw) }.unwrap();
    told.once().1.unwrap().synchronize().unwrap();
    foreign.synchronize().unwrap();
    drop(foreign);
    device.assert_clean();
}

#[test]
fn a_stream_that_cannot_be_destroyed_is_counted() {
    let device = sim(0);
    let stream = stream(&device);
    device.fail_call(Some(CallKind::DestroyStream), 1, DriverCode::UNKNOWN);
    drop(stream);
    let device = dyn_device(&device);
    let failures = device.base().drop_failures();
    assert_eq!((failures.count(), failures.first().unwrap().what), (1, "a stream"));
}

/// Asks about the stream that ends, and uses another one, while it is told.
#[derive(Debug)]
struct Curious {
    ends: WeakStream,
    other: Stream,
    saw: Mutex<Vec<(bool, bool)>>,
}

impl StreamObserver for Curious {
    fn retiring(&self, _: StreamId, marker: Option<&Event>) {
        let Some(ends) = self.ends.upgrade() else { return };
        self.other.wait(marker.unwrap()).unwrap();
        // Another thread asks every stream that it knows, and this one waits for it.
        let ask = || (ends.is_retired(), ends.is_capturing().is_err());
        let saw = std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
        self.saw.lock().unwrap().push(saw);
    }
}

#[test]
fn observers_are_told_without_a_lock_once_nothing_can_be_queued() {
    let device = sim(0);
    let (old, other) = (stream(&device), stream(&device));
    let curious = Arc::new(Curious { ends: old.downgrade(), other, saw: Mutex::default() });
    let observer: std::sync::Weak<Curious> = Arc::downgrade(&curious);
    old.observe(observer);
    old.retire().unwrap();
    assert_eq!(*curious.saw.lock().unwrap(), [(true, true)]);
    device.assert_clean();
}

#[derive(Debug)]
struct Panics;

impl StreamObserver for Panics {
    fn retiring(&self, _: StreamId, _: Option<&Event>) {
        panic!("an observer panics on purpose");
    }
}

#[test]
fn an_observer_that_panics_keeps_no_other_from_being_told() {
    for retire in [true, false] {
        let device = sim(0);
        let old = stream(&device);
        let (before, panics) = (Told::watch(&old), Arc::new(Panics));
        let observer: std::sync::Weak<Panics> = Arc::downgrade(&panics);
        old.observe(observer);
        let after = Told::watch(&old);
        let (id, raw) = (old.id(), old.raw());
        let end = move || if retire { old.retire().unwrap() } else { drop(old) };
        let panic = catch_unwind(AssertUnwindSafe(end)).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "an observer panics on purpose");
        for told in [before, after] {
            let (who, marker) = told.once();
            assert_eq!((who, marker.is_some()), (id, true));
        }
        assert!(!is_alive(&device, raw));
        device.assert_clean();
    }
}

#[test]
fn an_observer_that_asks_again_and_again_is_told_once() {
    let device = sim(0);
    let old = stream(&device);
    let told = Told::watch(&old);
    for _ in 0..1000 {
        let observer: std::sync::Weak<Told> = Arc::downgrade(&told);
        old.observe(observer);
    }
    drop(old);
    told.once();
}
