//! Each rung, and what it costs.

use vmem_core::{AllocErrorKind, BlockLayout, MemoryResource, ResourceExt, Stream, label};
use vmem_pool::{Batch, PoolConfig};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{MIB, alloc, arena, chunks, device, finish, free, layout, on_both, touch};

#[test]
fn one_stream_makes_no_driver_call_on_a_hit() {
    on_both(&PoolConfig::default(), |device, pool, _| {
        let stream = Stream::new(device.clone()).unwrap();
        free(pool, alloc(pool, 8 * MIB, &stream), &stream);
        let before = device.calls();
        for i in 1..1000 {
            let a = alloc(pool, i * 100, &stream);
            let b = alloc(pool, i * 300, &stream);
            free(pool, a, &stream);
            free(pool, b, &stream);
        }
        assert_eq!((device.calls() - before).total(), 0);
    });
}

#[test]
fn memory_completed_elsewhere_is_reused_without_a_wait() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let block = alloc(&pool, 4 * MIB, &a);
    let address = block.ptr();
    touch(&device, &block, &a);
    free(&pool, block, &a);
    // The first thief closes the lane and, the work being pending, waits on the device.
    let stolen = alloc(&pool, 2 * MIB, &b);
    touch(&device, &stolen, &b);
    a.synchronize().unwrap();
    let waits = device.calls().of(CallKind::WaitEvent);
    let rest = alloc(&pool, 2 * MIB, &b);
    assert_eq!((stolen.ptr(), rest.size()), (address, 2 * MIB));
    assert_eq!(device.calls().of(CallKind::WaitEvent), waits, "the rest was the thief's already");
    assert_eq!(pool.handle().counters().unwrap().reserved, 4 * MIB);
    free(&pool, stolen, &b);
    free(&pool, rest, &b);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn a_thief_waits_for_the_batch_and_not_for_what_came_after() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_batch(Batch::STRICT));
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    free(&pool, alloc(&pool, 256, &b), &b);
    let (early, late) = (alloc(&pool, 4 * MIB, &a), alloc(&pool, 16 * MIB, &a));
    touch(&device, &early, &a);
    free(&pool, early, &a);
    let records = device.calls().of(CallKind::RecordEvent);
    assert!(records > 0, "in strict mode a free is marked");
    touch(&device, &late, &a);
    let stolen = alloc(&pool, 4 * MIB, &b);
    assert_eq!(device.calls().of(CallKind::RecordEvent), records, "the marker was there already");
    free(&pool, stolen, &b);
    free(&pool, late, &a);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn neighbours_of_several_streams_are_joined_behind_waits() {
    on_both(
        &PoolConfig::default().with_initial(8 * MIB).with_ceiling(8 * MIB),
        |device, pool, handle| {
            let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
            let (x, y) = (alloc(pool, 4 * MIB, &a), alloc(pool, 4 * MIB, &b));
            touch(device, &x, &a);
            touch(device, &y, &b);
            free(pool, x, &a);
            free(pool, y, &b);
            let both = alloc(pool, 8 * MIB, &c);
            touch(device, &both, &c);
            assert_eq!(handle.counters().unwrap().merges, 1);
            free(pool, both, &c);
            c.synchronize().unwrap();
        },
    );
}

#[test]
fn a_contended_stream_marks_its_frees_in_batches_and_stops_when_left_alone() {
    let device = device();
    let batch = Batch::new(10, u64::MAX);
    let pool = arena(device.clone(), PoolConfig::default().with_batch(batch));
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    free(&pool, alloc(&pool, 2 * MIB, &a), &a);
    // `b` takes something of `a`'s, which makes `a` contended.
    free(&pool, alloc(&pool, 256, &b), &b);
    let marks = |pairs: u64| {
        let before = device.calls().of(CallKind::RecordEvent);
        for _ in 0..pairs {
            free(&pool, alloc(&pool, 256, &a), &a);
        }
        device.calls().of(CallKind::RecordEvent) - before
    };
    // `b` owns the rest of what it took; `a` takes some back first. What was taken from it is marked at
    // once for a while.
    marks(70);
    assert_eq!(marks(500), 50);
    marks(1000);
    assert_eq!(marks(500), 0);
    drop((a, b));
    finish(&device, pool);
}

