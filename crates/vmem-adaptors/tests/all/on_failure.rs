//! When the hook is called, and how often.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::Duration;

use vmem_adaptors::{AdaptorExt, Answer, Budget, Failure, OnFailure, RecoveryCounts, RetryPolicy};
use vmem_core::{
    AllocErrorKind, BlockLayout, Clock, DeviceBuffer, ManualClock, MemoryResource, Request,
    ResourceExt,
};

use crate::fake::{Fake, free, layout, stream};

const OOM: AllocErrorKind = AllocErrorKind::OutOfMemory;

fn retry(_: &Failure<'_>) -> Answer {
    Answer::Retry
}

#[test]
fn a_request_is_retried_three_times_and_then_given_up() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = attempts.clone();
    let memory = Fake::new().on_failure(move |failure| {
        seen.lock().unwrap().push(failure.attempt);
        Answer::Retry
    });
    memory.upstream().fail_always(Some(OOM));
    let error = memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!(error.kind(), OOM);
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
    assert_eq!(memory.upstream().asked(), 4);
    let counts = memory.handle().counts().unwrap();
    assert_eq!((counts.hook_calls, counts.recovered, counts.gave_up), (3, 0, 1));
}

/// RMM 56, 57.
#[test]
fn a_request_that_succeeds_after_the_hook_is_handed_out_as_asked() {
    let stream = stream();
    let memory = Fake::new().on_failure(retry);
    memory.upstream().fail_next([OOM, AllocErrorKind::Limit]);
    let asked = BlockLayout::with_alignment(100, 1 << 20).unwrap();
    let block = memory.allocate_on(asked, &stream).unwrap();
    assert_eq!(block.layout(), asked);
    assert!(block.ptr().is_aligned_to(1 << 20));
    free(&memory, block, &stream).unwrap();
    assert_eq!(memory.upstream().live(), 0);
    let counts = memory.handle().counts().unwrap();
    assert_eq!((counts.hook_calls, counts.recovered, counts.gave_up), (2, 1, 0));
}

#[test]
fn the_hook_learns_the_error_and_the_stream() {
    let stream = stream();
    let expected = stream.clone();
    let memory = Fake::new().limited(Budget::new(10)).on_failure(move |failure| {
        assert_eq!(failure.stream, &expected);
        assert_eq!(failure.error.kind(), AllocErrorKind::Limit);
        assert_eq!(failure.error.report().unwrap().ceiling, Some(10));
        Answer::GiveUp
    });
    memory.allocate_on(layout(11), &stream).unwrap_err();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 1);
}

/// How many hook calls a request gets that fails for good `pause` after another took two.
fn calls_after(pause: Duration) -> u64 {
    let clock = ManualClock::new();
    let memory = Fake::new().on_failure(retry).with_clock(Arc::new(clock.clone()));
    memory.upstream().fail_next([OOM, OOM]);
    let _leaked = memory.allocate_on(layout(1), &stream()).unwrap();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 2);

    clock.advance(pause);
    memory.upstream().fail_always(Some(OOM));
    memory.allocate_on(layout(1), &stream()).unwrap_err();
    memory.handle().counts().unwrap().hook_calls - 2
}

#[test]
fn requests_within_one_second_share_three_calls() {
    assert_eq!(calls_after(Duration::ZERO), 1);
    assert_eq!(calls_after(Duration::from_secs(1)), 1);
}

/// A cache of `entries` entries of 100 B that fill a limit of their size, and a hook that drops one
/// entry a call, with the answer that `tell` makes of its bytes.
fn one_at_a_time(
    entries: usize,
    tell: impl Fn(u64) -> Answer + Send + Sync + 'static,
) -> impl MemoryResource {
    let stream = stream();
    let limited = Fake::new().limited(Budget::new(100 * entries as u64)).into_dyn();
    let entry = |_| DeviceBuffer::new(limited.clone(), 100, &stream).unwrap();
    let cache = Mutex::new((0..entries).map(entry).collect::<Vec<_>>());
    let hook = move |_: &Failure<'_>| {
        let evicted = cache.lock().unwrap().pop();
        evicted.map_or(Answer::GiveUp, |buffer| tell(buffer.len()))
    };
    OnFailure::new(limited, hook).with_clock(Arc::new(ManualClock::new()))
}

