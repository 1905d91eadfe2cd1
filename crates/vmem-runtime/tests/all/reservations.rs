//! Memory set aside, through every tier's stack.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::author::StreamExt;
use vmem_core::{
    AllocError, AllocErrorKind, Block, BlockLayout, Capabilities, Device, DeviceBuffer,
    DeviceMemory, DriverCode, FreeError, FreeErrorKind, MemoryResource, Quarantined, Request,
    ReservationId, ResourceExt, Stream,
};
use vmem_runtime::{PoolLimit, Reservations, Runtime, Size, Tier};
use vmem_sim::{CallKind, Kernel, SimConfig, SimDevice};
use vmem_testkit::conformance::{self, Subject};
use vmem_testkit::{Countdown, FAULT_CODES, Pairs, TrackedBlock, sweep};

use crate::support::{CAPACITY, KINDS, MIB, alloc, config, device, finish, free, layout, runtime};

/// Names one reservation in every request.
#[derive(Debug)]
struct Drawing<'a> {
    upstream: &'a dyn MemoryResource,
    reservation: ReservationId,
}

impl std::fmt::Display for Drawing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drawing<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged from one upstream that keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for Drawing<'_> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.upstream.allocate(&request.clone().with_reservation(self.reservation))
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}

#[test]
fn what_is_drawn_from_a_reservation_keeps_the_contract_on_every_tier() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let reservation = runtime.reserve(96 * MIB, &stream).unwrap();
        let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
        let other = crate::support::device();
        let subject = Subject { other_device: Some(other), ..Subject::new(&drawing) };
        conformance::check(&subject);
        // What was freed in captures is taken back by the draw that needs it.
        free(&drawing, alloc(&drawing, 96 * MIB, &stream), &stream);
        assert_eq!(reservation.left(), 96 * MIB);
        drop((reservation, memory, stream, runtime));
        finish(&device);
    }
}

#[test]
fn drawing_is_never_refused_while_the_rest_of_the_device_is_full() {
    for kind in KINDS.into_iter().filter(|kind| kind.tier != Tier::C) {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let reservation = runtime.reserve(64 * MIB, &stream).unwrap();
        let mut others = Vec::new();
        while let Ok(block) = memory.allocate_on(layout(16 * MIB), &stream) {
            others.push(block);
        }
        let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
        let mut drawn = Vec::new();
        while reservation.left() > 0 {
            drawn.push(alloc(&drawing, (5 * MIB + 1).min(reservation.left()), &stream));
        }
        assert!(drawing.allocate_on(layout(16 * MIB), &stream).unwrap_err().kind().is_exhaustion());
        assert_eq!(drawn.len(), 13);
        for block in drawn.into_iter().chain(others) {
            free(&memory, block, &stream);
        }
        assert_eq!(reservation.largest(), 64 * MIB);
    }
}

