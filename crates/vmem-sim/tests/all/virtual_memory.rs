//! Mapping: what it refuses and what it counts.

use vmem_core::{DriverError, PhysicalHandle};
use vmem_sim::{SimConfig, ViolationKind};

use crate::common::{Driver, GRANULE, MIB, at};

#[track_caller]
fn refused(driver: &Driver, result: Result<(), DriverError>, kind: ViolationKind, why: &str) {
    let error = result.unwrap_err();
    assert!(error.detail().contains(why), "{error}");
    driver.only_violation(kind);
}

#[test]
fn sizes_and_addresses_are_whole_granules() {
    let driver = Driver::with_seed(0);
    let (base, handle) = driver.mapped(4);
    let bad = ViolationKind::BadArgument;
    for bytes in [0, MIB, GRANULE + 1] {
        refused(&driver, driver.vm().create(bytes).map(drop), bad, "multiple of 0x200000");
        refused(&driver, driver.vm().reserve(bytes).map(drop), bad, "multiple of 0x200000");
    }
    let odd = at(base, GRANULE + 4096);
    refused(&driver, driver.map(odd, GRANULE, handle), bad, "address");
    refused(&driver, driver.map(at(base, GRANULE), MIB, handle), bad, "size");
}

#[test]
fn a_handle_is_mapped_whole_into_reserved_empty_space() {
    let driver = Driver::with_seed(0);
    let (base, handle) = driver.mapped(4);
    let large = driver.vm().create(2 * GRANULE).unwrap();
    let bad = ViolationKind::BadArgument;
    refused(&driver, driver.map(at(base, GRANULE), GRANULE, large), bad, "the handle has");
    refused(&driver, driver.map(base, 2 * GRANULE, large), bad, "something is mapped");
    refused(
        &driver,
        driver.map(at(base, 3 * GRANULE), 2 * GRANULE, large),
        bad,
        "no reserved range",
    );
    driver.map(at(base, 2 * GRANULE), 2 * GRANULE, large).unwrap();
    let between = at(base, 3 * GRANULE);
    refused(&driver, driver.map(between, GRANULE, handle), bad, "something is mapped");
}

#[test]
fn a_mapping_has_no_access_until_it_is_set() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    let (base, _) = driver.mapped(2);
    let handle = driver.vm().create(GRANULE).unwrap();
    let second = at(base, GRANULE);
    let bad = ViolationKind::BadAddress;
    refused(&driver, driver.fill(second, 1, 1, stream), bad, "no live allocation or mapping");
    driver.map(second, GRANULE, handle).unwrap();
    refused(&driver, driver.fill(second, 1, 1, stream), bad, "no access rights");
    refused(&driver, driver.fill(base, 1, GRANULE + 1, stream), bad, "no access rights");
    driver.set_access(second, GRANULE).unwrap();
    driver.fill(at(base, 5), 1, 2 * GRANULE - 5, stream).unwrap();
    driver.assert_clean();
    assert_eq!(driver.bytes(at(base, GRANULE - 1), 2), [1, 1]);
}

#[test]
fn only_whole_mappings_are_unmapped_or_given_access() {
    let driver = Driver::with_seed(0);
    let base = driver.vm().reserve(4 * GRANULE).unwrap();
    let handle = driver.vm().create(2 * GRANULE).unwrap();
    driver.map(base, 2 * GRANULE, handle).unwrap();
    let bad = ViolationKind::BadFree;
    refused(&driver, driver.set_access(base, GRANULE), bad, "ends inside the mapping");
    driver.set_access(base, 2 * GRANULE).unwrap();
    refused(&driver, driver.unmap(base, GRANULE), bad, "ends inside the mapping");
    refused(&driver, driver.unmap(at(base, GRANULE), GRANULE), bad, "no mapping starts");
    refused(&driver, driver.unmap(base, 4 * GRANULE), bad, "no mapping starts");
    driver.unmap(base, 2 * GRANULE).unwrap();
    refused(&driver, driver.unmap(base, 2 * GRANULE), bad, "no mapping starts");
}