#[test]
fn a_cache_that_evicts_one_entry_at_a_time_keeps_up() {
    for tell in [Answer::Freed, |_| Answer::Retry] {
        // Requests of one entry, of several, and of all.
        for size in [1, 2, 5, 20] {
            let memory = one_at_a_time(20, tell);
            let stream = stream();
            let served: Vec<_> = (0..20 / size)
                .map(|nth| match memory.allocate_on(layout(100 * size), &stream) {
                    Ok(block) => block,
                    Err(error) => panic!("request {nth} of {size} entries: {error}"),
                })
                .collect();
            assert!(memory.allocate_on(layout(100), &stream).is_err(), "the cache is empty");
            for block in served {
                free(&memory, block, &stream).unwrap();
            }
        }
    }
}

#[test]
fn a_hook_that_says_it_frees_and_does_not_help_is_asked_as_often_as_the_policy_says() {
    let calls_of = |policy: RetryPolicy, answer: Answer| {
        let memory = Fake::new().on_failure(move |_| answer).with_policy(policy);
        memory.upstream().fail_always(Some(OOM));
        memory.allocate_on(layout(1), &stream()).unwrap_err();
        memory.handle().counts().unwrap().hook_calls
    };
    let policy = RetryPolicy::default();
    assert_eq!(calls_of(policy, Answer::Freed(1)), 1000);
    assert_eq!(calls_of(policy.with_most(7), Answer::Freed(1)), 7);
    assert_eq!(calls_of(policy.with_most(2), Answer::Retry), 2);
    assert_eq!(calls_of(policy.with_tries(10), Answer::Retry), 10);
    assert_eq!(calls_of(policy.with_tries(0), Answer::Freed(1)), 0);
    assert_eq!(calls_of(policy, Answer::Freed(0)), 3);
}

#[test]
fn the_gap_between_events_is_the_policys() {
    let clock = ManualClock::new();
    let gap = Duration::from_secs(60);
    let memory = Fake::new()
        .on_failure(retry)
        .with_policy(RetryPolicy::default().with_gap(gap))
        .with_clock(Arc::new(clock.clone()));
    let stream = stream();
    let calls_after_two = |pause| {
        memory.upstream().fail_next([OOM, OOM]);
        let _leaked = memory.allocate_on(layout(1), &stream).unwrap();
        clock.advance(pause);
        let before = memory.handle().counts().unwrap().hook_calls;
        memory.upstream().fail_always(Some(OOM));
        memory.allocate_on(layout(1), &stream).unwrap_err();
        memory.upstream().fail_always(None);
        memory.handle().counts().unwrap().hook_calls - before
    };
    assert_eq!(calls_after_two(gap), 1);
    assert_eq!(calls_after_two(gap + Duration::from_nanos(1)), 3);
}

#[test]
fn a_hook_learns_what_the_calls_before_freed_and_only_for_its_own_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let of_hook = seen.clone();
    let memory = Fake::new().on_failure(move |failure| {
        of_hook.lock().unwrap().push((failure.attempt, failure.freed));
        Answer::Freed(u64::MAX / 2)
    });
    for _ in 0..2 {
        memory.upstream().fail_next([OOM; 4]);
        let _leaked = memory.allocate_on(layout(1), &stream()).unwrap();
        let half = u64::MAX / 2;
        assert_eq!(
            std::mem::take(&mut *seen.lock().unwrap()),
            [(1, 0), (2, half), (3, 2 * half), (4, u64::MAX)]
        );
    }
}

#[test]
fn a_pause_of_over_one_second_restores_the_full_budget() {
    assert_eq!(calls_after(Duration::from_secs(1) + Duration::from_nanos(1)), 3);
}

#[test]
fn giving_up_starts_a_new_cycle() {
    let memory = Fake::new().on_failure(retry).with_clock(Arc::new(ManualClock::new()));
    memory.upstream().fail_always(Some(OOM));
    for request in 1..=5 {
        memory.allocate_on(layout(1), &stream()).unwrap_err();
        assert_eq!(memory.handle().counts().unwrap().hook_calls, 3 * request);
    }
}

