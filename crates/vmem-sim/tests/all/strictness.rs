//! What the device refuses although CUDA does not: each refusal, and what is done without it.

use std::time::Duration;

use vmem_core::author::HostAccess;
use vmem_core::{Device, DriverCode, DriverError};
use vmem_sim::{CaptureStatus, Kernel, SimConfig, Strictness, ViolationKind};

use crate::common::{Driver, GRANULE, at};

fn without(strictness: Strictness) -> Driver {
    let strictness = Strictness::all() - strictness;
    Driver::new(SimConfig { strictness, ..SimConfig::default() })
}

fn strict() -> Driver {
    without(Strictness::empty())
}

/// Runs `call` on a strict device, which refuses it, and on one that is not so strict, which reports
/// the same rule, if any.
#[track_caller]
fn both(
    strictness: Strictness,
    broken: Option<ViolationKind>,
    call: impl Fn(&Driver) -> Result<(), DriverError>,
) -> Driver {
    let kinds = |driver: &Driver| -> Vec<_> {
        driver.take_violations().into_iter().map(|violation| violation.kind).collect()
    };
    let driver = strict();
    call(&driver).unwrap_err();
    assert_eq!(kinds(&driver), Vec::from_iter(broken));
    let driver = without(strictness);
    call(&driver).unwrap();
    assert_eq!(kinds(&driver), Vec::from_iter(broken));
    driver
}

/// A pending kernel on what it writes.
fn busy(driver: &Driver, ptr: vmem_core::DevicePtr) {
    let kernel = Kernel::write_pattern(ptr, 256, 1).taking(Duration::from_millis(1));
    driver.kernel(driver.stream(), kernel).unwrap();
}

#[test]
fn memory_is_freed_under_pending_work_after_it() {
    both(Strictness::PENDING_FREE, Some(ViolationKind::PendingWork), |driver| {
        let ptr = driver.alloc(256);
        busy(driver, ptr);
        driver.free(ptr)
    });
    both(Strictness::PENDING_FREE, Some(ViolationKind::PendingWork), |driver| {
        let ptr = driver.pinned().allocate(256)?;
        busy(driver, ptr);
        driver.free_pinned(ptr)
    });
}

#[test]
fn memory_is_unmapped_and_given_access_under_pending_work() {
    both(Strictness::PENDING_UNMAP, Some(ViolationKind::PendingWork), |driver| {
        let (base, _) = driver.mapped(1);
        busy(driver, base);
        driver.unmap(base, GRANULE)
    });
    both(Strictness::PENDING_ACCESS, Some(ViolationKind::PendingWork), |driver| {
        let (base, _) = driver.mapped(1);
        busy(driver, base);
        driver.set_access(base, GRANULE)
    });
}

#[test]
fn reserved_space_without_a_mapping_is_unmapped() {
    let driver = both(Strictness::UNMAPPED_SPACE, Some(ViolationKind::BadFree), |driver| {
        let (base, handle) = driver.mapped(2);
        driver.release(handle)?;
        driver.unmap(base, 2 * GRANULE)
    });
    assert_eq!(driver.used(), 0);
    // A part of a mapping cannot be unmapped, nor what was never reserved.
    let base = driver.vm().reserve(4 * GRANULE).unwrap();
    let handle = driver.vm().create(2 * GRANULE).unwrap();
    driver.map(base, 2 * GRANULE, handle).unwrap();
    driver.unmap(at(base, GRANULE), GRANULE).unwrap_err();
    driver.unmap(at(base, 3 * GRANULE), 2 * GRANULE).unwrap_err();
}

#[test]
fn the_host_touches_memory_under_pending_work_after_it() {
    both(Strictness::HOST_ACCESS, Some(ViolationKind::HostAccess), |driver| {
        let ptr = driver.pinned().allocate(256)?;
        busy(driver, ptr);
        driver.view(ptr, 256, HostAccess::Read).map(drop)
    });
}