#[test]
fn a_reservation_is_refused_early_or_never() {
    let device = device();
    let limit = PoolLimit::AtMost(Size::Bytes(100 * MIB));
    let runtime = runtime(config().with_pool_limit(limit), &device);
    let stream = Stream::new(device.clone()).unwrap();
    let error = runtime.reserve(101 * MIB, &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::NeverFits);
    assert_eq!(runtime.reserve(0, &stream).unwrap_err().kind(), AllocErrorKind::InvalidLayout);
    let first = runtime.reserve(60 * MIB, &stream).unwrap();
    let error = runtime.reserve(60 * MIB, &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    drop(first);
    drop(runtime.reserve(60 * MIB, &stream).unwrap());
}

#[test]
fn drawing_on_the_reservations_stream_makes_no_driver_call() {
    let (runtime, device) = KINDS[0].runtime();
    let memory = runtime.resource().unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let reservation = runtime.reserve(MIB, &stream).unwrap();
    let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
    let before = device.calls();
    for _ in 0..10 {
        free(&drawing, alloc(&drawing, 4096, &stream), &stream);
    }
    assert_eq!((device.calls() - before).total(), 0);
}

#[test]
fn what_was_freed_in_a_capture_is_drawn_behind_what_other_streams_did_with_it() {
    for seed in 0..8 {
        let config = SimConfig { capacity: CAPACITY, seed, ..SimConfig::default() };
        let device = SimDevice::with_config(config).unwrap();
        let memory = Reservations::new(DeviceMemory::new(device.clone()));
        let [home, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        let reservation = memory.handle().reserve(4096, &home).unwrap();
        let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
        let mut buffer = DeviceBuffer::new(&drawing as &dyn MemoryResource, 4096, &home).unwrap();
        let at = buffer.ptr().unwrap();
        buffer.make_ready_on(&other).unwrap();
        let slow = Kernel::write_pattern(at, 4096, 1).taking(Duration::from_millis(5));
        // SAFETY: contract, devices/ranges: the buffer's bytes.
        unsafe { device.launch(&other, slow) }.unwrap();
        buffer.record_use(&other).unwrap();
        device.begin_capture(&home).unwrap();
        drop(buffer);
        // SAFETY: contract, devices/handles and devices/threads: a valid stream. A program ends its
        // capture itself.
        unsafe { device.end_capture_raw(home.raw()) }.unwrap();
        assert!(home.has_pending_waits());
        let again = alloc(&drawing, 4096, &home);
        assert_eq!(again.ptr(), at);
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block and
        // stream.
        unsafe { device.launch_raw(home.raw(), Kernel::write_pattern(at, 4096, 2)) }.unwrap();
        free(&drawing, again, &home);
        drop((reservation, memory, home, other));
        finish(&device);
    }
}

#[test]
fn what_cannot_be_taken_back_yet_costs_no_driver_call() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let memory = Reservations::new(DeviceMemory::new(device.clone()));
    let home = Stream::new(device.clone()).unwrap();
    let reservation = memory.handle().reserve(MIB, &home).unwrap();
    let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| Stream::per_thread_default(erased.clone())).join().unwrap()
    });
    let blocks: Vec<Block> = (0..10).map(|_| alloc(&drawing, 4096, &home)).collect();
    blocks.into_iter().for_each(|block| free(&drawing, block, &ended));
    let before = device.calls();
    for _ in 0..10 {
        free(&drawing, alloc(&drawing, 4096, &home), &home);
    }
    assert_eq!((device.calls() - before).total(), 0);
    assert_eq!(reservation.left(), MIB - 10 * 4096);
    memory.handle().synchronize().unwrap();
    assert_eq!(reservation.left(), MIB);
    drop((reservation, memory, home, ended));
    finish(&device);
}

#[test]
fn what_was_freed_in_another_streams_capture_serves_the_draw_that_needs_it() {
    let device = device();
    let memory = Reservations::new(DeviceMemory::new(device.clone()));
    let [home, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let reservation = memory.handle().reserve(MIB, &home).unwrap();
    let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
    let block = alloc(&drawing, MIB / 2, &home);
    device.begin_capture(&other).unwrap();
    free(&drawing, block, &other);
    assert_eq!(reservation.left(), MIB / 2);
    device.end_capture(&other).unwrap();
    let all = alloc(&drawing, MIB, &home);
    assert_eq!(reservation.left(), 0);
    free(&drawing, all, &home);
    drop((reservation, memory, home, other));
    finish(&device);
}

#[test]
fn dropping_a_reservation_gives_its_memory_back_with_the_last_block_drawn() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let memory = runtime.resource().unwrap();
        let stream = Stream::new(device.clone()).unwrap();
        let live = || runtime.capacity().live.unwrap();
        let reservation = runtime.reserve(8 * MIB, &stream).unwrap();
        let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
        let block = alloc(&drawing, MIB, &stream);
        assert_eq!(runtime.stats().bytes.current, MIB.cast_signed(), "what is drawn is counted");
        drop(reservation);
        let later = alloc(&drawing, MIB, &stream);
        assert_ne!(later.owner(), block.owner(), "nothing is drawn any more");
        free(&memory, later, &stream);
        free(&memory, block, &stream);
        assert_eq!(live(), 0, "{kind:?}");
        drop((memory, stream, runtime));
        finish(&device);
    }
}

#[test]
fn what_does_not_fit_a_reservation_is_an_ordinary_request() {
    let (runtime, device) = KINDS[0].runtime();
    let memory = runtime.resource().unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let reservation = runtime.reserve(MIB, &stream).unwrap();
    let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
    let large = alloc(&drawing, 2 * MIB, &stream);
    assert_eq!(reservation.left(), MIB);
    let small = alloc(&drawing, 1, &stream);
    assert_eq!(reservation.left(), MIB - 256);
    let aligned = BlockLayout::with_alignment(4096, 4096).unwrap();
    let aligned = drawing.allocate_on(aligned, &stream).unwrap();
    assert!(aligned.ptr().is_aligned_to(4096));
    assert_eq!(reservation.left(), MIB - 256 - 4096);
    for block in [large, small, aligned] {
        free(&memory, block, &stream);
    }
    assert_eq!(reservation.largest(), MIB);
}