#[test]
fn a_hook_that_gives_up_ends_the_request_and_the_cycle() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let memory = Fake::new().on_failure(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        1 => Answer::GiveUp,
        _ => Answer::Retry,
    });
    memory.upstream().fail_always(Some(OOM));
    memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!((memory.upstream().asked(), calls.load(Ordering::Relaxed)), (2, 2));
    memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 2 + 3);
}

#[test]
fn a_hook_that_takes_two_seconds_each_time_is_called_three_times() {
    let clock = ManualClock::new();
    let slow = clock.clone();
    let memory = Fake::new()
        .on_failure(move |_| {
            slow.advance(Duration::from_secs(2));
            Answer::Retry
        })
        .with_clock(Arc::new(clock.clone()));
    memory.upstream().fail_always(Some(OOM));
    for request in 1..=3 {
        memory.allocate_on(layout(1), &stream()).unwrap_err();
        assert_eq!(memory.handle().counts().unwrap().hook_calls, 3 * request);
        assert_eq!(clock.now(), Duration::from_secs(6 * request));
    }
}

/// A clock on which two seconds pass between any two readings, so that every pause is a long one.
#[derive(Debug, Default)]
struct Racing(AtomicU64);

impl Clock for Racing {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(2, Ordering::Relaxed))
    }
}

#[test]
fn whatever_the_clock_says_a_request_gets_three_calls() {
    let memory = Fake::new().on_failure(retry).with_clock(Arc::new(Racing::default()));
    memory.upstream().fail_always(Some(OOM));
    memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 3);
}

#[test]
fn a_request_that_succeeds_reads_no_clock() {
    let clock = Arc::new(Racing::default());
    let memory = Fake::new().on_failure(retry).with_clock(clock.clone());
    let stream = stream();
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    assert_eq!(clock.0.load(Ordering::Relaxed), 0);
}

#[test]
fn two_threads_failing_at_once_each_get_their_full_budget() {
    let (both_fail, stream) = (Barrier::new(2), stream());
    let memory = Fake::new().on_failure(move |_| {
        both_fail.wait();
        Answer::Retry
    });
    memory.upstream().fail_always(Some(OOM));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| memory.allocate_on(layout(1), &stream).unwrap_err());
        }
    });
    // Had one thread got fewer calls, the other would still wait at the barrier.
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 6);
    assert_eq!(memory.upstream().asked(), 8);
}

#[test]
fn allocations_inside_the_hook_succeed_or_fail_at_once() {
    let stream = stream();
    let stack: Arc<OnceLock<Arc<dyn MemoryResource>>> = Arc::default();
    let inner = (stack.clone(), stream.clone());
    let memory = Arc::new(Fake::new().on_failure(move |failure| {
        let memory = inner.0.get().unwrap();
        match failure.attempt {
            1 => assert_eq!(memory.allocate_on(layout(1), &inner.1).unwrap_err().kind(), OOM),
            _ => free(memory, memory.allocate_on(layout(1), &inner.1).unwrap(), &inner.1).unwrap(),
        }
        Answer::Retry
    }));
    stack.set(memory.clone()).unwrap();
    // The request, the one inside the first call, the first retry; then the second call's succeeds.
    memory.upstream().fail_next([OOM, OOM, OOM]);
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    let counts = memory.handle().counts().unwrap();
    assert_eq!((counts.hook_calls, counts.recovered, counts.gave_up), (2, 1, 0));
    assert_eq!(memory.upstream().live(), 0);
}

#[test]
fn no_lock_is_held_while_the_hook_runs() {
    let stream = stream();
    let stack: OnceLock<Arc<dyn MemoryResource>> = OnceLock::new();
    let (stack, stream) = (Arc::new(stack), stream);
    let inner = (stack.clone(), stream.clone());
    let memory = Arc::new(
        Fake::new().limited(Budget::new(100)).with_statistics().tracked().on_failure(move |_| {
            let (memory, stream) = inner.clone();
            let elsewhere = std::thread::spawn(move || {
                let memory = memory.get().unwrap();
                free(memory, memory.allocate_on(layout(1), &stream).unwrap(), &stream).unwrap();
            });
            elsewhere.join().unwrap();
            Answer::Retry
        }),
    );
    stack.set(memory.clone()).unwrap();
    memory.allocate_on(layout(101), &stream).unwrap_err();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 3);
}

