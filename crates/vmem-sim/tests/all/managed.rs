//! Managed memory: where its pages are and what moving them costs.

use vmem_core::author::HostAccess;
use vmem_core::{Advice, Device, Location};
use vmem_sim::{Kernel, Parts, SimConfig, ViolationKind};

use crate::common::{Driver, MIB, at, strict};

const GROUP: u64 = 2 * MIB;

fn device(capacity: u64) -> Driver {
    Driver::new(SimConfig { capacity, ..strict() })
}

/// The virtual time of a kernel that writes a range.
fn time_to_touch(driver: &Driver, ptr: vmem_core::DevicePtr, bytes: u64) -> u128 {
    let stream = driver.stream();
    driver.sync().unwrap();
    let before = driver.virtual_time();
    driver.kernel(stream, Kernel::new("touch").writes(ptr, bytes)).unwrap();
    driver.sync().unwrap();
    (driver.virtual_time() - before).as_nanos()
}

#[test]
fn host_and_device_see_one_memory_at_one_address() {
    let driver = device(64 * MIB);
    let stream = driver.stream();
    let ptr = driver.managed().allocate(5 * MIB).unwrap();
    let view = driver.view(ptr, 4, HostAccess::Write).unwrap();
    // SAFETY: the view is of four bytes, and no work is queued on them.
    unsafe { view.write_bytes(3, 4) };
    driver.kernel(stream, Kernel::add_one(ptr, 4)).unwrap();
    assert!(driver.view(ptr, 4, HostAccess::Read).is_err());
    driver.only_violation(ViolationKind::HostAccess);
    driver.sync_stream(stream).unwrap();
    let view = driver.view(ptr, 4, HostAccess::Read).unwrap();
    // SAFETY: the view is of four bytes, and the work on them has completed.
    assert_eq!(unsafe { view.read() }, 4);
    driver.assert_clean();
}

#[test]
fn pages_count_against_the_device_only_while_they_are_there() {
    let driver = device(64 * MIB);
    let ptr = driver.managed().allocate(8 * MIB).unwrap();
    assert_eq!(driver.used(), 0);
    time_to_touch(&driver, ptr, 3 * MIB);
    assert_eq!(driver.used(), 2 * GROUP);
    driver.view(ptr, 1, HostAccess::Write).unwrap();
    assert_eq!((driver.used(), driver.migrated_bytes()), (GROUP, GROUP));
    driver.sync().unwrap();
    driver.free_managed(ptr).unwrap();
    assert_eq!(driver.used(), 0);
}

#[test]
fn faults_cost_the_first_touch_and_not_the_second() {
    let driver = device(64 * MIB);
    let ptr = driver.managed().allocate(16 * MIB).unwrap();
    let first = time_to_touch(&driver, ptr, 16 * MIB);
    let second = time_to_touch(&driver, ptr, 16 * MIB);
    let fault = u128::from(SimConfig::default().costs.device_fault_ns);
    assert!(first >= second + 8 * fault, "{first} ns, then {second} ns");
}

/// The reason for the oversubscription tier: it runs, and it pays.
#[test]
fn more_than_the_device_holds_runs_and_pays_for_it() {
    let fits = device(64 * MIB);
    let tight = device(32 * MIB);
    let mut times = Vec::new();
    for driver in [&fits, &tight] {
        let ptr = driver.managed().allocate(48 * MIB).unwrap();
        time_to_touch(driver, ptr, 48 * MIB);
        times.push(time_to_touch(driver, ptr, 48 * MIB));
        assert!(driver.used() <= 32 * MIB || std::ptr::eq(driver, &raw const fits));
    }
    assert_eq!(fits.migrated_bytes(), 0);
    assert!(tight.migrated_bytes() >= 48 * MIB, "{}", tight.migrated_bytes());
    assert!(times[1] > 3 * times[0], "{times:?}");
    tight.assert_clean();
}

