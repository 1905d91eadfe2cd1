//! The stream-ordered pool.

use vmem_sim::{CallKind, Kernel, SimConfig, ViolationKind};

use crate::common::{Driver, MIB};

#[test]
fn memory_is_used_in_stream_order_and_reused_on_the_same_stream() {
    for seed in 0..8 {
        let driver = Driver::with_seed(seed);
        let stream = driver.stream();
        let first = driver.pool_allocate(MIB, stream).unwrap();
        driver.kernel(stream, Kernel::write_pattern(first, MIB, 1)).unwrap();
        driver.pool_free(first, stream).unwrap();
        let second = driver.pool_allocate(MIB, stream).unwrap();
        assert_eq!(second, first);
        driver.kernel(stream, Kernel::write_pattern(second, MIB, 2)).unwrap();
        driver.kernel(stream, Kernel::check_pattern(second, MIB, 2)).unwrap();
        driver.pool_free(second, stream).unwrap();
        driver.assert_clean();
        assert_eq!(driver.used(), MIB);
    }
}

#[test]
fn another_stream_must_wait_for_the_allocation_and_the_free_for_it() {
    let driver = Driver::with_seed(0);
    let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
    let ptr = driver.pool_allocate(256, a).unwrap();
    driver.fill(ptr, 1, 256, b).unwrap();
    driver.only_violation(ViolationKind::Race);
    driver.pool_free(ptr, a).unwrap();
    driver.only_violation(ViolationKind::Race);
    let ptr = driver.pool_allocate(512, a).unwrap();
    driver.record(event, a).unwrap();
    driver.wait(b, event).unwrap();
    driver.fill(ptr, 1, 512, b).unwrap();
    driver.record(event, b).unwrap();
    driver.wait(a, event).unwrap();
    driver.pool_free(ptr, a).unwrap();
    driver.assert_clean();
}

#[test]
fn using_memory_after_its_free_is_refused() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    let ptr = driver.pool_allocate(256, stream).unwrap();
    driver.pool_free(ptr, stream).unwrap();
    assert!(driver.fill(ptr, 1, 256, stream).is_err());
    driver.only_violation(ViolationKind::BadAddress);
    assert!(driver.pool_free(ptr, stream).is_err());
    driver.only_violation(ViolationKind::BadFree);
}

#[test]
fn another_streams_memory_is_reused_only_in_order() {
    for seed in 0..16 {
        let driver = Driver::with_seed(seed);
        let (a, b) = (driver.stream(), driver.stream());
        let ptr = driver.pool_allocate(4096, a).unwrap();
        driver.kernel(a, Kernel::write_pattern(ptr, 4096, 1)).unwrap();
        driver.pool_free(ptr, a).unwrap();
        let other = driver.pool_allocate(4096, b).unwrap();
        driver.kernel(b, Kernel::write_pattern(other, 4096, 2)).unwrap();
        driver.kernel(b, Kernel::check_pattern(other, 4096, 2)).unwrap();
        driver.assert_clean();
    }
}

#[test]
fn memory_freed_elsewhere_and_not_known_complete_is_left_alone() {
    let grew = (0..32).any(|seed| {
        let driver = Driver::with_seed(seed);
        let (a, b) = (driver.stream(), driver.stream());
        let ptr = driver.pool_allocate(4096, a).unwrap();
        driver.pool_free(ptr, a).unwrap();
        driver.pool_allocate(4096, b).unwrap();
        driver.pool().reserved().unwrap() == 2 * 4096
    });
    assert!(grew);
    let driver = Driver::with_seed(0);
    let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
    let ptr = driver.pool_allocate(4096, a).unwrap();
    driver.pool_free(ptr, a).unwrap();
    driver.record(event, a).unwrap();
    driver.wait(b, event).unwrap();
    assert_eq!(driver.pool_allocate(4096, b).unwrap(), ptr, "an event orders it");
}

#[test]
fn memory_whose_free_has_run_is_reused_behind_it_though_the_host_has_not_seen_it() {
    let driver = Driver::with_seed(0);
    let (a, b, other) = (driver.stream(), driver.stream(), driver.alloc(1));
    let ptr = driver.pool_allocate(4096, a).unwrap();
    driver.kernel(a, Kernel::write_pattern(ptr, 4096, 1)).unwrap();
    driver.pool_free(ptr, a).unwrap();
    driver.bytes(other, 1); // runs what is queued, unseen
    assert_eq!(driver.pool_allocate(4096, b).unwrap(), ptr);
    driver.kernel(b, Kernel::write_pattern(ptr, 4096, 2)).unwrap();
    driver.assert_clean();
}

#[test]
fn trimming_leaves_memory_whose_work_is_pending() {
    let kept = (0..32).any(|seed| {
        let driver = Driver::with_seed(seed);
        let stream = driver.stream();
        let ptr = driver.pool_allocate(4096, stream).unwrap();
        driver.kernel(stream, Kernel::write_pattern(ptr, 4096, 1)).unwrap();
        driver.pool_free(ptr, stream).unwrap();
        driver.pool().trim_to(0).unwrap();
        let kept = driver.pool().reserved().unwrap();
        driver.assert_clean();
        driver.pool().trim_to(0).unwrap();
        assert_eq!(driver.pool().reserved().unwrap(), 0);
        kept != 0
    });
    assert!(kept);
}

#[test]
fn a_wait_returns_what_is_above_the_threshold() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    assert_eq!(driver.pool().release_threshold().unwrap(), 0);
    let ptr = driver.pool_allocate(MIB, stream).unwrap();
    driver.pool_free(ptr, stream).unwrap();
    driver.sync_stream(stream).unwrap();
    assert_eq!((driver.pool().reserved().unwrap(), driver.used()), (0, 0));
    driver.pool().set_release_threshold(u64::MAX).unwrap();
    let ptr = driver.pool_allocate(MIB, stream).unwrap();
    driver.pool_free(ptr, stream).unwrap();
    driver.sync_stream(stream).unwrap();
    assert_eq!(driver.pool().reserved().unwrap(), MIB);
    driver.pool().trim_to(0).unwrap();
    assert_eq!((driver.pool().reserved().unwrap(), driver.used()), (0, 0));
    assert_eq!(driver.calls().of(CallKind::AsyncTrim), 1);
}

#[test]
fn unused_memory_of_the_pool_serves_other_allocations() {
    for seed in 0..8 {
        let capacity = 2 * MIB;
        let driver = Driver::new(SimConfig { capacity, seed, ..SimConfig::default() });
        let stream = driver.stream();
        let ptr = driver.pool_allocate(2 * MIB, stream).unwrap();
        driver.fill(ptr, 1, 2 * MIB, stream).unwrap();
        driver.pool_free(ptr, stream).unwrap();
        assert_eq!(driver.used(), 2 * MIB);
        driver.alloc(2 * MIB);
        driver.assert_clean();
    }
}

#[test]
fn allocating_while_capturing_is_refused_and_breaks_nothing() {
    let driver = Driver::with_seed(0);
    let stream = driver.owned_stream();
    driver.begin_capture(&stream).unwrap();
    assert!(driver.pool_allocate(256, stream.raw()).is_err());
    driver.end_capture(&stream).unwrap();
    driver.assert_clean();
}
