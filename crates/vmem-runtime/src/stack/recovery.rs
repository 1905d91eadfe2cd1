//! What tier B does when memory is exhausted.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmem_adaptors::{Answer, Failure, Reclaimers};
use vmem_core::{Clock, SystemClock};
use vmem_pool::PoolHandle;

type Hook = Arc<dyn Fn(&Failure<'_>) -> Answer + Send + Sync>;

/// What a stack with recovery does before it reports exhaustion. Clones are the same.
///
/// A failed request is asked again after steps that freed anything, three times at most:
///
/// 1. the pool returns what is free and complete; if that is less than the request, it waits for
///    pending frees;
/// 2. the registered caches, in order, until the size asked for is freed; the third time all;
/// 3. the hook, then the pool returns what that freed.
///
/// A first step that frees less than the request, and a second that frees nothing, lead to the next
/// at once, and a request that failed again goes on where the last one ended. While the hook answers [`Retry`](Answer::Retry), the request is asked
/// again as often as is left. How often hooks are called in all is what
/// [`OnFailure`](vmem_adaptors::OnFailure) says. A request for more than the pool or the device can
/// hold fails without any of it.
#[derive(Clone)]
pub struct Recovery {
    reclaimers: Reclaimers,
    hook: Arc<Mutex<Option<Hook>>>,
    clock: Arc<dyn Clock>,
}

impl Recovery {
    /// No caches and no hook; time is told by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { reclaimers: Reclaimers::new(), hook: Arc::default(), clock }
    }

    /// The caches that give memory back, to register more.
    pub fn reclaimers(&self) -> &Reclaimers {
        &self.reclaimers
    }

    /// Makes `hook` the last resort, in place of the one before. It is called on the thread that
    /// runs short, with no lock held, after the caches.
    pub fn set_hook(&self, hook: impl Fn(&Failure<'_>) -> Answer + Send + Sync + 'static) {
        let previous = self.lock().replace(Arc::new(hook));
        drop(previous);
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The steps as one hook of an adaptor above `pool`, which can hold `most` bytes.
    pub(super) fn hook(
        &self,
        pool: PoolHandle,
        most: u64,
    ) -> impl Fn(&Failure<'_>) -> Answer + Send + Sync + 'static {
        let this = self.clone();
        move |failure| this.recover(&pool, most, failure)
    }

    fn recover(&self, pool: &PoolHandle, most: u64, failure: &Failure<'_>) -> Answer {
        let size = failure.error.layout().map_or(u64::MAX, |layout| layout.size());
        if size > most {
            return Answer::GiveUp;
        }
        let settled = if failure.attempt == 1 { settle(pool, size) } else { 0 };
        if settled >= size {
            return Answer::Retry;
        }
        let is_last = failure.attempt == 3;
        let reclaimed = self.reclaimers.reclaim(if is_last { u64::MAX } else { size });
        if settled + reclaimed > 0 && !is_last {
            return Answer::Retry;
        }
        let hook = self.lock().clone();
        let answer = hook.map_or(Answer::GiveUp, |hook| hook(failure));
        let returned = settle(pool, size);
        if reclaimed > 0 || returned > 0 { Answer::Retry } else { answer }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the pool does not need: what is complete, and, if that is less than `wanted`, what
/// becomes so. A failing driver returns nothing here; the retry reports it.
fn settle(pool: &PoolHandle, wanted: u64) -> u64 {
    match pool.try_trim(0).unwrap_or(0) {
        returned if returned >= wanted => returned,
        returned => returned + pool.trim_to(0).unwrap_or(0),
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::new()))
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = if self.lock().is_some() { "set" } else { "none" };
        f.debug_struct("Recovery")
            .field("reclaimers", &self.reclaimers)
            .field("hook", &hook)
            .finish_non_exhaustive()
    }
}
