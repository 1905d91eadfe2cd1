//! What tier B does when memory is exhausted.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use vmem_adaptors::{Answer, Failure, Reclaimers, RetryPolicy, Spill};
use vmem_core::author::fork;
use vmem_core::{Clock, SystemClock};
use vmem_pool::PoolHandle;

type Hook = Arc<dyn Fn(&Failure<'_>) -> Answer + Send + Sync>;

/// The measures that a stack takes before it reports exhaustion. Clones are the same.
///
/// A failed request is asked again after each of these steps that freed anything:
///
/// 1. the pool returns what is free and complete; if that is less than the request, it waits for
///    pending frees;
/// 2. what is [spilled](crate::RuntimeConfig::spill) makes room: buffers that nobody leases and nothing pending
///    uses go to the host, until what is missing is freed: at first what the request needs beyond what the
///    pool may still take, and at most the request's size at a time;
/// 3. the registered caches, in order, until what is missing is freed; from the third time on, if as
///    much as the request was freed and does not adjoin, all they can spare;
/// 4. the hook, then the pool returns what that freed.
///
/// Steps that free less than the request, and caches that free nothing, lead to the next at once. So caches and hook are asked as long as they free something, and the request is asked
/// again while the hook answers [`Retry`](Answer::Retry), as often as the [`RetryPolicy`] has it: by
/// default three times without any effect, for one request or for those of a thread that follow each
/// other within a second, and a thousand times in all for one request. A request for more than the
/// pool or the device can hold fails without any of it.
#[derive(Clone)]
pub struct Recovery {
    reclaimers: Reclaimers,
    hook: Arc<Mutex<Option<Hook>>>,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
}

impl Recovery {
    /// No caches and no hook; time is told by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let policy = RetryPolicy::default();
        Self { reclaimers: Reclaimers::new(), hook: Arc::default(), policy, clock }
    }

    /// Returns it with a policy that says how often the stacks built with it ask.
    #[must_use]
    pub fn with_policy(self, policy: RetryPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The policy that says how often it asks.
    pub fn policy(&self) -> RetryPolicy {
        self.policy
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
        spill: Option<Spill>,
    ) -> impl Fn(&Failure<'_>) -> Answer + Send + Sync + 'static {
        let this = self.clone();
        move |failure| this.recover(&pool, most, spill.as_ref(), failure)
    }

    fn recover(
        &self,
        pool: &PoolHandle,
        most: u64,
        spill: Option<&Spill>,
        failure: &Failure<'_>,
    ) -> Answer {
        let size = failure.error.layout().map_or(u64::MAX, |layout| layout.size());
        if size > most {
            return Answer::GiveUp;
        }
        let settled = if failure.attempt == 1 { settle(pool, size) } else { 0 };
        if settled >= size {
            return Answer::Freed(settled);
        }
        // What the pool may still take, and has not got for all that, is the device's to give: the next
        // time it does not count.
        let may_take =
            if failure.attempt == 1 { room(pool).filter(|&room| room < size) } else { None };
        let there = settled.saturating_add(failure.freed).max(may_take.unwrap_or(0));
        let wanted = match size.saturating_sub(there) {
            0 if failure.attempt >= 3 => u64::MAX,
            0 => size,
            missing => missing,
        };
        // Contents that are kept cost a copy; what a cache drops has to be made again.
        let spilled = spill.map_or(0, |spill| spill.demote(wanted.min(size)));
        let dropped = match wanted.saturating_sub(spilled) {
            0 => 0,
            // All that there is, not all but what was spilled.
            _ if wanted == u64::MAX => self.reclaimers.reclaim(u64::MAX),
            missing => self.reclaimers.reclaim(missing),
        };
        let freed = settled.saturating_add(spilled).saturating_add(dropped);
        if freed > 0 {
            return Answer::Freed(freed);
        }
        let hook = self.lock().clone();
        let answer = hook.map_or(Answer::GiveUp, |hook| hook(failure));
        match (settle(pool, size), answer) {
            (0, answer) => answer,
            (returned, _) => Answer::Freed(returned),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hook>> {
        fork::locked(|| self.hook.lock())
    }
}

/// The bytes that the pool may take besides what it holds; `None` without a ceiling.
fn room(pool: &PoolHandle) -> Option<u64> {
    let capacity = pool.capacity()?;
    Some(capacity.ceiling?.saturating_sub(capacity.reserved))
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
        let mut out = f.debug_struct("Recovery");
        if !fork::is_child() {
            let hook = if self.lock().is_some() { "set" } else { "none" };
            out.field("reclaimers", &self.reclaimers).field("hook", &hook);
        }
        out.field("policy", &self.policy).finish_non_exhaustive()
    }
}