#[test]
fn access_is_not_set_under_pending_work() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    let (base, _) = driver.mapped(1);
    driver.fill(base, 1, 256, stream).unwrap();
    let pending = ViolationKind::PendingWork;
    refused(&driver, driver.set_access(base, GRANULE), pending, "setting access");
    driver.sync_stream(stream).unwrap();
    driver.set_access(base, GRANULE).unwrap();
}

#[test]
fn pending_work_through_one_address_does_not_pin_another() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    let (base, handle) = driver.mapped(2);
    let alias = at(base, GRANULE);
    driver.map(alias, GRANULE, handle).unwrap();
    driver.set_access(alias, GRANULE).unwrap();
    driver.fill(alias, 1, 256, stream).unwrap();
    driver.unmap(base, GRANULE).unwrap();
    refused(&driver, driver.unmap(alias, GRANULE), ViolationKind::PendingWork, "unmapping");
}

#[test]
fn memory_returns_to_the_device_once_released_and_mapped_nowhere() {
    let driver = Driver::new(SimConfig { capacity: GRANULE, ..SimConfig::default() });
    let (base, handle) = driver.mapped(2);
    let alias = at(base, GRANULE);
    driver.map(alias, GRANULE, handle).unwrap();
    driver.release(handle).unwrap();
    assert!(driver.vm().create(GRANULE).unwrap_err().is_out_of_memory());
    driver.unmap(base, GRANULE).unwrap();
    assert_eq!(driver.used(), GRANULE);
    driver.unmap(alias, GRANULE).unwrap();
    assert_eq!(driver.used(), 0);
    let again = driver.vm().create(GRANULE).unwrap();
    assert_eq!(again, handle, "handles recur");
    driver.assert_clean();
}

#[test]
fn a_released_handle_is_refused() {
    let driver = Driver::with_seed(0);
    let (base, handle) = driver.mapped(2);
    driver.release(handle).unwrap();
    let bad = ViolationKind::BadHandle;
    refused(&driver, driver.map(at(base, GRANULE), GRANULE, handle), bad, "destroyed");
    refused(&driver, driver.release(handle), bad, "destroyed");
    refused(&driver, driver.release(PhysicalHandle(7)), bad, "destroyed");
}

#[test]
fn a_range_is_freed_whole_and_empty() {
    let driver = Driver::with_seed(0);
    let (base, _) = driver.mapped(2);
    let bad = ViolationKind::BadFree;
    refused(&driver, driver.free_range(base, 2 * GRANULE), bad, "still mapped");
    driver.unmap(base, GRANULE).unwrap();
    refused(&driver, driver.free_range(base, GRANULE), bad, "has 4194304 B");
    refused(&driver, driver.free_range(at(base, GRANULE), GRANULE), bad, "no range");
    driver.free_range(base, 2 * GRANULE).unwrap();
    refused(&driver, driver.free_range(base, 2 * GRANULE), bad, "no range");
}

#[test]
fn large_reservations_can_be_refused() {
    let driver = Driver::new(SimConfig { max_reservation: Some(32 << 30), ..SimConfig::default() });
    assert!(driver.vm().reserve(64 << 30).unwrap_err().is_out_of_memory());
    assert!(driver.vm().reserve(32 << 30).is_ok());
    assert!(driver.vm().reserve(1 << 50).is_err());
    driver.assert_clean();
}

#[test]
fn addresses_with_memory_behind_them_are_told_in_order_and_reserved_or_managed_ones_are_not() {
    let driver = Driver::with_seed(0);
    let plain = driver.alloc(3 * MIB);
    let (base, handle) = driver.mapped(4);
    driver.map(at(base, 2 * GRANULE), GRANULE, handle).unwrap();
    driver.managed().allocate(5 * MIB).unwrap();
    let told = driver.backed_addresses();
    assert_eq!(told, [(plain, 3 * MIB), (base, GRANULE), (at(base, 2 * GRANULE), GRANULE)]);
    driver.free(plain).unwrap();
    assert_eq!(driver.backed_addresses().len(), 2);
}
