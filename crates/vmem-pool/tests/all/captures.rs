//! Streams that capture a graph: nothing that a pool does on its own breaks the capture, joins it or is
//! recorded in it, and what the pool hands out beside it is ordered as ever.

use std::sync::Arc;
use std::thread;

use vmem_core::{
    AllocErrorKind, Device, DeviceBuffer, DeviceMemory, DriverCode, MemoryResource, ResourceExt,
    Stream,
};
use vmem_pool::{AutoTrim, Batch, Chunks, Placement, Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_sim::{CallKind, CaptureMode, Graph, SimDevice};

use crate::support::{
    MIB, alloc, arena, device, finish, free, keep_busy, layout, orphan, synchronize, touch,
};

/// Configurations that differ in when they record events and ask for them.
fn configs() -> Vec<PoolConfig> {
    let mut configs = Vec::new();
    for batch in [Batch::default(), Batch::STRICT] {
        for placement in [Placement::ByCompletion, Placement::Reproducible] {
            let ceiling = Some(16 * MIB);
            configs.push(
                PoolConfig::default()
                    .with_batch(batch)
                    .with_placement(placement)
                    .with_ceiling(ceiling),
            );
        }
    }
    let release = Some(AutoTrim::new(0, std::time::Duration::ZERO));
    configs.push(configs[0].clone().with_auto_trim(release));
    configs
}

fn on_each(test: impl Fn(&Arc<SimDevice>, Arc<dyn MemoryResource>, &PoolHandle)) {
    for config in configs() {
        for over_chunks in [false, true] {
            let device = device();
            // As a CUDA device calls the driver.
            device.exchange_capture_mode(CaptureMode::Relaxed);
            let (pool, handle): (Arc<dyn MemoryResource>, _) = if over_chunks {
                let upstream = DeviceMemory::new(device.clone());
                let pool = Pool::new(Chunks::new(upstream), config.clone());
                let pool = pool.unwrap();
                let handle = pool.handle();
                (Arc::new(pool), handle)
            } else {
                let arena = VirtualArena::new(device.clone()).unwrap();
                let pool = Pool::new(arena, config.clone()).unwrap();
                let handle = pool.handle();
                (Arc::new(pool), handle)
            };
            test(&device, pool.clone(), &handle);
            handle.check_invariants();
            assert_eq!(device.calls().of(CallKind::Synchronize), 0, "{config:?}");
            drop(pool);
            device.assert_clean();
            assert!(device.leaks().is_empty(), "{config:?}: {:?}", device.leaks());
        }
    }
}

/// Ends a capture, which must be whole, and holds nothing that the pool did.
fn intact(device: &SimDevice, stream: &Stream) -> Graph {
    device.end_capture(stream).expect("nobody broke the capture")
}

#[test]
fn a_used_buffer_dropped_while_its_home_captures_draws_nobody_into_the_capture() {
    on_each(|device, pool, handle| {
        let [home, t] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        // The pool knows both streams, so that frees are marked.
        drop(pool.clone().buffer(MIB, &t).unwrap());
        let mut used = DeviceBuffer::new(pool.clone(), 8 * MIB, &home).unwrap();
        used.fill(0..8 * MIB, 1).unwrap();
        device.begin_capture(&home).unwrap();
        drop(used);
        let served = DeviceBuffer::new(pool.clone(), 8 * MIB, &t);
        assert!(!t.is_capturing().unwrap(), "the request joined the capture");
        if let Ok(mut served) = served {
            served.fill(0..8 * MIB, 7).unwrap();
            let bytes = served.to_vec().unwrap();
            assert!(bytes.iter().all(|&byte| byte == 7), "the fill never ran");
        }
        drop(intact(device, &home));
        // The capture is over: what was dropped in it serves others.
        handle.trim_to(0).unwrap();
        let mut all = DeviceBuffer::new(pool.clone(), 16 * MIB, &t).unwrap();
        all.fill(0..16 * MIB, 3).unwrap();
        drop(all);
        drop((home, t));
    });
}

#[test]
fn a_use_on_another_stream_is_waited_for_although_the_home_captured_when_the_buffer_went() {
    on_each(|device, pool, handle| {
        let [home, user, t] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
        let mut used = DeviceBuffer::new(pool.clone(), 8 * MIB, &home).unwrap();
        used.make_ready_on(&user).unwrap();
        keep_busy(device, used.block().unwrap(), &user);
        used.record_use(&user).unwrap();
        device.begin_capture(&home).unwrap();
        drop(used);
        // The home itself may have it only behind that use.
        let again = DeviceBuffer::new(pool.clone(), 8 * MIB, &home);
        if let Ok(again) = again {
            user.synchronize().unwrap();
            drop(again);
        }
        drop(intact(device, &home));
        // So may others.
        let mut again = DeviceBuffer::new(pool.clone(), 8 * MIB, &t).unwrap();
        again.fill(0..8 * MIB, 3).unwrap();
        drop(again);
        handle.trim_to(0).unwrap();
        drop(DeviceBuffer::new(pool.clone(), 16 * MIB, &t).unwrap());
        drop((home, user, t));
    });
}

#[test]
fn a_capturing_stream_gets_what_is_at_hand_and_growth_but_nothing_that_takes_an_event() {
    on_each(|device, pool, _| {
        let [capturing, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        free(&pool, alloc(&pool, 2 * MIB, &capturing), &capturing);
        let elsewhere = alloc(&pool, 6 * MIB, &other);
        keep_busy(device, &elsewhere, &other);
        free(&pool, elsewhere, &other);
        device.begin_capture(&capturing).unwrap();
        match pool.allocate_on(layout(2 * MIB), &capturing) {
            Ok(block) => free(&pool, block, &capturing),
            Err(error) => assert_eq!(error.kind(), AllocErrorKind::Capturing),
        }
        let before = device.calls();
        let allocated = pool.allocate_on(layout(8 * MIB), &capturing);
        for kind in [CallKind::QueryEvent, CallKind::RecordEvent, CallKind::WaitEvent] {
            assert_eq!((device.calls() - before).of(kind), 0, "{kind:?}");
        }
        match allocated {
            Ok(block) => {
                // In an arena, where growth is no concern of a capture.
                assert_ne!((device.calls() - before).of(CallKind::Map), 0);
                touch(device, &block, &capturing);
                free(&pool, block, &capturing);
            }
            Err(error) => assert_eq!(error.kind(), AllocErrorKind::Capturing, "{error}"),
        }
        drop(intact(device, &capturing));
        let block = alloc(&pool, 8 * MIB, &capturing);
        touch(device, &block, &capturing);
        free(&pool, block, &capturing);
        drop((capturing, other));
    });
}

/// Everything that a pool can be asked for, beside a capture on a stream of its own.
fn everything(device: &Arc<SimDevice>, pool: &Arc<dyn MemoryResource>, handle: &PoolHandle) {
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    for size in [MIB, 5 * MIB, 3 * MIB] {
        for stream in [&a, &b] {
            if let Ok(block) = pool.allocate_on(layout(size), stream) {
                touch(device, &block, stream);
                free(pool, block, stream);
            }
        }
    }
    a.retire().unwrap();
    drop(b);
    assert!(pool.allocate_on(layout(32 * MIB), &Stream::new(device.clone()).unwrap()).is_err());
    handle.try_trim(0).unwrap();
    handle.trim_to(0).unwrap();
    let _ = (handle.counters(), handle.capacity(), handle.snapshot());
}

#[test]
fn whatever_a_pool_is_asked_for_leaves_the_capture_of_a_stream_it_knows_alone() {
    on_each(|device, pool, handle| {
        let home = Stream::new(device.clone()).unwrap();
        let block = alloc(&pool, 2 * MIB, &home);
        touch(device, &block, &home);
        let kept = alloc(&pool, MIB, &home);
        free(&pool, block, &home);
        device.begin_capture(&home).unwrap();
        free(&pool, kept, &home);
        everything(device, &pool, handle);
        drop(intact(device, &home));
        everything(device, &pool, handle);
        drop(home);
    });
}

#[test]
fn whatever_a_pool_is_asked_for_leaves_the_capture_of_a_stream_it_has_never_seen_alone() {
    on_each(|device, pool, handle| {
        let stranger = Stream::new(device.clone()).unwrap();
        everything(device, &pool, handle);
        device.begin_capture(&stranger).unwrap();
        everything(device, &pool, handle);
        let erased: Arc<dyn Device> = device.clone();
        let legacy = Stream::legacy_default(erased.clone());
        if let Ok(block) = pool.allocate_on(layout(MIB), &legacy) {
            free(&pool, block, &legacy);
        }
        drop(legacy);
        everything(device, &pool, handle);
        drop(intact(device, &stranger));
        drop(stranger);
    });
}

#[test]
fn a_pool_may_end_beside_a_capture() {
    for knows in [false, true] {
        let device = device();
        let pool = arena(device.clone(), PoolConfig::default());
        let [capturing, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        if knows {
            free(&pool, alloc(&pool, 2 * MIB, &capturing), &capturing);
        }
        let block = alloc(&pool, 4 * MIB, &other);
        touch(&device, &block, &other);
        free(&pool, block, &other);
        device.begin_capture(&capturing).unwrap();
        drop(pool);
        drop(intact(&device, &capturing));
        assert_eq!(device.calls().of(CallKind::Synchronize), 0);
        device.assert_clean();
        // What was freed on the capturing stream before cannot be waited for: it leaks, and is reported.
        assert_eq!(device.base().drop_failures().count() > 0, device.used() > 0);
        drop((capturing, other));
    }
}

#[test]
fn a_stream_that_ends_while_it_captures_leaves_its_memory_in_quarantine() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let handle = pool.handle();
    let [capturing, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let block = alloc(&pool, 6 * MIB, &capturing);
    keep_busy(&device, &block, &capturing);
    free(&pool, block, &capturing);
    device.begin_capture(&capturing).unwrap();
    drop(capturing);
    assert_eq!(handle.counters().unwrap().quarantined, 6 * MIB);
    let error = pool.allocate_on(layout(4 * MIB), &other).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Limit);
    assert_eq!(device.calls().of(CallKind::Synchronize), 0);
    drop(other);
}

/// Drops a used buffer while its home captures, ends the capture in some way, and wants the room.
fn want_what_a_capture_left(
    device: &Arc<SimDevice>,
    pool: &Arc<dyn MemoryResource>,
    handle: &PoolHandle,
    end: impl Fn(&Stream),
) {
    let [home, t] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    drop(pool.clone().buffer(MIB, &t).unwrap());
    for _ in 0..2 {
        let mut used = DeviceBuffer::new(pool.clone(), 8 * MIB, &home).unwrap();
        used.fill(0..8 * MIB, 1).unwrap();
        device.begin_capture(&home).unwrap();
        drop(used);
        end(&home);
        handle.trim_to(0).unwrap();
        let mut all = DeviceBuffer::new(pool.clone(), 16 * MIB, &t).unwrap();
        all.fill(0..16 * MIB, 3).unwrap();
        assert!(all.to_vec().unwrap().iter().all(|&byte| byte == 3));
    }
}

#[test]
fn a_capture_whose_graph_is_gone_hinders_nobody_afterwards() {
    on_each(|device, pool, handle| {
        want_what_a_capture_left(device, &pool, handle, |home| drop(intact(device, home)));
    });
}

#[test]
fn a_capture_that_the_program_broke_hinders_nobody_afterwards() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(16 * MIB);
    let pool = arena(device.clone(), config);
    let handle = pool.handle();
    want_what_a_capture_left(&device, &pool.into_dyn(), &handle, |home| {
        // SAFETY: contract, devices/handles: a live stream of the device.
        let asked = unsafe { device.query_stream(home.raw()) };
        assert!(asked.is_err(), "asking a capturing stream breaks its capture");
        assert!(device.end_capture(home).is_err());
    });
    assert_eq!(device.calls().of(CallKind::Synchronize), 0);
    assert!(device.leaks().is_empty(), "{:?}", device.leaks());
}

#[test]
fn memory_of_an_ended_thread_is_left_alone_while_anybody_captures() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(8 * MIB);
    let pool = Arc::new(arena(device.clone(), config));
    let orphan = orphan(&device, &pool, 6 * MIB);
    let [capturing, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    device.begin_capture(&capturing).unwrap();
    let (there, on) = (pool.clone(), other.clone());
    let refused = thread::spawn(move || there.allocate_on(layout(4 * MIB), &on).is_err());
    assert!(refused.join().unwrap());
    drop(intact(&device, &capturing));
    assert_eq!(synchronize(&pool.handle()), 6 * MIB);
    free(&*pool, alloc(&*pool, 8 * MIB, &other), &other);
    drop((orphan, capturing, other));
    finish(&device, Arc::into_inner(pool).unwrap());
}

#[test]
fn a_wait_that_a_capture_forbids_leaves_what_was_freed_pending() {
    for code in [900, 901, 906, 907, 908] {
        let device = device();
        let pool = arena(device.clone(), PoolConfig::default());
        let handle = pool.handle();
        let stream = Stream::new(device.clone()).unwrap();
        let block = alloc(&pool, 6 * MIB, &stream);
        keep_busy(&device, &block, &stream);
        free(&pool, block, &stream);
        device.fail_call(Some(CallKind::SynchronizeEvent), 1, DriverCode(code));
        let before = device.calls();
        handle.trim_to(0).unwrap();
        assert_eq!((device.calls() - before).of(CallKind::SynchronizeEvent), 1, "{code}");
        assert_eq!(handle.counters().unwrap().quarantined, 0, "{code}");
        handle.trim_to(0).unwrap();
        assert_eq!(handle.counters().unwrap().reserved, 0, "{code}");
        drop(stream);
        finish(&device, pool);
    }
}