#[test]
fn reserving_recovers_like_any_request_on_tier_b() {
    let (runtime, device) = KINDS[2].runtime();
    let memory = runtime.resource().unwrap();
    let stream = Stream::new(device).unwrap();
    let cache =
        std::sync::Mutex::new(Some(DeviceBuffer::new(memory.clone(), CAPACITY, &stream).unwrap()));
    let cache = Arc::new(cache);
    let registered = cache.clone();
    let reclaim = move || registered.lock().unwrap().take().map_or(0, |buffer| buffer.len());
    let _registration = runtime.reclaimers().register("cache", reclaim);
    let reservation = runtime.reserve(CAPACITY, &stream).unwrap();
    assert!(cache.lock().unwrap().is_none());
    assert_eq!(reservation.size(), CAPACITY);
}

#[test]
fn a_reservation_outlives_its_runtime() {
    let (runtime, device) = KINDS[0].runtime();
    let stream = Stream::new(device.clone()).unwrap();
    let handle = runtime.ensure_ready().unwrap().reservations.clone();
    let reservation = runtime.reserve(MIB, &stream).unwrap();
    assert_eq!(handle.quarantined(), Some(Quarantined::default()));
    drop(runtime);
    assert_eq!((reservation.left(), device.used() >= MIB), (MIB, true), "its memory stays");
    assert_eq!(handle.reserve(MIB, &stream).unwrap_err().kind(), AllocErrorKind::Gone);
    assert_eq!(handle.quarantined(), None);
    assert!(handle.synchronize().is_err_and(|error| error.is_gone()));
    drop((reservation, stream));
    finish(&device);
}

#[test]
fn a_reservation_may_end_after_its_stream() {
    let (runtime, device) = KINDS[0].runtime();
    let memory = runtime.resource().unwrap();
    let (home, other) =
        (Stream::new(device.clone()).unwrap(), Stream::new(device.clone()).unwrap());
    let reservation = runtime.reserve(MIB, &home).unwrap();
    let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
    let first = alloc(&drawing, 4096, &home);
    home.retire().unwrap();
    let second = alloc(&drawing, 4096, &other);
    assert_eq!(reservation.left(), MIB - 8192);
    free(&memory, first, &other);
    free(&memory, second, &other);
    drop((reservation, memory, home, other, runtime));
    finish(&device);
}

#[test]
fn what_cannot_be_ordered_is_refused_and_nothing_is_lost() {
    let (runtime, device) = KINDS[0].runtime();
    let memory = runtime.resource().unwrap();
    let home = Stream::new(device.clone()).unwrap();
    let other = Stream::new(device.clone()).unwrap();
    let reservation = runtime.reserve(MIB, &home).unwrap();
    let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
    let fail_both_ways = || {
        device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
        device.fail_call(Some(CallKind::SynchronizeStream), 1, DriverCode::UNKNOWN);
    };
    fail_both_ways();
    let error = drawing.allocate_on(layout(4096), &other).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    assert_eq!(reservation.left(), MIB);

    let block = alloc(&drawing, 4096, &home);
    fail_both_ways();
    // SAFETY: contract, freeing: no work was queued on the block.
    let error = unsafe { drawing.deallocate(block, &other) }.unwrap_err();
    assert_eq!(error.kind(), FreeErrorKind::DeviceFault);
    assert_eq!(reservation.left(), MIB - 4096);
    free(&drawing, error.into_block(), &other);
    assert_eq!(reservation.left(), MIB);
}

