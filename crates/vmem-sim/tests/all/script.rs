//! Failures on command, and the counters.

use vmem_core::author::{HostAccess, StreamExt};
use vmem_core::{Device, DriverCode};
use vmem_sim::{CallKind, Kernel};

use crate::common::{Driver, GRANULE, MIB};

#[test]
fn the_nth_call_of_a_kind_fails_once_and_does_nothing() {
    let driver = Driver::with_seed(0);
    driver.fail_call(Some(CallKind::Allocate), 2, DriverCode::UNKNOWN);
    let first = driver.alloc(256);
    let event = driver.event();
    let failed = driver.0.allocate(256).unwrap_err();
    assert_eq!((failed.code(), failed.detail()), (DriverCode::UNKNOWN, "scripted"));
    assert_eq!(driver.used(), 256);
    driver.alloc(256);
    driver.free(first).unwrap();
    driver.destroy_event(event).unwrap();
    driver.assert_clean();
}

#[test]
fn the_nth_call_of_any_kind_fails() {
    let driver = Driver::with_seed(0);
    driver.fail_call(None, 3, DriverCode::OUT_OF_MEMORY);
    let (stream, ptr) = (driver.stream(), driver.alloc(1));
    assert!(driver.fill(ptr, 1, 1, stream).unwrap_err().is_out_of_memory());
    driver.fill(ptr, 1, 1, stream).unwrap();
}

#[test]
fn a_second_failure_is_counted_from_the_first() {
    let driver = Driver::with_seed(0);
    driver.fail_call(Some(CallKind::CreateEvent), 2, DriverCode::UNKNOWN);
    driver.fail_call_next(Some(CallKind::Allocate), 2, DriverCode::OUT_OF_MEMORY);
    driver.fail_call_next(None, 1, DriverCode::UNKNOWN);
    let answers = [
        driver.0.allocate(1).is_ok(),
        driver.0.allocate(1).is_ok(),
        driver.0.create_event().is_ok(),
        driver.0.create_event().is_ok(),
        driver.0.allocate(1).is_ok(),
        driver.0.allocate(1).is_ok(),
        driver.0.synchronize().is_ok(),
        driver.0.synchronize().is_ok(),
    ];
    assert_eq!(answers, [true, true, true, false, true, false, false, true]);
    driver.fail_call(None, 1, DriverCode::UNKNOWN);
    driver.fail_call_next(None, 1, DriverCode::UNKNOWN);
    driver.clear_failures();
    assert!(driver.0.synchronize().is_ok());
}

#[test]
fn failing_frees_leave_the_memory_allocated() {
    let driver = Driver::with_seed(0);
    let ptr = driver.alloc(256);
    driver.fail_call(Some(CallKind::Free), 1, DriverCode::UNKNOWN);
    assert!(driver.free(ptr).is_err());
    assert_eq!(driver.leaks().plain.count, 1);
    driver.free(ptr).unwrap();
}

#[test]
fn sizes_above_a_bound_fail_until_cleared() {
    let driver = Driver::with_seed(0);
    driver.fail_sizes_above(4 * MIB);
    driver.alloc(4 * MIB);
    assert!(driver.0.allocate(4 * MIB + 1).unwrap_err().is_out_of_memory());
    assert!(driver.vm().create(3 * GRANULE).unwrap_err().is_out_of_memory());
    assert!(driver.managed().allocate(5 * MIB).unwrap_err().is_out_of_memory());
    assert!(driver.vm().reserve(1 << 30).is_ok());
    driver.clear_failures();
    driver.alloc(5 * MIB);
    driver.assert_clean();
}

#[test]
fn a_lost_device_answers_nothing_else_ever_again() {
    let driver = Driver::with_seed(0);
    let (stream, event, ptr) = (driver.stream(), driver.event(), driver.alloc(256));
    driver.record(event, stream).unwrap();
    driver.kernel(stream, Kernel::add_one(ptr, 256)).unwrap();
    let pinned = driver.pinned().allocate(1).unwrap();
    driver.lose();
    driver.clear_failures();
    let answers = [
        driver.view(pinned, 1, HostAccess::Read).map(drop),
        driver.free(ptr),
        driver.sync_stream(stream),
        driver.query(event).map(drop),
        driver.0.allocate(1).map(drop),
        driver.sync(),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), DriverCode::LAUNCH_FAILED);
    }
    driver.assert_clean();
}

#[test]
fn what_was_queued_when_the_device_was_lost_changes_nothing() {
    let unchanged = (0..32).filter(|&seed| {
        let driver = Driver::with_seed(seed);
        let (stream, ptr) = (driver.stream(), driver.alloc(1));
        let before = driver.bytes(ptr, 1);
        driver.fill(ptr, 1, 1, stream).unwrap();
        driver.lose();
        driver.bytes(ptr, 1) == before
    });
    assert!(unchanged.count() > 8);
}

#[test]
fn calls_are_counted_by_kind_whether_they_succeed_or_not() {
    let driver = Driver::with_seed(0);
    let before = driver.calls();
    assert_eq!(before.total(), 0);
    let ptr = driver.alloc(1);
    let _refused = driver.0.allocate(1 << 40);
    driver.free(ptr).unwrap();
    let made = driver.calls() - before;
    assert_eq!((made.of(CallKind::Allocate), made.of(CallKind::Free), made.total()), (2, 1, 3));
    assert_eq!(made.to_string(), "3 calls: cuMemAlloc 2, cuMemFree 1");
    let (stream, at) = (driver.owned_stream(), driver.calls());
    assert!(stream.is_callable_here());
    let granularity = driver.vm().granularity();
    assert_eq!((granularity, (driver.calls() - at).total()), (GRANULE, 0));
}

#[test]
fn counters_and_configuration_are_values() {
    fn copy<T: Copy + Send + Sync + 'static>() {}
    copy::<vmem_sim::CallCounts>();
    copy::<vmem_sim::Leaks>();
    copy::<vmem_sim::CostTable>();
    fn shared<T: Send + Sync>() {}
    shared::<vmem_sim::SimDevice>();
    shared::<Kernel>();
    shared::<vmem_sim::Graph>();
}
