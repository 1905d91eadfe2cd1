//! What a program hands an adaptor may panic: the stack goes on, and its figures agree.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use vmem_adaptors::{
    AdaptorExt, Answer, Budget, Failure, OnFailure, RecoveryHandle, StatsHandle, TrackHandle,
};
use vmem_core::{
    AllocError, AllocErrorKind, Block, Capabilities, Clock, Device, FreeError, MemoryResource,
    Request, ResourceExt, Stream,
};

use crate::fake::{Fake, free, layout, stream};

/// What the tests panic with, silently.
struct OnPurpose;

fn unwind() -> ! {
    resume_unwind(Box::new(OnPurpose))
}

/// The call, which is to panic on purpose.
fn panics<T>(call: impl FnOnce() -> T) {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(_) => panic!("nothing panicked"),
        Err(panic) if panic.is::<OnPurpose>() => {}
        Err(panic) => resume_unwind(panic),
    }
}

/// An upstream that panics when told to, instead of doing anything.
#[derive(Debug)]
struct Upstream {
    fake: Fake,
    allocating: AtomicBool,
    freeing: AtomicBool,
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream<{}>", self.fake)
    }
}

// SAFETY: contract, implementing: every call goes to the fake, unless it is not made at all.
unsafe impl MemoryResource for Upstream {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        if self.allocating.load(Ordering::Relaxed) {
            unwind();
        }
        self.fake.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if self.freeing.load(Ordering::Relaxed) {
            unwind();
        }
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.fake.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.fake.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.fake.capabilities()
    }
}

/// Every adaptor over one upstream, a second set around a failure hook.
struct Everything {
    upstream: Arc<Upstream>,
    memory: Arc<dyn MemoryResource>,
    budgets: [Budget; 2],
    stats: [StatsHandle; 2],
    tracked: [TrackHandle; 2],
    recovery: RecoveryHandle,
    stream: Stream,
}

