//! Events whose state the type knows.

use std::time::Duration;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{Device, DriverCode};
use vmem_sim::{CallKind, Kernel};

use crate::common::{code, dyn_device, launch, scratch, sim, stream};

#[test]
fn completion_is_asked_of_the_driver_until_it_was_once_observed() {
    for seed in 0..8 {
        let device = sim(seed);
        let stream = stream(&device);
        launch(&device, &stream, Kernel::write_pattern(scratch(&device), 4096, 1));
        let event = stream.marker().unwrap();
        assert!(!event.was_observed());
        while !event.is_complete().unwrap() {}
        assert!(event.was_observed() && event.clone().was_observed());
        let before = device.calls();
        assert!(event.is_complete().unwrap());
        event.synchronize().unwrap();
        stream.wait(&event).unwrap();
        assert_eq!((device.calls() - before).total(), 0);
    }
}

#[test]
fn synchronising_observes() {
    let device = sim(0);
    let event = stream(&device).marker().unwrap();
    event.synchronize().unwrap();
    assert!(event.was_observed());
}

#[test]
fn only_an_observed_event_with_one_handle_is_recycled() {
    let device = sim(0);
    let stream = stream(&device);
    let event = stream.marker().unwrap();
    let event = event.recycle().unwrap_err();
    event.synchronize().unwrap();
    let clone = event.clone();
    let event = event.recycle().unwrap_err();
    drop(clone);
    let idle = event.recycle().unwrap();
    let created = device.calls().of(CallKind::CreateEvent);
    let again = stream.record(idle).unwrap();
    assert!(!again.was_observed());
    assert_eq!(device.calls().of(CallKind::CreateEvent), created);
}

#[test]
fn a_failed_recording_gives_the_event_back_idle() {
    let device = sim(0);
    let stream = stream(&device);
    let idle = IdleEvent::new(dyn_device(&device)).unwrap();
    device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    let (idle, error) = stream.record(idle).unwrap_err();
    assert_eq!(error.code(), DriverCode::UNKNOWN);
    stream.record(idle).unwrap();
    assert_eq!(device.leaks().events, 0);
}

#[test]
fn the_last_handle_destroys_the_event_and_waits_on_it_still_hold() {
    for seed in 0..8 {
        let device = sim(seed);
        let (a, b, ptr) = (stream(&device), stream(&device), scratch(&device));
        launch(&device, &a, Kernel::write_pattern(ptr, 4096, 1));
        b.wait(&a.marker().unwrap()).unwrap();
        assert_eq!(device.leaks().events, 0);
        launch(&device, &b, Kernel::check_pattern(ptr, 4096, 1));
        device.assert_clean();
    }
}

#[test]
fn a_query_that_fails_is_an_error_and_observes_nothing() {
    let device = sim(0);
    let event = stream(&device).marker().unwrap();
    device.fail_call(Some(CallKind::QueryEvent), 1, DriverCode::UNKNOWN);
    assert!(event.is_complete().is_err());
    assert!(!event.was_observed());
}

#[test]
fn the_time_between_two_events_is_that_of_the_work_between_them() {
    for seed in 0..8 {
        let device = sim(seed);
        let (first, second) = (stream(&device), stream(&device));
        let memory = device.allocate(1 << 20).unwrap();
        let start = first.record_timed().unwrap();
        for _ in 0..100 {
            launch(&device, &first, Kernel::write_pattern(memory, 1 << 20, 1));
        }
        let end = first.record_timed().unwrap();
        second.wait(end.event()).unwrap();
        let after = second.record_timed().unwrap();
        let elapsed = end.elapsed_since(&start).unwrap();
        assert!(elapsed > Duration::from_micros(100), "{elapsed:?}");
        assert!(elapsed <= device.virtual_time());
        assert!(after.elapsed_since(&start).unwrap() >= elapsed);
        assert_eq!(start.elapsed_since(&start).unwrap(), Duration::ZERO);
        assert_eq!(code(start.elapsed_since(&end)), DriverCode::INVALID_VALUE);
        device.assert_clean();
    }
}

#[test]
fn times_of_two_devices_are_not_compared() {
    let [here, there] = [sim(0), sim(0)].map(|device| stream(&device).record_timed().unwrap());
    assert_eq!(code(here.elapsed_since(&there)), DriverCode::INVALID_CONTEXT);
}

#[test]
fn an_event_without_timing_has_no_time() {
    let device = sim(0);
    let stream = stream(&device);
    let (plain, timed) = (device.create_event().unwrap(), device.create_timed_event().unwrap());
    // SAFETY: the simulation refuses what is not valid.
    let elapsed = |start, end| unsafe { device.elapsed_ns(start, end) };
    assert_eq!(code(elapsed(timed, timed)), DriverCode::INVALID_HANDLE, "never recorded");
    for event in [plain, timed] {
        // SAFETY: contract, devices/handles: both are valid.
        unsafe { device.record_event(event, stream.raw()) }.unwrap();
    }
    assert_eq!(code(elapsed(plain, timed)), DriverCode::INVALID_HANDLE);
    stream.synchronize().unwrap();
    assert_eq!(elapsed(timed, timed).unwrap(), 0);
    assert_eq!(device.take_violations().len(), 2);
}
