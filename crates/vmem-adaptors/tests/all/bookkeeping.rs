//! What the adaptors remember per thread: the peak that several threads reach together, and each
//! adaptor's event of failures beside those of others.

use std::sync::{Arc, mpsc};

use vmem_adaptors::{AdaptorExt, Answer, Budget, Reclaimers};
use vmem_core::{AllocErrorKind, ManualClock, ResourceExt};

use crate::fake::{Fake, free, layout, stream};

const MIB: u64 = 1 << 20;

/// Lets each step happen on a thread of its own, all of which live to the end.
fn on_threads(steps: Vec<Box<dyn FnOnce() + Send + '_>>) {
    std::thread::scope(|scope| {
        let mut parked = Vec::new();
        for step in steps {
            let (done, is_done) = mpsc::channel();
            let (leave, may_leave) = mpsc::channel::<()>();
            scope.spawn(move || {
                step();
                done.send(()).unwrap();
                // Ends when the other side is dropped.
                let _ = may_leave.recv();
            });
            is_done.recv().unwrap();
            parked.push(leave);
        }
    });
}

#[test]
fn the_peak_that_threads_reached_together_outlasts_the_frees() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let (sender, receiver) = mpsc::channel();
    let step = || {
        let (memory, stream, sender) = (&memory, &stream, sender.clone());
        Box::new(move || sender.send(memory.allocate_on(layout(8 * MIB), stream).unwrap()).unwrap())
            as Box<dyn FnOnce() + Send>
    };
    on_threads((0..4).map(|_| step()).collect());
    receiver.try_iter().for_each(|block| free(&memory, block, &stream).unwrap());
    let bytes = memory.handle().stats().unwrap().bytes;
    assert_eq!((bytes.current, bytes.peak), (0, 32 * MIB));
}

#[test]
fn what_one_thread_freed_is_not_in_the_peak_of_the_next() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let step = || {
        let (memory, stream) = (&memory, &stream);
        Box::new(move || {
            let block = memory.allocate_on(layout(64 * MIB), stream).unwrap();
            free(memory, block, stream).unwrap();
        }) as Box<dyn FnOnce() + Send>
    };
    on_threads((0..3).map(|_| step()).collect());
    assert_eq!(memory.handle().stats().unwrap().bytes.peak, 64 * MIB);
}

#[test]
fn the_first_failure_of_another_adaptor_leaves_an_event_as_it_is() {
    let stream = stream();
    let clock = Arc::new(ManualClock::new());
    let make = || Fake::new().on_failure(|_| Answer::Retry).with_clock(clock.clone());
    let (one, other) = (make(), make());
    one.upstream().fail_next([AllocErrorKind::OutOfMemory; 2]);
    let first = one.allocate_on(layout(1), &stream).unwrap();
    assert_eq!(one.handle().counts().unwrap().hook_calls, 2);
    other.upstream().fail_next([AllocErrorKind::OutOfMemory]);
    let second = other.allocate_on(layout(1), &stream).unwrap();
    // One call is left of the three.
    one.upstream().fail_always(Some(AllocErrorKind::OutOfMemory));
    one.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!(one.handle().counts().unwrap().hook_calls, 3);
    free(&one, first, &stream).unwrap();
    free(&other, second, &stream).unwrap();
}

#[test]
fn a_budget_prints_its_limit_and_its_use() {
    let budget = Budget::new(1000);
    let charge = budget.charge(600).unwrap();
    assert_eq!(format!("{budget:?}"), "Budget { limit: 1000, used: 600 }");
    drop(charge);
}

#[test]
fn sizes_that_no_block_can_have_were_never_counted() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let block = memory.allocate_on(layout(1000), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    let sizes = memory.handle().sizes().unwrap();
    assert_eq!((sizes.count(0), sizes.count(u64::MAX), sizes.count(512)), (0, 0, 1));
}

#[test]
fn adaptors_show_what_they_hold_for_debugging() {
    let stream = stream();
    let memory = Fake::new().with_statistics();
    let block = memory.allocate_on(layout(1000), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    assert_eq!(format!("{:?}", memory.handle().sizes().unwrap()), "{512: 1}");
    let caches = Reclaimers::new();
    let registration = caches.register("cache", || 0);
    assert_eq!(
        format!("{caches:?} {registration:?}"),
        "Reclaimers([\"cache\"]) Registration(\"cache\")"
    );
    let retrying = Fake::new().on_failure(caches.hook());
    assert!(format!("{retrying:?}").starts_with("OnFailure { upstream: Fake {"));
}
