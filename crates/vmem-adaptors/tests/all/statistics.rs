//! What statistics count. RMM 60-62.

use vmem_adaptors::{AdaptorExt, Stats, Tally, Usage};
use vmem_core::{AllocErrorKind, BlockLayout, Label, MemoryResource, Request, ResourceExt, label};

use crate::fake::{Fake, free, layout, stream};

fn tally(current: i64, peak: u64, total: u64) -> Tally {
    let mut tally = Tally::default();
    (tally.current, tally.peak, tally.total) = (current, peak, total);
    tally
}

#[test]
fn everything_is_zero_at_the_start() {
    let memory = Fake::new().with_statistics();
    let handle = memory.handle();
    assert_eq!(handle.stats().unwrap(), Stats::default());
    assert_eq!(handle.sizes().unwrap().total(), 0);
    assert!(handle.labels().unwrap().is_empty());
}

#[test]
fn current_peak_and_total_follow_frees_and_regrowth() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let stats = || memory.handle().stats().unwrap();
    let mut blocks: Vec<_> =
        (0..10).map(|_| memory.allocate_on(layout(1000), &stream).unwrap()).collect();
    assert_eq!(stats().bytes, tally(10_000, 10_000, 10_000));
    for block in blocks.drain(5..) {
        free(&memory, block, &stream).unwrap();
    }
    assert_eq!(stats().bytes, tally(5000, 10_000, 10_000));
    blocks.extend((0..3).map(|_| memory.allocate_on(layout(1000), &stream).unwrap()));
    assert_eq!(stats().bytes, tally(8000, 10_000, 13_000));
    assert_eq!(stats().blocks, tally(8, 10, 13));
    blocks.extend((0..4).map(|_| memory.allocate_on(layout(1000), &stream).unwrap()));
    assert_eq!(stats().bytes, tally(12_000, 12_000, 17_000));
    for block in blocks {
        free(&memory, block, &stream).unwrap();
    }
    assert_eq!(stats().bytes, tally(0, 12_000, 17_000));
    assert_eq!(stats().blocks, tally(0, 12, 17));
}

#[test]
fn the_peak_is_exact_whatever_the_sizes() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    // A fixed sequence of steps of all magnitudes, up and down, beside a plain model.
    let (mut blocks, mut live, mut peak) = (Vec::new(), 0, 0);
    let mut random = 1_u64;
    for _ in 0..2000 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if random >> 63 == 0 || blocks.is_empty() {
            let size = (random >> 20) % (1 << ((random >> 8) % 30)) + 1;
            live += size;
            blocks.push(memory.allocate_on(layout(size), &stream).unwrap());
        } else {
            let at = usize::try_from(random >> 32).unwrap() % blocks.len();
            let block = blocks.swap_remove(at);
            live -= block.size();
            free(&memory, block, &stream).unwrap();
        }
        peak = peak.max(live);
        let bytes = memory.handle().stats().unwrap().bytes;
        assert_eq!((bytes.current.unsigned_abs(), bytes.peak), (live, peak));
    }
    let leaked = memory.into_inner();
    assert_eq!(leaked.live(), blocks.len());
}

#[test]
fn a_reset_makes_what_is_in_use_the_peak() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let handle = memory.handle();
    let _scope = label("reset");
    let kept = memory.allocate_on(layout(100), &stream).unwrap();
    let block = memory.allocate_on(layout(900), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    handle.reset_peaks().unwrap();
    assert_eq!(handle.stats().unwrap().bytes, tally(100, 100, 1000));
    assert_eq!(handle.stats().unwrap().blocks, tally(1, 1, 2));
    assert_eq!(handle.label(Label::intern("reset")).unwrap().bytes, tally(100, 100, 1000));
    let block = memory.allocate_on(layout(50), &stream).unwrap();
    assert_eq!(handle.stats().unwrap().bytes.peak, 150);
    for block in [kept, block] {
        free(&memory, block, &stream).unwrap();
    }
}

#[test]
fn refusals_are_counted_and_change_nothing_else() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    memory.upstream().fail_next([AllocErrorKind::OutOfMemory, AllocErrorKind::DeviceFault]);
    memory.allocate_on(layout(10), &stream).unwrap_err();
    memory.allocate_on(layout(10), &stream).unwrap_err();
    let mut expected = Stats::default();
    expected.failures = 2;
    assert_eq!(memory.handle().stats().unwrap(), expected);
}

