//! Recovering from exhaustion.

mod counts;
mod cycle;
mod policy;
mod reclaimers;

use std::fmt;
use std::sync::Arc;

use vmem_core::author::Handled;
use vmem_core::{
    AllocError, Block, Capabilities, Clock, Device, FreeError, MemoryResource, Request, Retry,
    Stream, SystemClock,
};

use counts::{Counts, count};
pub use counts::{RecoveryCounts, RecoveryHandle};
use cycle::Call;
pub use policy::RetryPolicy;
pub use reclaimers::{Reclaimers, Registration};

/// The argument of a hook: the failed request, and what was done for it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The error of the request; always exhaustion.
    pub error: &'a AllocError,
    /// The request's stream: memory freed in its order is usable at once.
    pub stream: &'a Stream,
    /// Which hook call for this request this is, from 1.
    pub attempt: u32,
    /// The bytes that earlier calls said they [freed](Answer::Freed) for this request.
    pub freed: u64,
}

/// The decision of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Ask the upstream again.
    Retry,
    /// Ask the upstream again: so many bytes were freed, here or elsewhere on the device. With 0 it
    /// is [`Retry`](Self::Retry).
    Freed(u64),
    /// Return the error.
    GiveUp,
}

/// Calls a hook when memory is exhausted, and asks the upstream again if the hook says so.
///
/// The hook is called on the failing thread with no lock of the adaptor held, so it may allocate and
/// free. It is called for exhaustion only
/// ([`AllocErrorKind::is_exhaustion`](vmem_core::AllocErrorKind::is_exhaustion)), never for a request
/// marked [`Retry::Never`], and never for a request made inside a hook on the same thread. Blocks
/// pass unchanged. A request that succeeds costs nothing more than the upstream's.
///
/// # How often
/// Ask again, as often as the [`RetryPolicy`] says: by default three calls that do not help, for
/// one request or for those of a thread that follow each other within a second, and as many that do
/// help as it takes, up to a thousand for a request. How long the hook itself takes does not matter:
/// a slow one is not called more often.
///
/// # Hooks that use a pool
/// Put this above the pool that the hook allocates from or trims. A pool holds a lock while it calls
/// what is below it, so a hook there can have what is free in the pool, but the pool can neither take
/// nor return memory for it: that is refused. A hook there that waits for another thread which uses
/// the pool may wait for ever.
///
/// A hook that panics unwinds through `allocate` and leaves everything usable; the call counts.
///
/// ```
/// use vmem_adaptors::{Answer, Budget, Limit, OnFailure};
/// use vmem_core::{DeviceMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let budget = Budget::new(1000);
/// let limited = Limit::new(DeviceMemory::new(device), budget.clone());
/// let memory = OnFailure::new(limited, move |failure| {
///     match failure.attempt {
///         1 => {
///             budget.set_limit(2000);
///             Answer::Retry
///         }
///         _ => Answer::GiveUp,
///     }
/// });
///
/// let buffer = memory.buffer(1500, &stream)?;
/// assert_eq!(memory.handle().counts().map(|counts| counts.recovered), Some(1));
/// assert!(memory.buffer(1500, &stream).is_err());
/// # Ok(())
/// # }
/// ```
pub struct OnFailure<U> {
    upstream: U,
    hook: Hook,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
    counts: Handled<Counts>,
}

type Hook = Arc<dyn Fn(&Failure<'_>) -> Answer + Send + Sync>;

impl<U> OnFailure<U> {
    /// Calls `hook` when `upstream` is exhausted.
    pub fn new(upstream: U, hook: impl Fn(&Failure<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            upstream,
            hook: Arc::new(hook),
            policy: RetryPolicy::default(),
            clock: Arc::new(SystemClock::new()),
            counts: Handled::new(Counts::default()),
        }
    }

    /// Returns it with a policy that says how often the hook is called.
    #[must_use]
    pub fn with_policy(self, policy: RetryPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Returns it with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// A handle that reads the counts.
    pub fn handle(&self) -> RecoveryHandle {
        RecoveryHandle::new(self.counts.handle())
    }

    /// The wrapped resource.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }

    /// Unwraps the upstream.
    pub fn into_inner(self) -> U {
        self.upstream
    }
}

impl<U: MemoryResource> OnFailure<U> {
    #[cold]
    fn recover(&self, request: &Request<'_>, mut error: AllocError) -> Result<Block, AllocError> {
        let stream = request.stream;
        if request.retry == Retry::Never || cycle::in_hook() {
            return Err(error);
        }
        let owner = self.counts.part();
        let (mut freed, mut idle) = (0_u64, 0);
        for attempt in 1..=self.policy.most {
            if !error.kind().is_exhaustion() {
                return Err(error);
            }
            let helped = match self.call(&Failure { error: &error, stream, attempt, freed }) {
                Some(Answer::Retry | Answer::Freed(0)) => false,
                Some(Answer::Freed(bytes)) => {
                    freed = freed.saturating_add(bytes);
                    true
                }
                Some(Answer::GiveUp) | None => break,
            };
            let again = self.upstream.allocate(request);
            if helped || again.as_ref().map_or_else(|again| eased(&error, again), |_| idle == 0) {
                cycle::forgive(owner);
            } else {
                idle += 1;
            }
            match again {
                Ok(block) => {
                    count(&self.counts.recovered);
                    return Ok(block);
                }
                // Also if the clock makes every call an event of its own.
                Err(refused) if idle == self.policy.tries => {
                    error = refused;
                    break;
                }
                Err(refused) => error = refused,
            }
        }
        if error.kind().is_exhaustion() {
            cycle::give_up(owner);
            count(&self.counts.gave_up);
            tracing::debug!(%error, "gave up recovering memory");
        }
        Err(error)
    }

    /// Calls the hook, if it may be called.
    fn call(&self, failure: &Failure<'_>) -> Option<Answer> {
        let _call = Call::begin(self.counts.part(), &*self.clock, self.policy)?;
        count(&self.counts.hook_calls);
        Some((self.hook)(failure))
    }
}

/// Whether a refusal reports that memory became free since the one before.
fn eased(before: &AllocError, after: &AllocError) -> bool {
    let (Some(before), Some(after)) = (before.report(), after.report()) else { return false };
    after.live < before.live || after.reserved < before.reserved
}

impl<U: fmt::Debug> fmt::Debug for OnFailure<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("OnFailure");
        out.field("upstream", &self.upstream).field("counts", &*self.counts);
        out.finish_non_exhaustive()
    }
}

impl<U: fmt::Display> fmt::Display for OnFailure<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnFailure<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it; implementing/unwinding: nothing is held while the hook runs but the mark that its
// unwinding removes.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for OnFailure<U> {
    #[inline]
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        match self.upstream.allocate(request) {
            Ok(block) => Ok(block),
            Err(error) => self.recover(request, error),
        }
    }

    #[inline]
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
