//! Streams of every kind.

use std::num::NonZeroUsize;
use std::sync::Arc;

use vmem_core::author::StreamExt;
use vmem_core::{Device, DriverCode, RawStream, Stream, StreamKind, StreamPool};
use vmem_sim::{CallKind, Kernel};

use crate::common::{code, dyn_device, is_alive, launch, scratch, sim, stream};

#[test]
fn identities_are_never_reused_though_handles_are() {
    let device = sim(0);
    let first = stream(&device);
    let (id, raw) = (first.id(), first.raw());
    drop(first);
    let second = stream(&device);
    assert_eq!(second.raw(), raw);
    assert_ne!(second.id(), id);
}

#[test]
fn an_owned_stream_lives_until_its_last_handle() {
    let device = sim(0);
    let one = stream(&device);
    let (two, weak, raw) = (one.clone(), one.downgrade(), one.raw());
    assert_eq!(one, two);
    drop(one);
    assert!(is_alive(&device, raw));
    assert_eq!(weak.upgrade().unwrap(), two);
    drop(two);
    assert!(weak.upgrade().is_none());
    assert!(!is_alive(&device, raw));
    assert!(device.leaks().is_empty());
}

#[test]
fn a_failing_driver_makes_no_stream() {
    let device = sim(0);
    device.fail_call(Some(CallKind::CreateStream), 1, DriverCode::UNKNOWN);
    assert_eq!(code(Stream::new(device.clone())), DriverCode::UNKNOWN);
    assert!(device.leaks().is_empty());
}

#[test]
fn foreign_streams_are_never_destroyed_here() {
    let device = sim(0);
    let raw = device.create_blocking_stream().unwrap();
    // SAFETY: the stream outlives the handle.
    let foreign = unsafe { Stream::foreign(device.clone(), raw) }.unwrap();
    assert_eq!((foreign.kind(), foreign.raw()), (StreamKind::Foreign, raw));
    drop(foreign);
    assert!(is_alive(&device, raw));
    device.assert_clean();
}

#[test]
fn a_foreign_streams_owner_is_held_until_the_last_handle_goes() {
    let device = sim(0);
    let raw = device.create_blocking_stream().unwrap();
    let owner = Arc::new(());
    // SAFETY: the stream is destroyed below, when nobody holds the owner any more.
    let stream = unsafe { Stream::foreign_owned_by(device.clone(), raw, owner.clone()) }.unwrap();
    let clone = stream.clone();
    stream.retire().unwrap();
    drop(stream);
    assert_eq!(Arc::strong_count(&owner), 2);
    drop(clone);
    assert_eq!(Arc::strong_count(&owner), 1);
    // SAFETY: contract, devices/handles: nothing names the stream any more.
    unsafe { device.destroy_stream(raw) }.unwrap();
    device.assert_clean();
}

#[test]
fn foreign_refuses_default_handles_and_other_devices() {
    let (device, other) = (sim(0), sim(0));
    for raw in [RawStream::NULL, RawStream::LEGACY, RawStream::PER_THREAD] {
        // SAFETY: the default streams are valid; they are refused all the same.
        let refused = unsafe { Stream::foreign(device.clone(), raw) };
        assert_eq!(code(refused), DriverCode::INVALID_HANDLE);
    }
    let theirs = stream(&other);
    // SAFETY: the stream outlives the handle that is not made.
    let refused = unsafe { Stream::foreign(device.clone(), theirs.raw()) };
    assert_eq!(code(refused), DriverCode::INVALID_CONTEXT);
    device.assert_clean();
}

#[test]
fn the_legacy_default_stream_is_one_while_a_handle_lives() {
    let device = dyn_device(&sim(0));
    let one = Stream::legacy_default(device.clone());
    let two = Stream::legacy_default(device.clone());
    assert_eq!((one.kind(), one.raw()), (StreamKind::LegacyDefault, RawStream::LEGACY));
    assert_eq!(one, two);
    let id = one.id();
    drop((one, two));
    assert_ne!(Stream::legacy_default(device.clone()).id(), id);
}

#[test]
fn synchronising_waits_for_what_is_queued() {
    for seed in 0..8 {
        let device = sim(seed);
        let (stream, ptr) = (stream(&device), scratch(&device));
        launch(&device, &stream, Kernel::write_pattern(ptr, 4096, 1));
        stream.synchronize().unwrap();
        assert!(stream.is_complete().unwrap());
        launch(&device, &stream, Kernel::check_pattern(ptr, 4096, 1));
        device.assert_clean();
    }
}

#[test]
fn a_marker_covers_what_is_queued_and_a_wait_orders_another_stream() {
    for seed in 0..8 {
        let device = sim(seed);
        let (a, b, ptr) = (stream(&device), stream(&device), scratch(&device));
        launch(&device, &a, Kernel::write_pattern(ptr, 4096, 1));
        let marker = a.marker().unwrap();
        b.wait(&marker).unwrap();
        launch(&device, &b, Kernel::check_pattern(ptr, 4096, 1));
        device.assert_clean();
    }
}

#[test]
fn capturing_is_known() {
    let device = sim(0);
    let stream = stream(&device);
    device.begin_capture(&stream).unwrap();
    assert!(stream.is_capturing().unwrap());
    device.end_capture(&stream).unwrap();
    assert!(!stream.is_capturing().unwrap());
}

#[test]
fn a_pool_hands_its_streams_out_in_turn_and_creates_them_when_they_are_asked_for() {
    let device = sim(0);
    let pool = StreamPool::new(dyn_device(&device), NonZeroUsize::new(3).unwrap());
    assert_eq!((pool.size(), device.calls().of(CallKind::CreateStream)), (3, 0));
    device.fail_call(Some(CallKind::CreateStream), 2, DriverCode::UNKNOWN);
    let first = pool.get().unwrap();
    assert_eq!(code(pool.get()), DriverCode::UNKNOWN);
    let third = pool.get().unwrap();
    assert_eq!(pool.get().unwrap(), first);
    let second = pool.get().unwrap();
    assert!(second != first && second != third);
    assert_eq!(device.calls().of(CallKind::CreateStream), 4);
    assert_eq!(pool.get().unwrap(), third);
    first.retire().unwrap();
    let replaced = pool.get().unwrap();
    assert!(replaced != first && !replaced.is_retired());
    assert_eq!(pool.get().unwrap(), second);
}

#[test]
fn one_that_owes_waits_says_that_it_captures_and_later_that_it_is_complete() {
    for seed in 0..8 {
        let device = sim(seed);
        let (home, other, ptr) = (stream(&device), stream(&device), scratch(&device));
        launch(&device, &other, Kernel::write_pattern(ptr, 4096, 1));
        let marker = other.marker().unwrap();
        device.begin_capture(&home).unwrap();
        home.wait_later(&marker).unwrap();
        assert_eq!(code(home.is_complete()), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
        // SAFETY: contract, devices/handles and devices/threads: a valid stream. A program ends its
        // capture itself.
        unsafe { device.end_capture_raw(home.raw()) }.unwrap();
        assert!(home.has_pending_waits());
        assert!((0..1000).any(|_| home.is_complete().unwrap()), "seed {seed}");
        assert!(marker.is_complete().unwrap(), "the wait counts");
        device.assert_clean();
    }
}
