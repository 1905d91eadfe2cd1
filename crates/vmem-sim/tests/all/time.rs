//! The cost model.

use std::time::Duration;

use vmem_core::DevicePtr;
use vmem_sim::{CostTable, Kernel, SimConfig};

use crate::common::{Driver, GRANULE, MIB, at, strict};

/// One call costs 1 ns, a launch 10, unmapping 100 and 1,000 per handle; device work only what it
/// says.
fn clock(seed: u64) -> Driver {
    let costs = CostTable {
        allocate_ns: 1,
        free_ns: 1,
        launch_ns: 10,
        synchronize_ns: 1,
        record_event_ns: 1,
        wait_event_ns: 1,
        create_event_ns: 0,
        create_stream_ns: 0,
        work_ns: 0,
        link_bytes_per_us: 0,
        memory_bytes_per_us: 0,
        unmap_ns: 100,
        unmap_handle_ns: 1_000,
        ..CostTable::default()
    };
    Driver::new(SimConfig { costs, seed, ..strict() })
}

fn busy(driver: &Driver, stream: vmem_core::RawStream, nanos: u64) {
    let kernel = Kernel::new("busy").taking(Duration::from_nanos(nanos));
    driver.kernel(stream, kernel).unwrap();
}

fn now(driver: &Driver) -> u128 {
    driver.virtual_time().as_nanos()
}

#[test]
fn streams_run_side_by_side_and_waits_join_them() {
    for seed in 0..4 {
        let driver = clock(seed);
        let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
        busy(&driver, a, 1_000);
        busy(&driver, b, 5_000);
        assert_eq!(now(&driver), 20, "launches do not wait");
        driver.sync_stream(a).unwrap();
        assert_eq!(now(&driver), 1_010);
        driver.record(event, b).unwrap();
        driver.wait(a, event).unwrap();
        busy(&driver, a, 100);
        driver.sync_stream(a).unwrap();
        assert_eq!(now(&driver), 5_020 + 100, "a starts when b, queued at 20, has ended");
    }
}

#[test]
fn what_a_query_finds_complete_has_ended() {
    for seed in 0..4 {
        let driver = clock(seed);
        let (stream, event) = (driver.stream(), driver.event());
        busy(&driver, stream, 1_000_000);
        driver.record(event, stream).unwrap();
        while !driver.query(event).unwrap().is_complete() {}
        assert!(now(&driver) >= 1_000_000);
        busy(&driver, stream, 1_000_000);
        while !driver.query_stream(stream).unwrap().is_complete() {}
        assert!(now(&driver) >= 2_000_000);
    }
}

#[test]
fn freeing_plain_memory_waits_for_the_device_in_time_but_orders_nothing() {
    let driver = clock(0);
    let (stream, ptr, other) = (driver.stream(), driver.alloc(1), driver.alloc(1));
    driver
        .kernel(stream, Kernel::new("w").writes(other, 1).taking(Duration::from_micros(9)))
        .unwrap();
    driver.free(ptr).unwrap();
    assert!(now(&driver) >= 9_000);
    assert!(driver.free(other).is_err(), "the host still has not seen it complete");
}

#[test]
fn unmapping_costs_per_handle() {
    let driver = clock(0);
    let base: DevicePtr = driver.vm().reserve(3 * GRANULE).unwrap();
    for index in 0..3 {
        let handle = driver.vm().create(GRANULE).unwrap();
        driver.map(at(base, index * GRANULE), GRANULE, handle).unwrap();
    }
    let before = now(&driver);
    driver.unmap(base, 3 * GRANULE).unwrap();
    assert_eq!(now(&driver) - before, 100 + 3 * 1_000);
}

#[test]
fn bytes_cost_by_the_rate_of_their_path() {
    let driver = Driver::new(SimConfig {
        costs: CostTable {
            work_ns: 0,
            launch_ns: 0,
            synchronize_ns: 0,
            link_bytes_per_us: 1 << 10,
            memory_bytes_per_us: 1 << 20,
            ..CostTable::default()
        },
        ..strict()
    });
    let (stream, ptr) = (driver.stream(), driver.alloc(2 * MIB));
    let host = vec![0_u8; 1 << 20];
    let mut last = now(&driver);
    let mut took = |driver: &Driver| {
        driver.sync_stream(stream).unwrap();
        let took = now(driver) - last;
        last = now(driver);
        took
    };
    driver.upload(ptr, host.as_ptr(), MIB, stream).unwrap();
    assert_eq!(took(&driver), 1_024_000);
    driver.fill(ptr, 0, MIB, stream).unwrap();
    assert_eq!(took(&driver), 1_000);
    driver.copy(ptr, at(ptr, MIB), MIB, stream).unwrap();
    assert_eq!(took(&driver), 2_000);
}

#[test]
fn time_does_not_depend_on_the_seed_where_nothing_is_polled() {
    let time = |seed| {
        let driver = Driver::with_seed(seed);
        let (a, b, event) = (driver.stream(), driver.stream(), driver.event());
        let managed = driver.managed().allocate(8 * MIB).unwrap();
        driver.fill(managed, 1, 8 * MIB, a).unwrap();
        driver.record(event, a).unwrap();
        driver.wait(b, event).unwrap();
        driver.fill(managed, 2, MIB, b).unwrap();
        driver.sync().unwrap();
        now(&driver)
    };
    assert!((1..16).all(|seed| time(seed) == time(0)));
}

#[test]
fn where_everything_is_free_the_clock_stands_still() {
    let driver = Driver::new(SimConfig { costs: CostTable::FREE, ..strict() });
    let (ptr, stream) = (driver.alloc(MIB), driver.stream());
    driver.fill(ptr, 1, MIB, stream).unwrap();
    driver.sync_stream(stream).unwrap();
    driver.free(ptr).unwrap();
    assert_eq!(now(&driver), 0);
}