#[test]
fn plain_memory_pushes_managed_pages_out() {
    let driver = device(8 * MIB);
    let managed = driver.managed().allocate(8 * MIB).unwrap();
    time_to_touch(&driver, managed, 8 * MIB);
    assert_eq!(driver.used(), 8 * MIB);
    let plain = driver.alloc(6 * MIB);
    assert_eq!((driver.used(), driver.migrated_bytes()), (8 * MIB, 6 * MIB));
    assert!(driver.0.allocate(3 * MIB).unwrap_err().is_out_of_memory());
    assert_eq!(driver.migrated_bytes(), 6 * MIB, "nothing moves for what does not fit");
    driver.free(plain).unwrap();
}

#[test]
fn a_prefetch_moves_pages_ahead_of_the_fault() {
    let driver = device(64 * MIB);
    let stream = driver.stream();
    let ptr = driver.managed().allocate(8 * MIB).unwrap();
    driver.view(ptr, 8 * MIB, HostAccess::Write).unwrap();
    driver.prefetch(ptr, 8 * MIB, Location::Device, stream).unwrap();
    driver.sync().unwrap();
    assert_eq!((driver.used(), driver.migrated_bytes()), (8 * MIB, 8 * MIB));
    let fault = u128::from(SimConfig::default().costs.device_fault_ns);
    assert!(time_to_touch(&driver, ptr, 8 * MIB) < fault);
    assert_eq!(driver.last_prefetch(ptr, 8 * MIB).unwrap(), Some(Location::Device));
    driver.prefetch(ptr, GROUP, Location::Host, stream).unwrap();
    assert_eq!(driver.last_prefetch(ptr, 8 * MIB).unwrap(), None);
    assert_eq!(driver.last_prefetch(at(ptr, GROUP), GROUP).unwrap(), Some(Location::Device));
    assert_eq!(driver.used(), 6 * MIB);
}

#[test]
fn advice_changes_what_moves() {
    let driver = device(64 * MIB);
    let ptr = driver.managed().allocate(2 * GROUP).unwrap();
    driver.advise(ptr, GROUP, Advice::PreferredLocation(Location::Host)).unwrap();
    driver.advise(at(ptr, GROUP), GROUP, Advice::ReadMostly).unwrap();
    driver.view(ptr, 2 * GROUP, HostAccess::Write).unwrap();
    let stream = driver.stream();
    driver.kernel(stream, Kernel::new("read").reads(ptr, 2 * GROUP)).unwrap();
    driver.sync().unwrap();
    // The first group stayed on the host, the second is in both places.
    assert_eq!((driver.used(), driver.migrated_bytes()), (GROUP, GROUP));
    driver.view(at(ptr, GROUP), 1, HostAccess::Read).unwrap();
    assert_eq!((driver.used(), driver.migrated_bytes()), (GROUP, GROUP));
    driver.view(at(ptr, GROUP), 1, HostAccess::Write).unwrap();
    assert_eq!(driver.used(), 0);
}

#[test]
fn without_concurrent_access_there_is_no_oversubscription_and_no_prefetch() {
    let driver = Driver::new(SimConfig { capacity: 8 * MIB, parts: Parts::MANAGED, ..strict() });
    let ptr = driver.managed().allocate(6 * MIB).unwrap();
    assert_eq!(driver.used(), 6 * MIB);
    assert!(driver.managed().allocate(3 * MIB).unwrap_err().is_out_of_memory());
    let stream = driver.stream();
    assert!(driver.prefetch(ptr, MIB, Location::Device, stream).is_err());
    assert!(driver.violations().is_empty());
    driver.free_managed(ptr).unwrap();
    assert_eq!(driver.used(), 0);
}

#[test]
fn without_concurrent_access_any_work_at_all_keeps_the_host_away() {
    let parts = Parts::MANAGED;
    let refused = (0..32).filter(|&seed| {
        let driver = Driver::new(SimConfig { parts, seed, ..strict() });
        let (stream, other) = (driver.stream(), driver.alloc(256));
        let ptr = driver.managed().allocate(MIB).unwrap();
        driver.fill(other, 1, 256, stream).unwrap();
        let refused = driver.view(ptr, 1, HostAccess::Read).is_err();
        driver.sync().unwrap();
        assert!(driver.view(ptr, 1, HostAccess::Read).is_ok());
        refused
    });
    assert!(refused.count() > 8);
}