#[test]
fn a_refused_free_is_not_booked() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let block = memory.allocate_on(layout(10), &stream).unwrap();
    memory.upstream().refuse_frees(true);
    let error = free(&memory, block, &stream).unwrap_err();
    let stats = memory.handle().stats().unwrap();
    assert_eq!((stats.bytes.current, stats.blocks.current, stats.refused_frees), (10, 1, 1));
    memory.upstream().refuse_frees(false);
    free(&memory, error.into_block(), &stream).unwrap();
    assert_eq!(memory.handle().stats().unwrap().bytes.current, 0);
}

#[test]
fn stacked_statistics_count_separately_and_a_free_past_one_shows() {
    let stream = stream();
    let memory = Fake::new().with_statistics().with_statistics();
    let (outer, inner) = (memory.handle(), memory.upstream().handle());
    let through_both = memory.allocate_on(layout(100), &stream).unwrap();
    let through_inner = memory.upstream().allocate_on(layout(10), &stream).unwrap();
    assert_eq!(
        (outer.stats().unwrap().bytes.current, inner.stats().unwrap().bytes.current),
        (100, 110)
    );
    free(memory.upstream(), through_both, &stream).unwrap();
    assert_eq!(
        (outer.stats().unwrap().bytes.current, inner.stats().unwrap().bytes.current),
        (100, 10)
    );
    free(&memory, through_inner, &stream).unwrap();
    assert_eq!(
        (outer.stats().unwrap().bytes.current, inner.stats().unwrap().bytes.current),
        (90, 0)
    );

    let elsewhere = memory.upstream().upstream().allocate_on(layout(1), &stream).unwrap();
    free(memory.upstream(), elsewhere, &stream).unwrap();
    assert_eq!(inner.stats().unwrap().bytes, tally(-1, 110, 110));
}

#[test]
fn scopes_nest_and_each_counts_from_zero() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let handle = memory.handle();
    let before = memory.allocate_on(layout(5), &stream).unwrap();
    let outer = handle.scope().unwrap();
    let first = memory.allocate_on(layout(10), &stream).unwrap();
    let second = memory.allocate_on(layout(20), &stream).unwrap();
    free(&memory, first, &stream).unwrap();
    {
        let inner = handle.scope().unwrap();
        let third = memory.allocate_on(layout(50), &stream).unwrap();
        free(&memory, third, &stream).unwrap();
        free(&memory, second, &stream).unwrap();
        let bytes = tally(-20, 50, 50);
        let blocks = tally(-1, 1, 1);
        assert_eq!((inner.usage().bytes, inner.usage().blocks), (bytes, blocks));
    }
    assert_eq!(outer.usage().bytes, tally(0, 70, 80));
    free(&memory, before, &stream).unwrap();
    assert_eq!(outer.usage().bytes, tally(-5, 70, 80));
    drop(outer);
    assert_eq!(handle.stats().unwrap().bytes, tally(0, 75, 85));
}

#[test]
fn scopes_may_end_in_any_order_and_count_one_adaptor_and_one_thread() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let other = Fake::new().with_statistics();
    let (first, second) = (memory.handle().scope().unwrap(), memory.handle().scope().unwrap());
    drop(first);
    let elsewhere = other.allocate_on(layout(1), &stream).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let block = memory.allocate_on(layout(2), &stream).unwrap();
            free(&memory, block, &stream).unwrap();
        });
    });
    let block = memory.allocate_on(layout(4), &stream).unwrap();
    assert_eq!(second.usage().bytes, tally(4, 4, 4));
    drop(second);
    free(&memory, block, &stream).unwrap();
    free(&other, elsewhere, &stream).unwrap();
}