#[test]
fn a_hook_that_panics_leaves_the_stack_usable() {
    let stream = stream();
    let panics = AtomicU32::new(1);
    let memory = Fake::new().with_statistics().on_failure(move |_| {
        let left = panics.fetch_sub(1, Ordering::Relaxed);
        assert!(left != 1, "the hook's own trouble");
        Answer::Retry
    });
    memory.upstream().upstream().fail_always(Some(OOM));
    let unwound = catch_unwind(AssertUnwindSafe(|| memory.allocate_on(layout(1), &stream)));
    assert!(unwound.is_err());
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 1);

    // The thread is not taken to be inside the hook still, and the call counted.
    memory.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 3);
    memory.upstream().upstream().fail_always(None);
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    free(&memory, block, &stream).unwrap();
    assert_eq!(memory.upstream().handle().stats().unwrap().bytes.current, 0);
}

/// RMM 58.
#[test]
fn only_exhaustion_calls_the_hook() {
    let memory = Fake::new().on_failure(retry);
    let others = [
        AllocErrorKind::NeverFits,
        AllocErrorKind::InvalidLayout,
        AllocErrorKind::InvalidStream,
        AllocErrorKind::Capturing,
        AllocErrorKind::DeviceFault,
    ];
    for kind in others {
        memory.upstream().fail_next([kind]);
        assert_eq!(memory.allocate_on(layout(1), &stream()).unwrap_err().kind(), kind);
    }
    assert_eq!(memory.handle().counts().unwrap(), RecoveryCounts::default());
}

#[test]
fn a_retry_that_ends_in_a_fault_returns_the_fault() {
    let memory = Fake::new().on_failure(retry);
    memory.upstream().fail_next([OOM, AllocErrorKind::DeviceFault]);
    let error = memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    let counts = memory.handle().counts().unwrap();
    assert_eq!((counts.hook_calls, counts.gave_up), (1, 0));
}

#[test]
fn a_request_marked_not_to_be_retried_never_calls_the_hook() {
    let memory = Fake::new().on_failure(retry);
    memory.upstream().fail_next([OOM]);
    let stream = stream();
    let request = Request::new(layout(1), &stream).without_retry();
    memory.allocate(&request).unwrap_err();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 0);
}

#[test]
fn stacked_hooks_have_budgets_of_their_own() {
    let memory = Fake::new().on_failure(retry).on_failure(retry);
    memory.upstream().upstream().fail_always(Some(OOM));
    memory.allocate_on(layout(1), &stream()).unwrap_err();
    assert_eq!(memory.handle().counts().unwrap().hook_calls, 3);
    assert_eq!(memory.upstream().handle().counts().unwrap().hook_calls, 3 * 4);
}

/// A program's own part: no type parameter stands for the closure.
struct Part {
    memory: OnFailure<Fake>,
}

#[test]
fn a_stack_whose_hook_is_a_closure_lies_in_a_struct_without_type_parameters() {
    let called = Arc::new(AtomicU32::new(0));
    let make = |answer: Answer| {
        let called = called.clone();
        let memory = Fake::new().on_failure(move |_| {
            called.fetch_add(1, Ordering::Relaxed);
            answer
        });
        Part { memory }
    };
    // Closures of the same and of another type, in one list.
    let parts = vec![
        make(Answer::GiveUp),
        make(Answer::Retry),
        Part { memory: OnFailure::new(Fake::new(), retry) },
    ];
    for Part { memory } in &parts {
        memory.upstream().fail_next([OOM]);
        let _ = memory.allocate_on(layout(1), &stream());
    }
    let counts = parts.iter().map(|part| part.memory.handle().counts().unwrap());
    let outcomes: Vec<_> = counts.map(|counts| (counts.recovered, counts.gave_up)).collect();
    assert_eq!((outcomes, called.load(Ordering::Relaxed)), (vec![(0, 1), (1, 0), (1, 0)], 2));
}
