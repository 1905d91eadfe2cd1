//! The happens-before checker, with planted races.

use vmem_core::{Completion, Device, RawStream};
use vmem_sim::{Kernel, SimConfig, SimDevice, ViolationKind};

use crate::common::{Driver, GRANULE, MIB, at, strict};

#[test]
fn two_streams_on_one_range_without_a_wait_are_a_race() {
    let driver = Driver::with_seed(0);
    let (a, b, ptr) = (driver.stream(), driver.stream(), driver.alloc(1024));
    driver.kernel(a, Kernel::new("producer").writes(ptr, 512)).unwrap();
    driver.kernel(b, Kernel::new("consumer").reads(at(ptr, 500), 100)).unwrap();
    let race = driver.only_violation(ViolationKind::Race);
    for part in ["`consumer`", "`producer`", "reads 100 B", "500..512", "cuMemAlloc (call 3)"] {
        assert!(race.detail.contains(part), "{part} is missing in: {race}");
    }
    assert!(race.detail.contains(&format!("stream {:#x}", a.0)), "{race}");
}

#[test]
fn reads_on_two_streams_and_writes_next_to_each_other_are_none() {
    let driver = Driver::with_seed(0);
    let (a, b, ptr) = (driver.stream(), driver.stream(), driver.alloc(1024));
    driver.kernel(a, Kernel::new("r").reads(ptr, 512)).unwrap();
    driver.kernel(b, Kernel::new("r").reads(ptr, 512)).unwrap();
    driver.kernel(a, Kernel::new("w").writes(at(ptr, 512), 256)).unwrap();
    driver.kernel(b, Kernel::new("w").writes(at(ptr, 768), 256)).unwrap();
    driver.assert_clean();
}

#[test]
fn an_event_orders_what_was_queued_before_it_and_nothing_later() {
    let driver = Driver::with_seed(0);
    let (a, b, event, ptr) = (driver.stream(), driver.stream(), driver.event(), driver.alloc(512));
    driver.fill(ptr, 1, 256, a).unwrap();
    driver.record(event, a).unwrap();
    driver.fill(at(ptr, 256), 1, 256, a).unwrap();
    driver.wait(b, event).unwrap();
    driver.fill(ptr, 2, 256, b).unwrap();
    assert!(driver.violations().is_empty());
    driver.fill(at(ptr, 256), 2, 256, b).unwrap();
    driver.only_violation(ViolationKind::Race);
}

#[test]
fn order_passes_through_a_third_stream() {
    let driver = Driver::with_seed(0);
    let streams = [driver.stream(), driver.stream(), driver.stream()];
    let (event, ptr) = (driver.event(), driver.alloc(256));
    driver.fill(ptr, 1, 256, streams[0]).unwrap();
    driver.record(event, streams[0]).unwrap();
    driver.wait(streams[1], event).unwrap();
    driver.record(event, streams[1]).unwrap();
    driver.wait(streams[2], event).unwrap();
    driver.fill(ptr, 2, 256, streams[2]).unwrap();
    driver.assert_clean();
    assert_eq!(driver.bytes(ptr, 1), [2]);
}

#[test]
fn what_the_host_saw_complete_is_ordered_before_what_it_queues_next() {
    for seed in 0..8 {
        let driver = Driver::with_seed(seed);
        let (a, b, c) = (driver.stream(), driver.stream(), driver.stream());
        let (event, ptr) = (driver.event(), driver.alloc(256));
        driver.fill(ptr, 1, 256, a).unwrap();
        driver.record(event, a).unwrap();
        while driver.query(event).unwrap() == Completion::Pending {}
        driver.fill(ptr, 2, 256, b).unwrap();
        driver.sync_stream(b).unwrap();
        driver.fill(ptr, 3, 256, c).unwrap();
        driver.assert_clean();
        assert_eq!(driver.bytes(ptr, 1), [3]);
    }
}

