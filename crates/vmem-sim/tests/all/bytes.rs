use vmem_core::author::HostAccess;
use vmem_core::{Device, DriverCode};
use vmem_sim::{Bytes, Kernel, SimConfig, ViolationKind};

use crate::common::{Driver, GRANULE, at};

#[test]
fn copies_and_fills_move_the_bytes_they_name() {
    for seed in 0..8 {
        let driver = Driver::with_seed(seed);
        let stream = driver.stream();
        let (a, b) = (driver.alloc(100_000), driver.alloc(100_000));
        let sent: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let mut got = vec![0; 70_000];
        driver.fill(a, 9, 100_000, stream).unwrap();
        driver.upload(at(a, 11), sent.as_ptr(), 70_000, stream).unwrap();
        driver.copy(b, at(a, 1), 99_999, stream).unwrap();
        driver.download(got.as_mut_ptr(), at(b, 10), 70_000, stream).unwrap();
        driver.sync_stream(stream).unwrap();
        assert_eq!(got, sent);
        assert_eq!(driver.bytes(b, 11)[..10], [9; 10]);
        driver.assert_clean();
    }
}

#[test]
fn words_of_every_width_fill_where_they_are_aligned() {
    let driver = Driver::with_seed(1);
    let (stream, ptr) = (driver.stream(), driver.alloc(100_000));
    driver.fill(ptr, 9, 100_000, stream).unwrap();
    driver.fill_u16(at(ptr, 2), 0x0102, 3, stream).unwrap();
    driver.fill_u32(at(ptr, 12), 0x0304_0506, 20_000, stream).unwrap();
    driver.sync_stream(stream).unwrap();
    let half = 0x0102_u16.to_ne_bytes();
    let expected = [&[9; 2][..], &half, &half, &half, &[9; 4]].concat();
    assert_eq!(driver.bytes(ptr, 12), expected);
    assert_eq!(driver.bytes(at(ptr, 12), 80_000), 0x0304_0506_u32.to_ne_bytes().repeat(20_000));
    assert_eq!(driver.bytes(at(ptr, 80_012), 4), [9; 4]);
    driver.assert_clean();
    assert!(driver.fill_u16(at(ptr, 1), 0, 1, stream).is_err());
    assert!(driver.fill_u32(at(ptr, 2), 0, 1, stream).is_err());
    let rules: Vec<_> = driver.take_violations().iter().map(|found| found.kind).collect();
    assert_eq!(rules, [ViolationKind::BadArgument; 2]);
}

#[test]
fn host_memory_is_read_when_the_copy_runs_not_when_it_is_queued() {
    // Some seed runs the copy late; a program that reuses its staging buffer early is then wrong.
    let late = (0..32).any(|seed| {
        let driver = Driver::with_seed(seed);
        let (stream, ptr) = (driver.stream(), driver.alloc(1));
        let mut staging = Box::new(1_u8);
        driver.upload(ptr, &raw const *staging, 1, stream).unwrap();
        *staging = 2;
        driver.sync_stream(stream).unwrap();
        driver.bytes(ptr, 1) == [2]
    });
    assert!(late);
}

#[test]
fn memory_never_written_is_not_zero_by_luck() {
    let driver = Driver::with_seed(0);
    assert_ne!(driver.bytes(driver.alloc(64), 64), [0; 64]);
}

#[test]
fn one_handle_at_two_addresses_is_the_same_bytes() {
    let driver = Driver::with_seed(3);
    let stream = driver.stream();
    let (base, handle) = driver.mapped(2);
    let alias = at(base, GRANULE);
    driver.map(alias, GRANULE, handle).unwrap();
    driver.set_access(alias, GRANULE).unwrap();
    driver.fill(at(base, 4000), 7, 200, stream).unwrap();
    driver.kernel(stream, Kernel::add_one(at(alias, 4000), 100)).unwrap();
    driver.sync_stream(stream).unwrap();
    let bytes = driver.bytes(at(base, 4000), 200);
    assert_eq!(bytes[..100], [8; 100]);
    assert_eq!(bytes[100..], [7; 100]);
    driver.assert_clean();
}

#[test]
fn pinned_memory_is_at_its_host_address() {
    let driver = Driver::with_seed(1);
    let stream = driver.stream();
    let ptr = driver.pinned().allocate(64).unwrap();
    let view = driver.view(ptr, 64, HostAccess::Write).unwrap();
    assert_eq!(view.addr() as u64, ptr.get());
    // SAFETY: the view is of 64 bytes, and no work is queued on them.
    unsafe { view.write_bytes(5, 64) };
    driver.kernel(stream, Kernel::add_one(ptr, 64)).unwrap();
    driver.sync_stream(stream).unwrap();
    let view = driver.view(at(ptr, 63), 1, HostAccess::Read).unwrap();
    // SAFETY: the view is of one byte, and the work on it has completed.
    assert_eq!(unsafe { view.read() }, 6);
    driver.free_pinned(ptr).unwrap();
    driver.assert_clean();
}

#[test]
fn patterns_are_recognised_and_others_reported() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.stream(), driver.alloc(200_000));
    driver.kernel(stream, Kernel::write_pattern(ptr, 200_000, 4)).unwrap();
    driver.kernel(stream, Kernel::check_pattern(ptr, 200_000, 4)).unwrap();
    driver.assert_clean();
    driver.fill(at(ptr, 150_000), 0, 512, stream).unwrap();
    driver.kernel(stream, Kernel::check_pattern(ptr, 200_000, 4)).unwrap();
    driver.sync().unwrap();
    let wrong = driver.only_violation(ViolationKind::WrongBytes);
    assert!(wrong.detail.contains("byte 15000") || wrong.detail.contains("byte 15001"), "{wrong}");
}

#[test]
fn a_kernel_touches_only_what_it_declared() {
    let driver = Driver::with_seed(0);
    let (stream, ptr) = (driver.stream(), driver.alloc(512));
    let kernel = Kernel::new("greedy")
        .writes(ptr, 256)
        .with_body(move |memory| memory.write(at(ptr, 255), &[1, 2]));
    driver.kernel(stream, kernel).unwrap();
    driver.sync().unwrap();
    driver.only_violation(ViolationKind::BadAddress);
}

#[test]
fn the_host_sees_no_plain_device_memory() {
    let driver = Driver::with_seed(0);
    let ptr = driver.alloc(256);
    let refused = driver.view(ptr, 256, HostAccess::Read).unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_VALUE);
    driver.only_violation(ViolationKind::BadAddress);
}

#[test]
fn without_bytes_nothing_is_kept_and_everything_else_holds() {
    let driver =
        Driver::new(SimConfig { capacity: 1 << 40, bytes: Bytes::None, ..SimConfig::default() });
    let (stream, ptr) = (driver.stream(), driver.alloc(1 << 39));
    driver.fill(ptr, 1, 1 << 39, stream).unwrap();
    assert!(driver.0.allocate(1 << 39).is_ok());
    assert!(driver.0.allocate(1).unwrap_err().is_out_of_memory());
    let pinned = driver.pinned().allocate(1 << 40).unwrap();
    let refused = driver.view(pinned, 1, HostAccess::Read).unwrap_err();
    assert!(refused.detail().contains("stores no bytes"), "{refused}");
    driver.free_pinned(pinned).unwrap();
    driver.assert_clean();
}
