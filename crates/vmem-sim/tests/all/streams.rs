//! Streams and events as CUDA orders them, and as their handles recur.

use vmem_core::{Completion, Device, DriverCode, RawStream};
use vmem_sim::{Kernel, ViolationKind};

use crate::common::{Driver, at};

#[test]
fn queued_work_stays_pending_on_some_schedule_and_polling_completes_it() {
    let mut pending = 0;
    for seed in 0..32 {
        let driver = Driver::with_seed(seed);
        let (stream, event, ptr) = (driver.stream(), driver.event(), driver.alloc(256));
        driver.fill(ptr, 1, 256, stream).unwrap();
        driver.record(event, stream).unwrap();
        let polls = (0..100).find(|_| driver.query(event).unwrap() == Completion::Complete);
        pending += polls.expect("polling completes");
        assert_eq!(driver.query_stream(stream).unwrap(), Completion::Complete);
    }
    assert!(pending > 0);
}

#[test]
fn a_wait_forces_what_it_waits_for_and_on_some_schedule_no_more() {
    let lazy = (0..32).any(|seed| {
        let driver = Driver::with_seed(seed);
        let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
        let (x, y) = (driver.alloc(256), driver.alloc(256));
        driver.fill(x, 1, 256, a).unwrap();
        driver.record(event, a).unwrap();
        driver.fill(y, 1, 256, a).unwrap();
        driver.wait(b, event).unwrap();
        let mut got = 0;
        driver.download(&raw mut got, x, 1, b).unwrap();
        driver.sync_stream(b).unwrap();
        assert_eq!(got, 1);
        driver.query_stream(a).unwrap() == Completion::Pending
    });
    assert!(lazy);
}

#[test]
fn an_event_never_recorded_is_complete_and_waiting_for_it_does_nothing() {
    let driver = Driver::with_seed(0);
    let (a, b, event, ptr) = (driver.stream(), driver.stream(), driver.event(), driver.alloc(256));
    driver.fill(ptr, 1, 256, a).unwrap();
    assert_eq!(driver.query(event).unwrap(), Completion::Complete);
    driver.sync_event(event).unwrap();
    driver.wait(b, event).unwrap();
    driver.fill(ptr, 2, 256, b).unwrap();
    driver.only_violation(ViolationKind::Race);
}

#[test]
fn a_wait_means_what_the_event_stood_for_when_it_was_queued() {
    let driver = Driver::with_seed(0);
    let (a, b, event, ptr) = (driver.stream(), driver.stream(), driver.event(), driver.alloc(256));
    driver.record(event, a).unwrap();
    driver.wait(b, event).unwrap();
    driver.fill(ptr, 1, 256, a).unwrap();
    driver.record(event, a).unwrap();
    driver.fill(ptr, 2, 256, b).unwrap();
    driver.only_violation(ViolationKind::Race);
}

#[test]
fn the_legacy_stream_orders_with_blocking_streams_both_ways() {
    for seed in 0..8 {
        let driver = Driver::with_seed(seed);
        let blocking = driver.create_blocking_stream().unwrap();
        let ptr = driver.alloc(256);
        driver.fill(ptr, 1, 256, blocking).unwrap();
        driver.kernel(RawStream::LEGACY, Kernel::add_one(ptr, 256)).unwrap();
        driver.kernel(RawStream::NULL, Kernel::add_one(ptr, 256)).unwrap();
        driver.kernel(blocking, Kernel::add_one(ptr, 256)).unwrap();
        driver.sync_stream(blocking).unwrap();
        assert_eq!(driver.bytes(ptr, 2), [4, 4]);
        driver.assert_clean();
    }
}

#[test]
fn a_barrier_passes_on_what_its_stream_waited_for() {
    let driver = Driver::with_seed(0);
    let (stream, event, ptr) = (driver.stream(), driver.event(), driver.alloc(256));
    let blocking = driver.create_blocking_stream().unwrap();
    driver.fill(ptr, 1, 256, stream).unwrap();
    driver.record(event, stream).unwrap();
    driver.wait(blocking, event).unwrap();
    driver.kernel(RawStream::LEGACY, Kernel::add_one(ptr, 256)).unwrap();
    driver.assert_clean();
    assert_eq!(driver.bytes(ptr, 1), [2]);
}

#[test]
fn the_legacy_stream_does_not_order_with_non_blocking_streams() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.stream(), driver.alloc(256));
    driver.fill(ptr, 1, 256, stream).unwrap();
    driver.fill(ptr, 2, 256, RawStream::LEGACY).unwrap();
    driver.only_violation(ViolationKind::Race);
    driver.fill(ptr, 3, 256, stream).unwrap();
    driver.only_violation(ViolationKind::Race);
}