#[test]
fn running_first_by_luck_orders_nothing() {
    let driver = Driver::new(SimConfig { schedule: vmem_sim::Schedule::Eager, ..strict() });
    let (a, b, ptr) = (driver.stream(), driver.stream(), driver.alloc(256));
    driver.fill(ptr, 1, 256, a).unwrap();
    driver.fill(ptr, 2, 256, b).unwrap();
    driver.only_violation(ViolationKind::Race);
}

/// The bug a pool makes if it hands freed memory to another stream without waiting: it is reported
/// on every seed, and under some schedule the bytes are wrong.
#[test]
fn memory_reused_on_another_stream_without_a_wait_is_reported_and_corrupts() {
    let mut corrupted = 0;
    for seed in 0..64 {
        let driver = Driver::with_seed(seed);
        let (a, b, chunk) = (driver.stream(), driver.stream(), driver.alloc(4096));
        driver.kernel(a, Kernel::write_pattern(chunk, 4096, 1)).unwrap();
        // "Freed" on a, reused on b; the wait is missing.
        driver.kernel(b, Kernel::write_pattern(chunk, 4096, 2)).unwrap();
        driver.sync_stream(b).unwrap();
        driver.sync_stream(a).unwrap();
        driver.kernel(b, Kernel::check_pattern(chunk, 4096, 2)).unwrap();
        driver.sync().unwrap();
        let kinds: Vec<_> = driver.take_violations().into_iter().map(|v| v.kind).collect();
        assert!(kinds.contains(&ViolationKind::Race), "seed {seed}");
        corrupted += u32::from(kinds.contains(&ViolationKind::WrongBytes));
    }
    assert!((1..64).contains(&corrupted), "{corrupted} of 64 schedules corrupt");
}

#[test]
fn races_are_found_through_different_addresses_of_one_handle() {
    let driver = Driver::with_seed(0);
    let (a, b) = (driver.stream(), driver.stream());
    let (base, handle) = driver.mapped(2);
    let alias = at(base, GRANULE);
    driver.map(alias, GRANULE, handle).unwrap();
    driver.set_access(alias, GRANULE).unwrap();
    driver.fill(base, 1, 256, a).unwrap();
    driver.fill(alias, 2, 256, b).unwrap();
    let race = driver.only_violation(ViolationKind::Race);
    assert!(race.detail.contains(&format!("mapped at {alias}")), "{race}");
    // Within one kernel, two addresses of the same bytes need a fence that it does not have.
    driver.sync().unwrap();
    driver.kernel(a, Kernel::new("both").reads(base, 8).writes(alias, 8)).unwrap();
    driver.only_violation(ViolationKind::Race);
}

#[test]
fn freeing_needs_completion_that_the_host_saw() {
    for seed in 0..16 {
        let driver = Driver::with_seed(seed);
        let (stream, ptr) = (driver.stream(), driver.alloc(256));
        driver.fill(ptr, 1, 256, stream).unwrap();
        let refused = driver.free(ptr).unwrap_err();
        assert!(refused.detail().contains("not seen work on it complete"), "{refused}");
        driver.only_violation(ViolationKind::PendingWork);
        driver.sync_stream(stream).unwrap();
        driver.free(ptr).unwrap();
        driver.assert_clean();
    }
}

#[test]
fn the_first_of_many_pending_streams_is_not_forgotten() {
    let driver = Driver::with_seed(0);
    let ptr = driver.alloc(32 * 256);
    let streams: Vec<_> = (0..32).map(|_| driver.stream()).collect();
    for (index, &stream) in (0..).zip(&streams) {
        driver.fill(at(ptr, index * 256), 1, 256, stream).unwrap();
    }
    for &stream in &streams[1..] {
        driver.sync_stream(stream).unwrap();
    }
    assert!(driver.free(ptr).is_err());
    driver.only_violation(ViolationKind::PendingWork);
    driver.sync_stream(streams[0]).unwrap();
    driver.free(ptr).unwrap();
}