#[test]
fn a_refusal_says_what_was_tried_and_what_there_is() {
    on_both(&PoolConfig::default().with_ceiling(16 * MIB), |device, pool, _| {
        let stream = Stream::new(device.clone()).unwrap();
        let kept = alloc(pool, 10 * MIB, &stream);
        let error = pool.allocate_on(layout(8 * MIB), &stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::Limit);
        let report = error.report().unwrap();
        assert_eq!((report.requested, report.live), (8 * MIB, 10 * MIB));
        assert_eq!((report.reserved, report.ceiling), (10 * MIB, Some(16 * MIB)));
        let tried: Vec<&str> = report.attempts.iter().map(|attempt| attempt.what).collect();
        let order = ["completed blocks", "a wait on the device", "joining blocks", "growth"];
        assert_eq!(tried[..4], order);
        // An arena moves what it has, chunks go back whole.
        assert!(matches!(tried[4..], ["moving memory" | "trimming"]), "{tried:?}");
        assert!(error.to_string().contains("; tried completed blocks (0 B), a wait"), "{error}");
        free(pool, kept, &stream);
    });
}

#[test]
fn a_request_above_the_ceiling_never_fits_and_makes_no_driver_call() {
    on_both(&PoolConfig::default().with_ceiling(16 * MIB), |device, pool, _| {
        let stream = Stream::new(device.clone()).unwrap();
        never_fits(device, pool, 16 * MIB, &stream);
    });
}

#[test]
fn a_request_for_more_than_an_arenas_device_has_never_fits_and_makes_no_driver_call() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    never_fits(&device, &pool, 256 * MIB, &stream);
    drop(stream);
    finish(&device, pool);
}

fn never_fits(device: &SimDevice, pool: &dyn MemoryResource, most: u64, stream: &Stream) {
    let before = device.calls();
    for size in [most + 1, 1 << 50, BlockLayout::MAX_SIZE] {
        let error = pool.allocate_on(layout(size), stream).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::NeverFits);
    }
    assert_eq!((device.calls() - before).total(), 0);
}

