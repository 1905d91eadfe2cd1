//! Stream capture: what it records, and what breaks it.

use vmem_core::{Device, DriverCode, DriverError, RawStream};
use vmem_sim::{CaptureMode, CaptureStatus, Kernel, ViolationKind};

use crate::common::{Driver, at};

const BROKEN: DriverCode = DriverCode::STREAM_CAPTURE_INVALIDATED;

#[test]
fn captured_work_runs_when_the_graph_is_launched_each_time() {
    for seed in 0..8 {
        let driver = Driver::with_seed(seed);
        let (stream, ptr) = (driver.owned_stream(), driver.alloc(256));
        driver.fill(ptr, 0, 256, stream.raw()).unwrap();
        driver.begin_capture(&stream).unwrap();
        assert!(driver.capturing(stream.raw()).unwrap());
        driver.kernel(stream.raw(), Kernel::add_one(ptr, 256)).unwrap();
        let graph = driver.end_capture(&stream).unwrap();
        assert!(!driver.capturing(stream.raw()).unwrap());
        assert_eq!((graph.len(), driver.bytes(ptr, 1)), (1, vec![0]));
        for _ in 0..2 {
            // SAFETY: the captured memory is live.
            unsafe { driver.launch_graph(&stream, &graph) }.unwrap();
        }
        assert_eq!(driver.bytes(ptr, 1), [2]);
        driver.assert_clean();
    }
}

/// Addresses outlive the free inside a graph.
#[test]
fn a_graph_launched_after_its_memory_was_freed_is_caught() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.owned_stream(), driver.alloc(256));
    driver.begin_capture(&stream).unwrap();
    driver.fill(ptr, 1, 256, stream.raw()).unwrap();
    let graph = driver.end_capture(&stream).unwrap();
    driver.free(ptr).unwrap();
    // SAFETY: misuse on purpose; the simulation refuses it.
    assert!(unsafe { driver.launch_graph(&stream, &graph) }.is_err());
    driver.only_violation(ViolationKind::BadAddress);
}

#[test]
fn waiting_and_asking_break_a_capture() {
    type Call = fn(&Driver, RawStream) -> bool;
    let calls: [(&str, Call); 4] = [
        ("synchronise the stream", |d, s| d.sync_stream(s).is_err()),
        ("query the stream", |d, s| d.query_stream(s).is_err()),
        ("synchronise the device", |d, _| d.sync().is_err()),
        ("allocate plain memory", |d, _| d.0.allocate(1).is_err()),
    ];
    for (what, refused) in calls {
        let driver = Driver::with_seed(0);
        let stream = driver.owned_stream();
        driver.begin_capture(&stream).unwrap();
        assert!(refused(&driver, stream.raw()), "{what}");
        assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN, "{what}");
        let kinds: Vec<_> = driver.take_violations().into_iter().map(|v| v.kind).collect();
        assert_eq!(kinds, [ViolationKind::Capture; 2], "{what}");
        assert!(driver.sync().is_ok(), "after the capture all is well: {what}");
    }
}

#[test]
fn calls_unsafe_in_capture_break_it_from_any_thread_unless_relaxed() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.owned_stream(), driver.alloc(1));
    driver.begin_capture(&stream).unwrap();
    std::thread::scope(|scope| {
        let relaxed = scope.spawn(|| {
            assert_eq!(driver.exchange_capture_mode(CaptureMode::Relaxed), CaptureMode::Global);
            driver.free(ptr).unwrap();
            let again = driver.0.allocate(1);
            assert_eq!(driver.exchange_capture_mode(CaptureMode::Global), CaptureMode::Relaxed);
            again
        });
        relaxed.join().unwrap().unwrap();
    });
    driver.end_capture(&stream).unwrap();
    driver.assert_clean();
    driver.begin_capture(&stream).unwrap();
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| driver.0.allocate(1).unwrap_err().code());
        assert_eq!(refused.join().unwrap(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    });
    assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN);
}

#[test]
fn asking_about_a_captured_event_is_refused() {
    let driver = Driver::with_seed(0);
    let (stream, event) = (driver.owned_stream(), driver.event());
    driver.begin_capture(&stream).unwrap();
    driver.record(event, stream.raw()).unwrap();
    assert_eq!(driver.query(event).unwrap_err().code(), DriverCode::CAPTURED_EVENT);
    assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN);
    driver.begin_capture(&stream).unwrap();
    driver.record(event, stream.raw()).unwrap();
    assert_eq!(driver.sync_event(event).unwrap_err().code(), DriverCode::CAPTURED_EVENT);
    assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN);
}