#[test]
fn without_the_checker_freeing_needs_work_to_have_run() {
    let config = SimConfig { checker: vmem_sim::Checker::Off, ..strict() };
    let refused = (0..32).filter(|&seed| {
        let driver = Driver::new(SimConfig { seed, ..config.clone() });
        let (stream, ptr) = (driver.stream(), driver.alloc(256));
        driver.fill(ptr, 1, 256, stream).unwrap();
        let early = driver.free(ptr).is_err();
        driver.sync_stream(stream).unwrap();
        assert_eq!(driver.free(ptr).is_ok(), early);
        early
    });
    assert!((1..32).contains(&refused.count()));
}

#[test]
fn unmapping_needs_completion_that_the_host_saw_not_a_wait_on_a_stream() {
    let driver = Driver::with_seed(0);
    let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
    let (base, _) = driver.mapped(1);
    driver.fill(base, 1, MIB, a).unwrap();
    driver.record(event, a).unwrap();
    driver.wait(b, event).unwrap();
    driver.sync_stream(RawStream::LEGACY).unwrap();
    assert!(driver.unmap(base, GRANULE).is_err());
    driver.only_violation(ViolationKind::PendingWork);
    // Seeing b complete is seeing what b waited for.
    driver.sync_stream(b).unwrap();
    driver.unmap(base, GRANULE).unwrap();
    driver.assert_clean();
}

#[test]
fn the_host_may_look_only_at_what_it_saw_complete() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    let ptr = driver.pinned().allocate(4096).unwrap();
    driver.kernel(stream, Kernel::new("reader").reads(ptr, 100)).unwrap();
    let (read, write) = (vmem_core::author::HostAccess::Read, vmem_core::author::HostAccess::Write);
    assert!(driver.view(ptr, 4096, read).is_ok());
    assert!(driver.view(at(ptr, 100), 100, write).is_ok());
    assert!(!driver.view(ptr, 0, write).unwrap().is_null());
    assert!(driver.view(ptr, 1, write).is_err());
    driver.only_violation(ViolationKind::HostAccess);
    driver.sync_stream(stream).unwrap();
    assert!(driver.view(ptr, 1, write).is_ok());
    driver.assert_clean();
}

#[test]
fn what_one_thread_saw_all_threads_know() {
    let driver = Driver::with_seed(0);
    let (a, b, ptr) = (driver.stream(), driver.stream(), driver.alloc(256));
    driver.fill(ptr, 1, 256, a).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| driver.sync_stream(a).unwrap());
    });
    driver.fill(ptr, 2, 256, b).unwrap();
    driver.assert_clean();
}

#[test]
fn devices_do_not_share_addresses() {
    let (one, two) = (Driver::with_seed(0), Driver::with_seed(0));
    let ptr = one.alloc(256);
    let foreign = SimDevice::new(1 << 20).allocate(256).unwrap();
    assert!(two.fill(ptr, 1, 256, two.stream()).is_err());
    assert!(one.free(foreign).is_err());
    two.only_violation(ViolationKind::BadAddress);
    one.only_violation(ViolationKind::BadFree);
}

#[test]
fn copies_to_and_from_pinned_memory_touch_it() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.stream(), driver.alloc(64));
    let pinned = driver.pinned().allocate(64).unwrap();
    let (read, write) = (vmem_core::author::HostAccess::Read, vmem_core::author::HostAccess::Write);
    let host = driver.view(pinned, 64, write).unwrap();
    driver.upload(ptr, host, 64, stream).unwrap();
    assert!(driver.view(pinned, 64, read).is_ok());
    assert!(driver.view(pinned, 64, write).is_err());
    driver.only_violation(ViolationKind::HostAccess);
    driver.download(host, ptr, 64, stream).unwrap();
    assert!(driver.view(pinned, 64, read).is_err());
    driver.only_violation(ViolationKind::HostAccess);
    assert!(driver.download(host, ptr, 65, stream).is_err());
    driver.only_violation(ViolationKind::BadAddress);
    driver.sync_stream(stream).unwrap();
    driver.free_pinned(pinned).unwrap();
    driver.assert_clean();
}
