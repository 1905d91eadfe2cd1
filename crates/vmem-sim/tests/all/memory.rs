//! What plain memory refuses, and how it is counted.

use vmem_core::{Device, DriverCode};
use vmem_sim::{Parts, SimConfig, SimDevice, ViolationKind};

use crate::common::{Driver, GRANULE, MIB, at, strict};

fn small() -> Driver {
    Driver::new(SimConfig { capacity: 4 * MIB, ..strict() })
}

#[test]
fn capacity_is_a_limit_and_out_of_memory_is_nobodys_fault() {
    let driver = small();
    let held = driver.alloc(3 * MIB);
    let refused = driver.0.allocate(MIB + 1).unwrap_err();
    assert!(refused.is_out_of_memory());
    assert!(refused.detail().contains("3145728 B of 4194304 B in use"), "{refused}");
    let rest = driver.alloc(MIB);
    assert_eq!(driver.0.memory_info().unwrap().free, 0);
    driver.free(held).unwrap();
    driver.free(rest).unwrap();
    assert_eq!((driver.used(), driver.peak_used()), (0, 4 * MIB));
    driver.reset_peak();
    assert_eq!(driver.peak_used(), 0);
    driver.assert_clean();
}

#[test]
fn addresses_are_aligned_and_recur_once_freed() {
    let driver = small();
    let ptrs = [driver.alloc(1), driver.alloc(257), driver.alloc(1)];
    assert!(ptrs.iter().all(|ptr| ptr.is_aligned_to(256)));
    assert_eq!(driver.used(), 4 * 256);
    driver.free(ptrs[0]).unwrap();
    assert_eq!(driver.alloc(100), ptrs[0]);
}

#[test]
fn freeing_twice_inside_or_of_another_kind_is_refused_with_the_reason() {
    let driver = small();
    let ptr = driver.alloc(1024);
    let why = |refused: vmem_core::DriverError| {
        assert_eq!(refused.code(), DriverCode::INVALID_VALUE);
        driver.only_violation(ViolationKind::BadFree);
        refused.detail().to_owned()
    };
    assert!(why(driver.free(at(ptr, 256)).unwrap_err()).contains("lies inside"));
    let pinned = driver.pinned().allocate(64).unwrap();
    assert!(why(driver.free(pinned).unwrap_err()).contains("another kind"));
    assert!(why(driver.free_pinned(ptr).unwrap_err()).contains("another kind"));
    driver.free(ptr).unwrap();
    assert!(why(driver.free(ptr).unwrap_err()).contains("freed or unmapped by call"));
    assert!(why(driver.free(at(ptr, 8 * MIB)).unwrap_err()).contains("never was"));
}

#[test]
fn accesses_outside_live_memory_are_refused_with_its_history() {
    let driver = small();
    let (stream, a, b) = (driver.stream(), driver.alloc(256), driver.alloc(256));
    assert_eq!(at(a, 256), b, "the test needs neighbours");
    let refused = driver.fill(a, 1, 512, stream).unwrap_err();
    assert!(refused.detail().contains("run past the allocation of 256 B"), "{refused}");
    driver.only_violation(ViolationKind::BadAddress);
    driver.free(a).unwrap();
    let refused = driver.fill(a, 1, 1, stream).unwrap_err();
    assert!(refused.detail().contains("freed or unmapped by call"), "{refused}");
    driver.only_violation(ViolationKind::BadAddress);
    assert!(driver.fill(b, 1, u64::MAX, stream).is_err());
    driver.only_violation(ViolationKind::BadAddress);
}

#[test]
fn a_copys_host_side_is_host_memory() {
    let driver = small();
    let (stream, ptr) = (driver.stream(), driver.alloc(256));
    assert!(driver.upload(ptr, std::ptr::null(), 1, stream).is_err());
    driver.only_violation(ViolationKind::BadArgument);
    let device_address = std::ptr::without_provenance_mut(usize::try_from(ptr.get()).unwrap());
    assert!(driver.download(device_address, ptr, 1, stream).is_err());
    driver.only_violation(ViolationKind::BadArgument);
    driver.upload(ptr, std::ptr::null(), 0, stream).unwrap();
    driver.assert_clean();
}

#[test]
fn a_refused_call_queues_nothing() {
    let driver = small();
    let (stream, ptr) = (driver.stream(), driver.alloc(256));
    assert!(driver.copy(ptr, at(ptr, 1), 2, stream).is_err());
    driver.only_violation(ViolationKind::BadArgument);
    driver.free(ptr).unwrap();
    driver.assert_clean();
}

#[test]
fn sizes_of_zero_and_beyond_the_address_space_are_refused() {
    let driver = small();
    assert!(driver.0.allocate(0).is_err());
    driver.only_violation(ViolationKind::BadArgument);
    assert!(driver.0.allocate(u64::MAX).unwrap_err().is_out_of_memory());
    assert!(driver.pinned().allocate(u64::MAX).unwrap_err().is_out_of_memory());
    assert!(driver.managed().allocate(u64::MAX).unwrap_err().is_out_of_memory());
    driver.assert_clean();
}

#[test]
fn everything_outstanding_is_listed() {
    let driver = Driver::with_seed(0);
    let (stream, event) = (driver.stream(), driver.event());
    let (plain, pinned) = (driver.alloc(1000), driver.pinned().allocate(10).unwrap());
    let managed = driver.managed().allocate(20).unwrap();
    let pooled = driver.pool_allocate(30, stream).unwrap();
    let (base, handle) = driver.mapped(2);
    let leaks = driver.leaks();
    assert_eq!((leaks.plain.count, leaks.plain.bytes), (1, 1000));
    assert_eq!((leaks.pinned.bytes, leaks.managed.bytes), (10, 20));
    assert_eq!(leaks.stream_ordered.bytes, 30);
    assert_eq!((leaks.handles.bytes, leaks.mappings.bytes), (GRANULE, GRANULE));
    assert_eq!((leaks.ranges.bytes, leaks.streams, leaks.events), (2 * GRANULE, 1, 1));
    assert!(leaks.to_string().contains("1 plain allocations (1000 B)"), "{leaks}");
    driver.pool_free(pooled, stream).unwrap();
    driver.sync().unwrap();
    driver.destroy_stream(stream).unwrap();
    driver.destroy_event(event).unwrap();
    driver.free(plain).unwrap();
    driver.free_pinned(pinned).unwrap();
    driver.free_managed(managed).unwrap();
    driver.unmap(base, GRANULE).unwrap();
    driver.release(handle).unwrap();
    driver.free_range(base, 2 * GRANULE).unwrap();
    assert!(driver.leaks().is_empty(), "{}", driver.leaks());
    assert_eq!(driver.used(), 0);
    driver.assert_clean();
}

#[test]
fn parts_that_a_device_lacks_are_absent() {
    let device = SimDevice::with_config(SimConfig { parts: Parts::MANAGED, ..strict() }).unwrap();
    assert!(device.virtual_memory().is_none());
    assert!(device.pinned().is_none());
    assert!(device.async_pool().is_none());
    assert!(!device.managed().unwrap().concurrent_access());
    assert!(device.facts().simulated);
}