#[test]
fn other_streams_go_on_during_a_capture() {
    let driver = Driver::with_seed(0);
    let (stream, other, event) = (driver.owned_stream(), driver.stream(), driver.event());
    let ptr = driver.alloc(256);
    driver.begin_capture(&stream).unwrap();
    driver.fill(ptr, 1, 256, other).unwrap();
    driver.record(event, other).unwrap();
    driver.sync_event(event).unwrap();
    driver.sync_stream(other).unwrap();
    driver.end_capture(&stream).unwrap();
    driver.assert_clean();
}

#[test]
fn a_stream_joins_by_waiting_and_must_be_joined_back() {
    let driver = Driver::with_seed(0);
    let (origin, other) = (driver.owned_stream(), driver.owned_stream());
    let (fork, join, ptr) = (driver.event(), driver.event(), driver.alloc(512));
    for joins_back in [true, false] {
        driver.begin_capture(&origin).unwrap();
        driver.fill(ptr, 1, 256, origin.raw()).unwrap();
        driver.record(fork, origin.raw()).unwrap();
        driver.wait(other.raw(), fork).unwrap();
        assert!(driver.capturing(other.raw()).unwrap());
        driver.fill(at(ptr, 256), 1, 256, other.raw()).unwrap();
        driver.record(join, other.raw()).unwrap();
        if joins_back {
            driver.wait(origin.raw(), join).unwrap();
        }
        let graph = driver.end_capture(&origin);
        assert_eq!(graph.is_ok(), joins_back);
        assert!(!driver.capturing(other.raw()).unwrap());
    }
    driver.only_violation(ViolationKind::Capture);
}

#[test]
fn a_capture_cannot_wait_for_work_outside_it() {
    let driver = Driver::with_seed(0);
    let (stream, other, event) = (driver.owned_stream(), driver.stream(), driver.event());
    driver.record(event, other).unwrap();
    driver.begin_capture(&stream).unwrap();
    assert_eq!(driver.wait(stream.raw(), event).unwrap_err().code(), DriverCode(905));
    assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN);
}

#[test]
fn captures_that_wait_for_one_another_are_both_broken() {
    let driver = Driver::with_seed(0);
    let (one, two, event) = (driver.owned_stream(), driver.owned_stream(), driver.event());
    driver.begin_capture(&one).unwrap();
    driver.begin_capture(&two).unwrap();
    driver.record(event, one.raw()).unwrap();
    assert_eq!(driver.wait(two.raw(), event).unwrap_err().code(), DriverCode(902));
    assert_eq!(driver.end_capture(&two).unwrap_err().code(), BROKEN);
    assert_eq!(driver.end_capture(&one).unwrap_err().code(), BROKEN);
}

/// However the capture ended; recording it again makes it an event like others.
#[test]
fn an_event_of_a_capture_that_is_over_stands_for_nothing_and_breaks_nothing() {
    for broken in [false, true] {
        let driver = Driver::with_seed(0);
        let (stream, other, event) = (driver.owned_stream(), driver.stream(), driver.event());
        driver.begin_capture(&stream).unwrap();
        driver.record(event, stream.raw()).unwrap();
        if broken {
            driver.query_stream(stream.raw()).unwrap_err();
        }
        assert_eq!(driver.end_capture(&stream).is_err(), broken);
        driver.begin_capture(&stream).unwrap();
        let refused =
            [driver.query(event).map(drop), driver.sync_event(event), driver.wait(other, event)];
        assert!(
            refused.iter().all(|r| r.as_ref().unwrap_err().code() == DriverCode::INVALID_VALUE)
        );
        driver.end_capture(&stream).unwrap();
        driver.record(event, other).unwrap();
        driver.sync_event(event).unwrap();
    }
}

#[test]
fn a_broken_capture_takes_no_more_work_and_can_only_be_ended() {
    let driver = Driver::with_seed(0);
    let (stream, other) = (driver.owned_stream(), driver.stream());
    let (fresh, captured, ptr) = (driver.event(), driver.event(), driver.alloc(1));
    driver.begin_capture(&stream).unwrap();
    driver.record(captured, stream.raw()).unwrap();
    driver.query_stream(stream.raw()).unwrap_err();
    // SAFETY: the stream is live.
    let status = unsafe { driver.capture_status(stream.raw()) }.unwrap();
    assert_eq!(status, CaptureStatus::Invalidated);
    let refused = [
        driver.fill(ptr, 1, 1, stream.raw()),
        driver.record(fresh, stream.raw()),
        driver.wait(stream.raw(), fresh),
    ];
    assert!(refused.iter().all(|refused| refused.as_ref().unwrap_err().code() == BROKEN));
    assert_eq!(driver.wait(other, captured).unwrap_err().code(), DriverCode::INVALID_VALUE);
    assert!(!driver.capturing(other).unwrap());
    let again = driver.begin_capture(&stream).unwrap_err();
    assert_eq!(again.code(), DriverCode::ILLEGAL_STATE);
    assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN);
    driver.fill(ptr, 1, 1, stream.raw()).unwrap();
}

