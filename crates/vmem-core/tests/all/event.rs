//! Events whose state the type knows.

use vmem_core::{DriverCode, IdleEvent};
use vmem_sim::{CallKind, Kernel};

use crate::common::{dyn_device, launch, scratch, sim, stream};

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
