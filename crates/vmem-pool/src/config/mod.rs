//! How a pool behaves.

mod error;
mod policies;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Clock, MemoryObserver, Resting, SystemClock};

pub use error::{BuildError, BuildErrorKind};
pub use policies::{AutoTrim, Batch, Footprint, Growth, Placement};

/// Configuration of a [`Pool`](crate::Pool). Every setting has a default that suits any workload.
///
/// ```
/// use vmem_pool::{Batch, PoolConfig};
///
/// let config = PoolConfig::default().with_ceiling(8 << 30).with_batch(Batch::STRICT);
/// assert_eq!((config.ceiling, config.initial), (Some(8 << 30), 0));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The most the pool may hold from its backing, in bytes; `None` for no limit. Exact to 256
    /// bytes on chunks and to one granule on virtual memory (rounded down;
    /// [`Capacity::ceiling`](crate::Capacity) says what it comes to).
    pub ceiling: Option<u64>,
    /// The most of the host's memory that blocks may rest in, and that is [kept
    /// ready](crate::PoolHandle::fill_host_reserve) for them, in bytes; `None` for no limit but the host's.
    pub host_ceiling: Option<u64>,
    /// The plans for the memory of blocks whose requests have none. [`Planned`](Resting::Planned) gives
    /// every block of more than two granules handles of its own, so that all of it can rest on the host but
    /// a granule at either end; that costs driver calls where memory is used again for another size.
    pub resting: Resting,
    /// Bytes to hold from the start. Zero holds nothing until the first request.
    pub initial: u64,
    /// The amount to take at a time; `None` for what suits the backing: exactly what is needed on
    /// virtual memory, doubling on chunks.
    pub growth: Option<Growth>,
    /// The choice whether memory moves to where it is needed before more is taken, or after. Of no
    /// effect on chunks, whose memory cannot move.
    pub footprint: Footprint,
    /// The point at which a stream whose memory other streams want records an event behind its frees.
    pub batch: Batch,
    /// The longest that a request waits on the host for pending frees before it is refused; `None`
    /// for as long as they take. A request that fits is refused only where this ended its wait.
    ///
    /// A request waits on the host only where waiting on the device does not do: for chunks, which go
    /// back to the upstream only when no work touches them; for memory that the host may touch; where
    /// the request's stream cannot be made to wait because the requesting thread [cannot
    /// name](vmem_core::author::StreamExt::is_callable_here) it; and for addresses that an arena has
    /// none left of. A stream that captures never waits. Work that only the waiting thread could let
    /// go on is waited for in vain: give a limit where there may be such.
    pub host_wait: Option<Duration>,
    /// The memory to return without being asked, and when; `None` for only when asked.
    pub auto_trim: Option<AutoTrim>,
    /// The rule by which blocks are placed.
    pub placement: Placement,
    /// The clock for `host_wait` and `auto_trim`.
    pub clock: Arc<dyn Clock>,
    /// The observer of allocations, frees, growth and the rest. Should it panic, that is logged and
    /// ends at the pool.
    pub observer: Option<Arc<dyn MemoryObserver>>,
}

impl PoolConfig {
    /// Returns it with another [`ceiling`](Self::ceiling), in bytes; `None` for no limit.
    #[must_use]
    pub fn with_ceiling(self, ceiling: impl Into<Option<u64>>) -> Self {
        Self { ceiling: ceiling.into(), ..self }
    }

    /// Returns it with another [`host_ceiling`](Self::host_ceiling), in bytes; `None` for no limit.
    #[must_use]
    pub fn with_host_ceiling(self, host_ceiling: impl Into<Option<u64>>) -> Self {
        Self { host_ceiling: host_ceiling.into(), ..self }
    }

    /// Returns it with other [plans](Self::resting) for blocks whose requests have none.
    #[must_use]
    pub fn with_resting(self, resting: Resting) -> Self {
        Self { resting, ..self }
    }

    /// Returns it with another [`initial`](Self::initial) size, in bytes.
    #[must_use]
    pub fn with_initial(self, initial: u64) -> Self {
        Self { initial, ..self }
    }

    /// Returns it with another [`growth`](Self::growth); `None` for what suits the backing.
    #[must_use]
    pub fn with_growth(self, growth: impl Into<Option<Growth>>) -> Self {
        Self { growth: growth.into(), ..self }
    }

    /// Returns it with another [`footprint`](Self::footprint).
    #[must_use]
    pub fn with_footprint(self, footprint: Footprint) -> Self {
        Self { footprint, ..self }
    }

    /// Returns it with another [`batch`](Self::batch).
    #[must_use]
    pub fn with_batch(self, batch: Batch) -> Self {
        Self { batch, ..self }
    }

    /// Returns it with another limit of its [waits on the host](Self::host_wait); `None` for none.
    #[must_use]
    pub fn with_host_wait(self, host_wait: impl Into<Option<Duration>>) -> Self {
        Self { host_wait: host_wait.into(), ..self }
    }

    /// Returns it as one that [trims itself](Self::auto_trim); `None` for only when asked.
    #[must_use]
    pub fn with_auto_trim(self, auto_trim: impl Into<Option<AutoTrim>>) -> Self {
        Self { auto_trim: auto_trim.into(), ..self }
    }

    /// Returns it with another [`placement`](Self::placement).
    #[must_use]
    pub fn with_placement(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    /// Returns it with another [`clock`](Self::clock).
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Returns it with an [`observer`](Self::observer).
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn MemoryObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            ceiling: None,
            host_ceiling: None,
            resting: Resting::Unplanned,
            initial: 0,
            growth: None,
            footprint: Footprint::default(),
            batch: Batch::default(),
            host_wait: None,
            auto_trim: None,
            placement: Placement::default(),
            clock: Arc::new(SystemClock::new()),
            observer: None,
        }
    }
}

impl fmt::Debug for PoolConfig {
    /// Everything but the insides of the clock and the observer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolConfig")
            .field("ceiling", &self.ceiling)
            .field("host_ceiling", &self.host_ceiling)
            .field("resting", &self.resting)
            .field("initial", &self.initial)
            .field("growth", &self.growth)
            .field("footprint", &self.footprint)
            .field("batch", &self.batch)
            .field("host_wait", &self.host_wait)
            .field("auto_trim", &self.auto_trim)
            .field("placement", &self.placement)
            .field("has_observer", &self.observer.is_some())
            .finish_non_exhaustive()
    }
}