#[test]
fn memory_is_booked_on_its_own_label() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let handle = memory.handle();
    let request = Request::new(layout(100), &stream);
    let (one, two) = (Label::intern("stats/one"), Label::intern("stats/two"));
    let first = memory.allocate(&request.clone().with_label(one)).unwrap();
    let second = memory.allocate(&request.clone().with_label(two)).unwrap();
    let plain = memory.allocate(&request.with_label(Label::NONE)).unwrap();
    {
        // Freed under another label than it was allocated under.
        let _scope = two.enter();
        free(&memory, first, &stream).unwrap();
    }
    assert_eq!(handle.label(one).unwrap().bytes, tally(0, 100, 100));
    assert_eq!(handle.label(two).unwrap().bytes, tally(100, 100, 100));
    assert_eq!(handle.label(Label::intern("stats/never")), Some(Usage::default()));
    let labels: Vec<_> = handle.labels().unwrap().iter().map(|entry| entry.label).collect();
    assert_eq!(labels, [one, two]);
    assert_eq!(handle.stats().unwrap().bytes, tally(200, 300, 300));
    for block in [second, plain] {
        free(&memory, block, &stream).unwrap();
    }
}

#[test]
fn sizes_fall_into_classes_of_powers_of_two() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    for size in [1, 255, 256, 257, 511, 512, 1 << 40] {
        let block = memory.allocate_on(layout(size), &stream).unwrap();
        free(&memory, block, &stream).unwrap();
    }
    let sizes = memory.handle().sizes().unwrap();
    let classes: Vec<_> = sizes.classes().collect();
    assert_eq!(classes, [(1, 1), (128, 1), (256, 3), (512, 1), (1 << 40, 1)]);
    assert_eq!((sizes.total(), sizes.count(300), sizes.count(0)), (7, 3, 0));
}

#[test]
fn figures_print_on_one_line() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let first = memory.allocate_on(layout(300), &stream).unwrap();
    free(&memory, first, &stream).unwrap();
    let _leaked = memory.allocate_on(layout(100), &stream).unwrap();
    let text = memory.handle().stats().unwrap().to_string();
    let expected = "100 B in 1 block, at most 300 B and 1 block, 400 B in 2 blocks in all, \
                    0 requests refused";
    assert_eq!(text, expected);
}

#[cfg(feature = "serde")]
#[test]
fn figures_serialise() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let _leaked = memory.allocate_on(layout(300), &stream).unwrap();
    let stats = serde_json::to_value(memory.handle().stats().unwrap()).unwrap();
    assert_eq!(stats["bytes"]["peak"], 300);
    let sizes = serde_json::to_value(memory.handle().sizes().unwrap()).unwrap();
    assert_eq!(sizes, serde_json::json!({"256": 1}));
}

#[test]
fn figures_survive_more_bytes_than_64_bits_count() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let scope = memory.handle().scope().unwrap();
    let largest = layout(BlockLayout::MAX_SIZE);
    for _ in 0..3 {
        let elsewhere = memory.upstream().allocate_on(largest, &stream).unwrap();
        free(&memory, elsewhere, &stream).unwrap();
    }
    let kept = layout(7);
    for layout in [largest, largest, largest, kept] {
        let _leaked = memory.allocate_on(layout, &stream).unwrap();
    }
    let stats = memory.handle().stats().unwrap();
    assert_eq!((stats.bytes.current, scope.usage().bytes.current), (7, 7));
    assert_eq!((stats.blocks.current, scope.usage().blocks.current), (1, 1));
}

#[test]
fn figures_read_beside_other_threads_are_of_one_moment() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let stream = stream();
    let memory = Fake::new().with_statistics();
    let (handle, ended) = (memory.handle(), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let working = [(); 2].map(|()| {
            threads.spawn(|| {
                let _scope = label("one moment");
                for _ in 0..2000 {
                    let block = memory.allocate_on(layout(64), &stream).unwrap();
                    free(&memory, block, &stream).unwrap();
                }
            })
        });
        let reading = threads.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let stats = handle.stats().unwrap();
                assert_eq!(stats.bytes.current, 64 * stats.blocks.current);
                assert_eq!(stats.bytes.total, 64 * stats.blocks.total);
                let labelled = handle.label(Label::intern("one moment")).unwrap();
                assert_eq!(labelled.bytes.peak, 64 * labelled.blocks.peak);
            }
        });
        let ends = working.map(std::thread::ScopedJoinHandle::join);
        ended.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok));
        reading.join().unwrap();
    });
}