#[test]
fn a_stream_that_joined_and_was_given_no_work_need_not_be_joined_back() {
    let driver = Driver::with_seed(0);
    let (origin, other, fork) = (driver.owned_stream(), driver.stream(), driver.event());
    driver.begin_capture(&origin).unwrap();
    driver.record(fork, origin.raw()).unwrap();
    driver.wait(other, fork).unwrap();
    driver.record(fork, other).unwrap();
    assert!(driver.end_capture(&origin).unwrap().is_empty());
    driver.assert_clean();
}

#[test]
fn a_capture_ends_on_the_stream_and_the_thread_it_began_on() {
    let driver = Driver::with_seed(0);
    let (origin, other, fork) = (driver.owned_stream(), driver.owned_stream(), driver.event());
    driver.begin_capture(&origin).unwrap();
    driver.record(fork, origin.raw()).unwrap();
    driver.wait(other.raw(), fork).unwrap();
    assert_eq!(driver.end_capture(&other).unwrap_err().code(), DriverCode(903));
    assert_eq!(driver.end_capture(&origin).unwrap_err().code(), BROKEN);
    for mode in [CaptureMode::Global, CaptureMode::ThreadLocal, CaptureMode::Relaxed] {
        driver.begin_capture_as(&origin, mode).unwrap();
        let elsewhere = std::thread::scope(|scope| {
            scope.spawn(|| driver.end_capture(&origin).map(drop)).join().unwrap()
        });
        let code = elsewhere.map_err(|error| error.code());
        let relaxed = mode == CaptureMode::Relaxed;
        assert_eq!(code, if relaxed { Ok(()) } else { Err(DriverCode(908)) });
        // It is over in any case.
        assert_eq!(driver.end_capture(&origin).unwrap_err().code(), DriverCode::ILLEGAL_STATE);
    }
}

#[test]
fn the_legacy_stream_is_off_limits_while_a_blocking_stream_captures() {
    let driver = Driver::with_seed(0);
    let raw = driver.create_blocking_stream().unwrap();
    // SAFETY: the stream outlives the handle.
    let stream = unsafe { vmem_core::Stream::foreign(driver.0.clone(), raw) }.unwrap();
    let (ptr, event) = (driver.alloc(1), driver.event());
    driver.record(event, driver.stream()).unwrap();
    driver.begin_capture(&stream).unwrap();
    // Asking whether it captures is refused too, but breaks nothing.
    assert_eq!(driver.capturing(RawStream::LEGACY).unwrap_err().code(), DriverCode(906));
    driver.end_capture(&stream).unwrap();
    driver.assert_clean();
    let uses: [&dyn Fn() -> Result<(), DriverError>; 5] = [
        &|| driver.fill(ptr, 1, 1, RawStream::LEGACY),
        &|| driver.record(event, RawStream::LEGACY),
        &|| driver.wait(RawStream::LEGACY, event),
        &|| driver.sync_stream(RawStream::LEGACY),
        &|| driver.query_stream(RawStream::LEGACY).map(drop),
    ];
    for used in uses {
        driver.begin_capture(&stream).unwrap();
        assert_eq!(used().unwrap_err().code(), DriverCode(906));
        assert_eq!(driver.end_capture(&stream).unwrap_err().code(), BROKEN);
    }
    // A capture of a stream that does not order with it is left alone.
    let other = driver.owned_stream();
    driver.begin_capture(&other).unwrap();
    driver.fill(ptr, 1, 1, RawStream::LEGACY).unwrap();
    driver.record(event, other.raw()).unwrap();
    assert_eq!(driver.wait(RawStream::LEGACY, event).unwrap_err().code(), DriverCode(906));
    assert_eq!(driver.end_capture(&other).unwrap_err().code(), BROKEN);
}

#[test]
fn a_capture_by_the_drivers_handle_is_the_same() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.stream(), driver.alloc(256));
    // SAFETY: contract, devices/handles: the stream is live.
    unsafe { driver.begin_capture_raw(stream) }.unwrap();
    driver.fill(ptr, 1, 256, stream).unwrap();
    // SAFETY: as above.
    let graph = unsafe { driver.end_capture_raw(stream) }.unwrap();
    assert_eq!(graph.len(), 1);
    // SAFETY: misuse on purpose; the simulation refuses it.
    assert!(unsafe { driver.end_capture_raw(RawStream(0xbad)) }.is_err());
    driver.only_violation(ViolationKind::BadHandle);
}

#[test]
fn settling_runs_what_is_queued_and_tells_the_host_nothing() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.stream(), driver.alloc(256));
    driver.fill(ptr, 1, 256, stream).unwrap();
    let before = driver.calls();
    driver.settle();
    assert_eq!(driver.calls(), before);
    assert!(driver.free(ptr).is_err(), "the host has not seen the fill complete");
    driver.only_violation(ViolationKind::PendingWork);
}