#[test]
fn a_failed_growth_makes_at_most_two_failing_calls_and_keeps_nothing() {
    let device = SimDevice::new(20 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = chunks(device.clone(), PoolConfig::default());
    let kept = alloc(&pool, 12 * MIB, &stream);
    let before = device.calls().of(CallKind::Allocate);
    assert!(pool.allocate_on(layout(9 * MIB), &stream).is_err());
    assert!(device.calls().of(CallKind::Allocate) - before <= 2);
    // Doubling is refused, what is needed is not.
    let fits = alloc(&pool, 8 * MIB, &stream);
    free(&pool, fits, &stream);
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);

    let device = SimDevice::new(20 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), PoolConfig::default());
    let kept = alloc(&pool, 12 * MIB, &stream);
    assert!(pool.allocate_on(layout(9 * MIB), &stream).is_err());
    assert_eq!((device.used(), device.leaks().handles.count), (12 * MIB, 6));
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_fits_after_returning_unused_memory_is_not_refused() {
    // Blocks of 2 and 6 MiB in turn leave holes; a large block needs the holes' memory elsewhere.
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), PoolConfig::default());
    let mut kept = Vec::new();
    let mut holes = Vec::new();
    for _ in 0..8 {
        kept.push(alloc(&pool, 2 * MIB, &stream));
        holes.push(alloc(&pool, 6 * MIB, &stream));
    }
    for hole in holes {
        free(&pool, hole, &stream);
    }
    stream.synchronize().unwrap();
    let large = pool.allocate_on(layout(48 * MIB), &stream);
    // The frees were never marked before; the ladder marks them and may find them pending once.
    let large = large.or_else(|_| {
        pool.handle().trim_to(0).unwrap();
        pool.allocate_on(layout(48 * MIB), &stream)
    });
    free(&pool, large.unwrap(), &stream);
    for block in kept {
        free(&pool, block, &stream);
    }
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_capturing_stream_gets_what_is_at_hand_and_more_memory_but_none_that_it_had_to_wait_for() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(16 * MIB));
    let [stream, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let elsewhere = alloc(&pool, 6 * MIB, &other);
    touch(&device, &elsewhere, &other);
    free(&pool, elsewhere, &other);
    device.begin_capture(&stream).unwrap();
    let grown = alloc(&pool, 8 * MIB, &stream);
    touch(&device, &grown, &stream);
    assert_eq!(pool.handle().counters().unwrap().reserved, 14 * MIB);
    let error = pool.allocate_on(layout(6 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Capturing);
    free(&pool, grown, &stream);
    let again = alloc(&pool, 8 * MIB, &stream);
    device.end_capture(&stream).unwrap();
    let waited = alloc(&pool, 6 * MIB, &stream);
    free(&pool, again, &stream);
    free(&pool, waited, &stream);
    drop((stream, other));
    finish(&device, pool);
}

#[test]
fn a_capturing_stream_gets_nothing_from_a_pool_of_chunks_that_is_not_at_hand() {
    let device = device();
    let pool = chunks(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, MIB, &stream), &stream);
    device.begin_capture(&stream).unwrap();
    let hit = alloc(&pool, MIB, &stream);
    let error = pool.allocate_on(layout(80 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Capturing);
    device.end_capture(&stream).unwrap();
    free(&pool, hit, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn a_capturing_stream_that_the_device_has_too_little_for_is_told_so_and_the_capture_is_whole() {
    let device = SimDevice::new(16 * MIB);
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    device.begin_capture(&stream).unwrap();
    let most = alloc(&pool, 12 * MIB, &stream);
    let error = pool.allocate_on(layout(6 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Capturing);
    device.fail_call(Some(CallKind::Map), 1, vmem_core::DriverCode::OUT_OF_MEMORY);
    let error = pool.allocate_on(layout(2 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Capturing);
    let last = alloc(&pool, 2 * MIB, &stream);
    device.end_capture(&stream).unwrap();
    free(&pool, most, &stream);
    free(&pool, last, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn labels_and_observers_see_every_event_outside_the_lock() {
    use std::sync::{Arc, Mutex};
    use vmem_core::{MemoryEvent, MemoryEventKind, MemoryObserver};

    #[derive(Debug, Default)]
    struct Events(Mutex<Vec<MemoryEvent>>);

    impl MemoryObserver for Events {
        fn event(&self, event: &MemoryEvent) {
            self.0.lock().unwrap().push(*event);
        }
    }

    let device = device();
    let events = Arc::new(Events::default());
    let observer: Arc<dyn MemoryObserver> = events.clone();
    let pool = arena(device.clone(), PoolConfig::default().with_observer(observer));
    let stream = Stream::new(device.clone()).unwrap();
    let block = {
        let _scope = label("overlay");
        alloc(&pool, MIB, &stream)
    };
    assert_eq!(block.label().as_str(), "overlay");
    free(&pool, block, &stream);
    pool.handle().trim_to(0).unwrap();
    drop(stream);
    let seen = events.0.lock().unwrap().clone();
    let kinds: Vec<&str> = seen
        .iter()
        .map(|event| match event.kind {
            MemoryEventKind::Allocate { .. } => "allocate",
            MemoryEventKind::Free { .. } => "free",
            MemoryEventKind::Growth { bytes } if bytes == 2 * MIB => "growth",
            MemoryEventKind::Trim { bytes } if bytes == 2 * MIB => "trim",
            MemoryEventKind::Retire => "retire",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["growth", "allocate", "free", "trim", "retire"]);
    assert_eq!((seen[1].label.as_str(), seen[2].label.as_str()), ("overlay", "overlay"));
    finish(&device, pool);
}