#[test]
fn whichever_driver_call_fails_a_reservation_loses_nothing() {
    let faults = sweep(&FAULT_CODES, 100, |fault| {
        let device = device();
        let countdown = Countdown::new(device.clone());
        let given = countdown.clone();
        let runtime = Runtime::new(config(), move || Ok(given.clone()));
        let memory = runtime.resource().unwrap();
        let streams = [(); 2].map(|()| Stream::new(countdown.clone()).unwrap());
        fault.arm(&countdown);
        if let Ok(reservation) = runtime.reserve(4 * MIB, &streams[0]) {
            let drawing = Drawing { upstream: &memory, reservation: reservation.id() };
            let mut blocks = Vec::new();
            for (drawn_on, freed_on) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let request = Request::new(layout(MIB), &streams[drawn_on]);
                match TrackedBlock::allocate(&drawing, &request) {
                    Ok(block) => blocks.push((block, freed_on)),
                    Err(error) => assert!(countdown.fired().is_some(), "{error}"),
                }
            }
            for (block, freed_on) in blocks {
                if let Err(failed) = block.free(&drawing, &streams[freed_on]) {
                    let again = failed.into_block().free(&drawing, &streams[freed_on]);
                    assert!(again.is_ok(), "only one call fails");
                }
            }
            assert_eq!(reservation.largest(), 4 * MIB);
        }
        countdown.disarm();
        assert_eq!(runtime.capacity().live, Some(0));
        drop((memory, runtime));
        device.assert_clean();
        countdown
    });
    assert!(faults > 9, "{faults}");
}

#[test]
fn what_an_ended_reservation_could_not_return_serves_the_request_that_needs_it() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let memory = Reservations::new(DeviceMemory::new(device.clone()));
    let fail_to_return = || {
        let reservation = memory.handle().reserve(CAPACITY / 2, &stream).unwrap();
        device.fail_call(Some(CallKind::Free), 1, DriverCode::UNKNOWN);
        drop(reservation);
        assert_eq!(device.used(), CAPACITY / 2);
    };
    fail_to_return();
    free(&memory, alloc(&memory, CAPACITY, &stream), &stream);
    fail_to_return();
    drop(memory.handle().reserve(CAPACITY, &stream).unwrap());
    fail_to_return();
    drop((memory, stream));
    finish(&device);
}

#[test]
fn whichever_two_driver_calls_fail_a_reservation_loses_nothing() {
    let pairs = Pairs::default().sweep(|fault| {
        let device = device();
        let countdown = Countdown::new(device.clone());
        let streams = [(); 2].map(|()| Stream::new(countdown.clone()).unwrap());
        let memory = Reservations::new(DeviceMemory::new(countdown.clone()));
        fault.arm(&countdown);
        for _ in 0..2 {
            let Ok(reservation) = memory.handle().reserve(CAPACITY / 2, &streams[0]) else {
                continue;
            };
            let request = Request::new(layout(MIB), &streams[1]);
            let drawn = memory.allocate(&request.with_reservation(reservation.id()));
            drop(reservation);
            let mut block = drawn.ok();
            for _ in 0..3 {
                let Some(live) = block.take() else { break };
                // SAFETY: contract, freeing: no work was queued on the block but what handing it out
                // queued on this stream.
                block = unsafe { memory.deallocate(live, &streams[1]) }
                    .err()
                    .map(FreeError::into_block);
            }
            assert!(block.is_none(), "no more than two calls fail");
        }
        countdown.disarm();
        free(&memory, alloc(&memory, CAPACITY, &streams[0]), &streams[0]);
        drop((memory, streams));
        device.assert_clean();
        assert_eq!(device.used(), 0);
        countdown
    });
    assert!(pairs > 30, "{pairs}");
}

#[test]
fn what_is_freed_from_a_reservation_on_another_threads_default_stream_is_held_until_asked() {
    let device = device();
    let stream = Stream::new(device.clone()).unwrap();
    let memory = Reservations::new(DeviceMemory::new(device.clone()));
    let handle = memory.handle();
    let reservation = handle.reserve(4096, &stream).unwrap();
    let request = Request::new(BlockLayout::new(4096).unwrap(), &stream);
    let block = memory.allocate(&request.with_reservation(reservation.id())).unwrap();
    let erased: Arc<dyn Device> = device.clone();
    let theirs =
        std::thread::spawn(move || Stream::per_thread_default(erased.clone())).join().unwrap();
    free(&memory, block, &theirs);
    drop(reservation);
    assert_eq!(device.calls().of(CallKind::Synchronize), 0, "captures elsewhere are left alone");
    assert_eq!(handle.quarantined(), Some(Quarantined::new(1, 4096)));
    assert_ne!(device.used(), 0);
    handle.synchronize().unwrap();
    assert_eq!((handle.quarantined(), device.used()), (Some(Quarantined::default()), 0));
    drop((memory, theirs, stream));
    finish(&device);
}