impl Everything {
    fn new(
        hook: impl Fn(&Failure<'_>) -> Answer + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (allocating, freeing) = (AtomicBool::new(false), AtomicBool::new(false));
        let upstream = Arc::new(Upstream { fake: Fake::new(), allocating, freeing });
        let budgets = [(); 2].map(|()| Budget::new(1 << 20));
        let below = upstream.clone().limited(budgets[0].clone()).with_statistics();
        let below_stats = below.handle();
        let below = below.tracked();
        let below_tracked = below.handle();
        let recovering = OnFailure::new(below, hook).with_clock(clock);
        let recovery = recovering.handle();
        let above = recovering.limited(budgets[1].clone()).with_statistics();
        let above_stats = above.handle();
        let above = above.tracked();
        let above_tracked = above.handle();
        Self {
            upstream,
            memory: above.into_dyn(),
            budgets,
            stats: [below_stats, above_stats],
            tracked: [below_tracked, above_tracked],
            recovery,
            stream: stream(),
        }
    }

    fn alloc(&self, size: u64) -> Result<Block, AllocError> {
        self.memory.allocate_on(layout(size), &self.stream)
    }

    fn free(&self, block: Block) {
        free(&self.memory, block, &self.stream).unwrap();
    }

    /// Whether all say that so many blocks of so many bytes in all are live.
    fn all_say(&self, blocks: u64, bytes: u64) {
        assert_eq!(self.upstream.fake.live() as u64, blocks);
        for place in 0..2 {
            assert_eq!(self.budgets[place].used(), bytes);
            let stats = self.stats[place].stats().unwrap();
            assert_eq!(stats.blocks.current, blocks.cast_signed());
            assert_eq!(stats.bytes.current, bytes.cast_signed());
            assert_eq!(self.tracked[place].outstanding().unwrap() as u64, blocks);
        }
    }
}

/// Stands still, and panics when told to.
#[derive(Debug, Default)]
struct Broken(AtomicBool);

impl Clock for Broken {
    fn now(&self) -> Duration {
        if self.0.load(Ordering::Relaxed) {
            unwind();
        }
        Duration::ZERO
    }
}

fn give_up(_: &Failure<'_>) -> Answer {
    Answer::GiveUp
}

#[test]
fn an_upstream_that_panics_while_it_allocates_leaves_nothing_counted() {
    let all = Everything::new(give_up, Arc::new(Broken::default()));
    let kept = all.alloc(100).unwrap();
    all.upstream.allocating.store(true, Ordering::Relaxed);
    // More than the budgets would bear, were one charge kept.
    for _ in 0..3 {
        panics(|| all.alloc(1 << 19));
        all.all_say(1, 100);
    }
    all.upstream.allocating.store(false, Ordering::Relaxed);
    let large = all.alloc(1 << 19).unwrap();
    all.free(large);
    all.free(kept);
    all.all_say(0, 0);
}

#[test]
fn a_block_whose_free_panics_stays_live_everywhere() {
    let all = Everything::new(give_up, Arc::new(Broken::default()));
    let block = all.alloc(100).unwrap();
    let parts = block.raw();
    all.upstream.freeing.store(true, Ordering::Relaxed);
    panics(|| all.free(block));
    all.all_say(1, 100);
    all.upstream.freeing.store(false, Ordering::Relaxed);
    let other = all.alloc(50).unwrap();
    all.free(other);
    all.all_say(1, 100);
    // SAFETY: the block was lost in the unwinding, so that this is the only one.
    all.free(unsafe { Block::from_raw(parts) });
    all.all_say(0, 0);
}

#[test]
fn a_hook_that_panics_between_adaptors_leaves_all_of_them_agreeing() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let hook = move |_: &Failure<'_>| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => unwind(),
        _ => Answer::Retry,
    };
    let all = Everything::new(hook, Arc::new(Broken::default()));
    let kept = all.alloc(100).unwrap();
    all.upstream.fake.fail_next([AllocErrorKind::OutOfMemory]);
    panics(|| all.alloc(1000));
    all.all_say(1, 100);
    // The thread is in no hook any more: the next failure is recovered from.
    all.upstream.fake.fail_next([AllocErrorKind::OutOfMemory]);
    let block = all.alloc(1000).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let counts = all.recovery.counts().unwrap();
    assert_eq!((counts.hook_calls, counts.recovered, counts.gave_up), (2, 1, 0));
    all.free(block);
    all.free(kept);
    all.all_say(0, 0);
}

#[test]
fn a_clock_that_panics_before_the_hook_leaves_the_stack_usable() {
    let clock = Arc::new(Broken::default());
    let all = Everything::new(|_| Answer::Retry, clock.clone());
    clock.0.store(true, Ordering::Relaxed);
    all.upstream.fake.fail_next([AllocErrorKind::OutOfMemory]);
    panics(|| all.alloc(1000));
    all.all_say(0, 0);
    clock.0.store(false, Ordering::Relaxed);
    all.upstream.fake.fail_next([AllocErrorKind::OutOfMemory]);
    let block = all.alloc(1000).unwrap();
    all.free(block);
    all.all_say(0, 0);
}

/// The second panic would end the process.
#[test]
fn a_clock_may_panic_while_the_hook_is_unwinding() {
    let clock = Arc::new(Broken::default());
    let breaks = clock.clone();
    let hook = move |failure: &Failure<'_>| {
        breaks.0.store(true, Ordering::Relaxed);
        match failure.error.layout() {
            Some(asked) if asked.size() == 1 => unwind(),
            _ => Answer::Retry,
        }
    };
    let all = Everything::new(hook, clock.clone());
    all.upstream.fake.fail_next([AllocErrorKind::OutOfMemory]);
    panics(|| all.alloc(1));
    all.all_say(0, 0);
    // And when the hook returned: what it made room for is served.
    clock.0.store(false, Ordering::Relaxed);
    all.upstream.fake.fail_next([AllocErrorKind::OutOfMemory]);
    let block = all.alloc(1000).unwrap();
    assert!(clock.0.load(Ordering::Relaxed), "the hook was called");
    all.free(block);
    all.all_say(0, 0);
}