#[test]
fn ranges_that_overlap_are_copied() {
    both(Strictness::OVERLAPPING_COPY, Some(ViolationKind::BadArgument), |driver| {
        let (ptr, stream) = (driver.alloc(256), driver.stream());
        driver.copy(at(ptr, 32), ptr, 64, stream)
    });
}

#[test]
fn a_stream_that_began_a_capture_takes_it_along() {
    let driver = without(Strictness::CAPTURING_DESTROY);
    let (stream, other, event) = (driver.stream(), driver.stream(), driver.event());
    let begin = |driver: &Driver, stream| {
        // SAFETY: the stream is live.
        unsafe { driver.begin_capture_raw(stream) }.unwrap();
    };
    begin(&driver, stream);
    driver.record(event, stream).unwrap();
    driver.wait(other, event).unwrap();
    driver.destroy_stream(stream).unwrap();
    // SAFETY: the stream is live.
    assert_eq!(unsafe { driver.capture_status(other) }.unwrap(), CaptureStatus::None);
    driver.sync().unwrap();
    driver.only_violation(ViolationKind::Capture);
    let driver = strict();
    let stream = driver.stream();
    begin(&driver, stream);
    driver.destroy_stream(stream).unwrap_err();
    assert!(driver.capturing(stream).unwrap());
}

#[test]
fn a_stream_that_joined_a_capture_is_destroyed_and_the_capture_goes_on() {
    let driver = strict();
    let (origin, other, event) = (driver.owned_stream(), driver.stream(), driver.event());
    driver.begin_capture(&origin).unwrap();
    driver.record(event, origin.raw()).unwrap();
    driver.wait(other, event).unwrap();
    driver.destroy_stream(other).unwrap();
    driver.end_capture(&origin).unwrap();
    driver.assert_clean();
}

#[test]
fn memory_that_a_graph_owns_exists_in_its_capture_alone() {
    let driver = without(Strictness::GRAPH_MEMORY);
    let (stream, other) = (driver.owned_stream(), driver.stream());
    driver.begin_capture(&stream).unwrap();
    let kept = driver.pool_allocate(4096, stream.raw()).unwrap();
    let freed = driver.pool_allocate(4096, stream.raw()).unwrap();
    driver.fill(at(kept, 4000), 1, 96, stream.raw()).unwrap();
    driver.pool_free(freed, stream.raw()).unwrap();
    driver.assert_clean();
    let code = |result: Result<(), DriverError>| result.unwrap_err().code();
    let invalid = DriverCode::INVALID_VALUE;
    assert_eq!(code(driver.fill(at(kept, 4000), 1, 97, stream.raw())), invalid);
    assert_eq!(code(driver.fill(freed, 1, 1, stream.raw())), invalid);
    assert_eq!(code(driver.fill(kept, 1, 1, other)), invalid);
    assert_eq!(code(driver.pool_free(kept, other)), invalid);
    let graph = driver.end_capture(&stream).unwrap();
    assert_eq!(code(driver.pool_free(kept, other)), invalid);
    // SAFETY: it is refused.
    let launched = unsafe { driver.launch_graph(&stream, &graph) };
    assert_eq!(code(launched), DriverCode::NOT_SUPPORTED);
    assert_eq!(driver.used(), 0, "a graph takes its memory when it is launched");
}

#[test]
fn a_strict_device_refuses_to_make_memory_of_graphs_and_breaks_nothing() {
    let driver = strict();
    let (stream, outside) = (driver.owned_stream(), driver.pool_allocate(1, driver.stream()));
    driver.begin_capture(&stream).unwrap();
    let refused = driver.pool_allocate(1, stream.raw()).unwrap_err();
    assert_eq!(refused.code(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    // As CUDA answers, however strict.
    let refused = driver.pool_free(outside.unwrap(), stream.raw()).unwrap_err();
    assert_eq!(refused.code(), DriverCode::INVALID_VALUE);
    driver.end_capture(&stream).unwrap();
    driver.assert_clean();
    assert!(driver.0.synchronize().is_ok());
}
