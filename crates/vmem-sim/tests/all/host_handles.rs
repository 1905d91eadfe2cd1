//! Handles of the host's memory: where they are, how much there is, and what they cost.

use std::time::Duration;

use vmem_core::{DevicePtr, DriverCode, PhysicalHandle};
use vmem_sim::{CallKind, CostTable, Kernel, Parts, Pattern, SimConfig, ViolationKind};

use crate::common::{Driver, GRANULE, MIB, at, strict};

/// One granule on the host, mapped with access where one of the device was, which is mapped elsewhere.
fn exchanged(driver: &Driver) -> (DevicePtr, DevicePtr, PhysicalHandle, PhysicalHandle) {
    let (base, device) = driver.mapped(2);
    let other = at(base, GRANULE);
    let host = driver.vm().create_on_host(GRANULE).unwrap();
    driver.map(other, GRANULE, device).unwrap();
    driver.set_access(other, GRANULE).unwrap();
    driver.unmap(base, GRANULE).unwrap();
    driver.map(base, GRANULE, host).unwrap();
    driver.set_access(base, GRANULE).unwrap();
    (base, other, device, host)
}

#[test]
fn memory_of_the_host_takes_the_place_of_the_devices_at_an_address_and_holds_its_bytes() {
    let driver = Driver::with_seed(0);
    assert!(driver.vm().has_host_memory());
    let stream = driver.stream();
    let (base, other, device, _) = exchanged(&driver);
    driver.fill(other, 7, GRANULE, stream).unwrap();
    driver.copy(base, other, GRANULE, stream).unwrap();
    driver.sync_stream(stream).unwrap();
    driver.unmap(other, GRANULE).unwrap();
    driver.release(device).unwrap();
    assert_eq!((driver.used(), driver.host_used()), (0, GRANULE));
    driver.fill(base, 9, 1, stream).unwrap();
    assert_eq!(driver.bytes(base, 2), [9, 7]);
    driver.assert_clean();
}

#[test]
fn the_exchange_is_checked_like_any_unmapping() {
    let driver = Driver::with_seed(0);
    let stream = driver.stream();
    let (base, _) = driver.mapped(1);
    driver.fill(base, 1, 256, stream).unwrap();
    assert!(driver.unmap(base, GRANULE).is_err());
    driver.only_violation(ViolationKind::PendingWork);
    driver.sync_stream(stream).unwrap();
    driver.unmap(base, GRANULE).unwrap();
    assert!(driver.fill(base, 1, 1, stream).is_err(), "between the two nothing is there");
    driver.only_violation(ViolationKind::BadAddress);
    let host = driver.vm().create_on_host(GRANULE).unwrap();
    driver.map(base, GRANULE, host).unwrap();
    driver.set_access(base, GRANULE).unwrap();
    // Two streams through the host's memory are unordered as they are through the device's.
    let second = driver.stream();
    driver.fill(base, 1, 256, stream).unwrap();
    driver.fill(base, 2, 256, second).unwrap();
    driver.only_violation(ViolationKind::Race);
}

#[test]
fn the_host_has_so_much_and_gets_it_back() {
    let driver = Driver::new(SimConfig { host_capacity: 3 * GRANULE, ..strict() });
    let first = driver.vm().create_on_host(2 * GRANULE).unwrap();
    let error = driver.vm().create_on_host(2 * GRANULE).unwrap_err();
    assert_eq!(error.code(), DriverCode::OUT_OF_MEMORY);
    driver.release(first).unwrap();
    assert_eq!(driver.host_used(), 0);
    driver.vm().create_on_host(3 * GRANULE).unwrap();
    assert_eq!((driver.used(), driver.leaks().handles.bytes), (0, 3 * GRANULE));
    driver.assert_clean();
}

#[test]
fn a_device_can_be_without_them() {
    let driver = Driver::new(SimConfig { parts: Parts::all() - Parts::HOST_HANDLES, ..strict() });
    assert!(!driver.vm().has_host_memory());
    let error = driver.vm().create_on_host(GRANULE).unwrap_err();
    assert_eq!(error.code(), DriverCode::NOT_SUPPORTED);
    driver.assert_clean();
}

#[test]
fn they_take_as_long_as_was_measured() {
    let driver = Driver::new(SimConfig { capacity: 1 << 30, ..strict() });
    let took = |call: &dyn Fn()| {
        let before = driver.virtual_time();
        call();
        driver.virtual_time() - before
    };
    let size = 128 * MIB;
    let base = driver.vm().reserve(size).unwrap();
    let create = took(&|| _ = driver.vm().create_on_host(size).unwrap());
    assert!((20..30).contains(&create.as_millis()), "{create:?}");
    let handle = driver.vm().create_on_host(size).unwrap();
    driver.map(base, size, handle).unwrap();
    let access = took(&|| driver.set_access(base, size).unwrap());
    assert!((1200..1700).contains(&access.as_micros()), "{access:?}");
    let unmap = took(&|| driver.unmap(base, size).unwrap());
    assert!((300..420).contains(&unmap.as_micros()), "{unmap:?}");
    let release = took(&|| driver.release(handle).unwrap());
    assert!((3000..4000).contains(&release.as_micros()), "{release:?}");
    assert_eq!(driver.calls().of(CallKind::CreateOnHost), 2);
}

#[test]
fn kernels_and_copies_take_what_the_bytes_they_touch_take_where_those_are() {
    let costs = CostTable { work_ns: 0, launch_ns: 0, synchronize_ns: 0, ..CostTable::H100 };
    let driver = Driver::new(SimConfig { costs, ..strict() });
    let stream = driver.stream();
    let (host, device, ..) = exchanged(&driver);
    let took = |kernel: Kernel| {
        let before = driver.virtual_time();
        driver.kernel(stream, kernel).unwrap();
        driver.sync_stream(stream).unwrap();
        driver.virtual_time() - before
    };
    let reading = |ptr, pattern| took(Kernel::new("read").reads(ptr, GRANULE).touching(pattern));
    let times = [(host, Pattern::Sequential), (device, Pattern::Random), (host, Pattern::Random)]
        .map(|(ptr, pattern)| u64::try_from(reading(ptr, pattern).as_nanos()).unwrap());
    let rates =
        [costs.host_bytes_per_us, costs.random_bytes_per_us, costs.host_random_bytes_per_us];
    for (time, rate) in times.into_iter().zip(rates) {
        assert!(time.abs_diff(GRANULE * 1000 / rate) < 100, "{time} at {rate}");
    }
    let before = driver.virtual_time();
    driver.copy(host, device, GRANULE, stream).unwrap();
    driver.sync_stream(stream).unwrap();
    let copied = driver.virtual_time() - before;
    let least = Duration::from_nanos(GRANULE * 1000 / costs.link_bytes_per_us);
    assert!(copied >= least && copied < 2 * least, "{copied:?}");
}