#[test]
fn the_per_thread_handle_means_the_calling_threads_stream() {
    let driver = Driver::with_seed(0);
    let ptr = driver.alloc(256);
    let own = RawStream::PER_THREAD;
    driver.fill(ptr, 1, 256, own).unwrap();
    driver.fill(ptr, 2, 256, own).unwrap();
    assert!(driver.violations().is_empty());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Another thread's wait on "2" waits for its own, empty stream.
            driver.sync_stream(own).unwrap();
            driver.fill(ptr, 3, 256, own).unwrap();
        });
    });
    let race = driver.only_violation(ViolationKind::Race);
    assert!(race.detail.contains("per-thread default stream"), "{race}");
}

#[test]
fn per_thread_streams_order_with_the_legacy_stream() {
    let driver = Driver::with_seed(0);
    let ptr = driver.alloc(256);
    driver.fill(ptr, 1, 256, RawStream::PER_THREAD).unwrap();
    driver.fill(ptr, 2, 256, RawStream::LEGACY).unwrap();
    driver.fill(ptr, 3, 256, RawStream::PER_THREAD).unwrap();
    driver.assert_clean();
}

#[test]
fn destroyed_handles_are_refused_until_they_recur() {
    let driver = Driver::with_seed(0);
    let (stream, event) = (driver.stream(), driver.event());
    driver.destroy_stream(stream).unwrap();
    driver.destroy_event(event).unwrap();
    let refused = driver.sync_stream(stream).unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_HANDLE);
    driver.only_violation(ViolationKind::BadHandle);
    assert!(driver.query(event).is_err());
    driver.only_violation(ViolationKind::BadHandle);
    assert!(driver.destroy_stream(stream).is_err());
    driver.only_violation(ViolationKind::BadHandle);
    assert_eq!((driver.stream(), driver.event()), (stream, event));
    driver.assert_clean();
}

/// Why lanes must be keyed by identity: a recycled event handle says "complete" of old work.
#[test]
fn a_recycled_event_completes_while_the_old_work_is_pending() {
    let driver = Driver::with_seed(0);
    let (stream, event, ptr) = (driver.stream(), driver.event(), driver.alloc(256));
    driver.fill(ptr, 1, 256, stream).unwrap();
    driver.record(event, stream).unwrap();
    driver.destroy_event(event).unwrap();
    assert_eq!(driver.event(), event);
    assert_eq!(driver.query(event).unwrap(), Completion::Complete);
    assert!(driver.free(ptr).is_err());
    driver.only_violation(ViolationKind::PendingWork);
}

#[test]
fn a_destroyed_streams_work_completes_and_still_counts() {
    let driver = Driver::with_seed(0);
    let (a, b, ptr) = (driver.stream(), driver.stream(), driver.alloc(256));
    driver.fill(ptr, 1, 256, a).unwrap();
    driver.destroy_stream(a).unwrap();
    driver.fill(at(ptr, 128), 2, 128, b).unwrap();
    driver.only_violation(ViolationKind::Race);
    driver.sync().unwrap();
    assert_eq!(driver.bytes(ptr, 1), [1]);
    driver.free(ptr).unwrap();
    driver.assert_clean();
}

#[test]
fn waits_queued_on_an_event_outlive_it() {
    for seed in 0..8 {
        let driver = Driver::with_seed(seed);
        let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
        let ptr = driver.alloc(256);
        driver.fill(ptr, 1, 256, a).unwrap();
        driver.record(event, a).unwrap();
        driver.wait(b, event).unwrap();
        driver.destroy_event(event).unwrap();
        driver.kernel(b, Kernel::add_one(ptr, 256)).unwrap();
        driver.assert_clean();
        assert_eq!(driver.bytes(ptr, 1), [2]);
    }
}

#[test]
fn handles_of_other_devices_are_told_apart() {
    let (one, two) = (Driver::with_seed(0), Driver::with_seed(0));
    let foreign = two.stream();
    assert!(!one.owns(foreign).unwrap());
    assert!(one.owns(one.stream()).unwrap());
    assert!(one.owns(RawStream::LEGACY).unwrap());
    let refused = one.sync_stream(foreign).unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_CONTEXT);
    one.only_violation(ViolationKind::WrongContext);
    assert!(one.owns(RawStream(0x1234)).is_err());
    one.only_violation(ViolationKind::BadHandle);
}

#[test]
fn default_streams_cannot_be_destroyed() {
    let driver = Driver::with_seed(0);
    assert!(driver.destroy_stream(RawStream::LEGACY).is_err());
    driver.only_violation(ViolationKind::BadHandle);
    assert!(driver.0.leaks().is_empty());
}

#[test]
fn a_program_that_never_waits_does_not_queue_for_ever() {
    for seed in 0..4 {
        let driver = Driver::with_seed(seed);
        let (stream, ptr) = (driver.stream(), driver.alloc(256));
        for value in 0..20_000_u32 {
            driver.fill(ptr, value.to_le_bytes()[0], 1, stream).unwrap();
        }
        let mut got = 0;
        driver.download(&raw mut got, ptr, 1, stream).unwrap();
        driver.sync_stream(stream).unwrap();
        assert_eq!(got, 19_999_u32.to_le_bytes()[0]);
    }
    let device = Driver::with_seed(0);
    assert!(device.0.synchronize().is_ok());
}
