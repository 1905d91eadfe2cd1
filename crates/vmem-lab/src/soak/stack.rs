//! Building a random stack, and looking inside it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use vmem_adaptors::{
    AdaptorExt, Budget, OnFailure, Registration, ScrubHandle, StatsHandle, TrackHandle,
};
use vmem_core::{
    AllocError, AsyncMemory, BlockLayout, BoxedError, Contents, Device, DeviceMemory, DevicePtr,
    Label, ManualClock, MemoryResource, PinnedMemory, ReservationId, ResidencyErrorKind,
    ResourceExt, Stream,
};
use vmem_managed::ManagedMemory;
use vmem_pool::{
    Backing, BinningPool, Chunks, Counters, Pending, Pool, PoolConfig, PoolHandle, VirtualArena,
};
use vmem_runtime::{Reservation, Reservations, ReservationsHandle};
use vmem_testkit::{Finding, Ledger, Probe, SetAside};

use super::cache::{CacheUnderTest, HookBehavior};
use super::room::{has_room, most_when_idle};
use super::shape::{Layer, Source, StackShape, Upstream};

/// A stack with the handles of its parts. Not the program's `BuiltStack`: there may be several of a
/// kind, in any order, and what each must say depends on where it is.
#[derive(Debug)]
pub(super) struct RandomStack {
    pub(super) resource: Arc<dyn MemoryResource>,
    shape: StackShape,
    clock: ManualClock,
    pub(super) pool: PoolHandle,
    /// The pool that the chunks of that one come from.
    below: Option<PoolHandle>,
    budgets: Vec<Budget>,
    counted: Vec<(Place, StatsHandle)>,
    tracked: Vec<(Place, TrackHandle)>,
    reservations: Option<ReservationsHandle>,
    /// With what passes it.
    scrub: Option<(Place, ScrubHandle)>,
    cache: Option<Arc<CacheUnderTest>>,
    _registration: Option<Registration>,
}

/// What passes an adaptor, depending on where in the stack it is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Whether memory that is set aside passes it, rather than what is drawn from it.
    reserved: Below,
    /// Whether the cache's memory passes it.
    cached: Below,
    /// Whether what is freed passes it only once it is cleared.
    cleared: Below,
}

/// Whether an adaptor is below another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Yes,
    No,
}

/// Puts something between the pool and what is around it: [`nothing`], unless the soak itself is
/// being tested.
pub(super) type Wrap = dyn Fn(Arc<dyn MemoryResource>, &Arc<dyn Device>) -> Arc<dyn MemoryResource>;

/// The pool as it is.
pub(super) fn nothing(
    pool: Arc<dyn MemoryResource>,
    _: &Arc<dyn Device>,
) -> Arc<dyn MemoryResource> {
    pool
}

impl RandomStack {
    /// # Errors
    /// What refused to be built.
    pub(super) fn build(
        shape: &StackShape,
        device: Arc<dyn Device>,
        behavior: HookBehavior,
        wrap: &Wrap,
    ) -> Result<Self, BoxedError> {
        let clock = ManualClock::new();
        let (pool, handle, below_it) = pool(shape, &device, &clock)?;
        let mut stack = Self {
            resource: wrap(pool, &device),
            shape: shape.clone(),
            clock: clock.clone(),
            pool: handle,
            below: below_it,
            budgets: Vec::new(),
            counted: Vec::new(),
            tracked: Vec::new(),
            reservations: None,
            scrub: None,
            cache: None,
            _registration: None,
        };
        for (i, layer) in shape.layers.iter().enumerate() {
            let place = Place {
                reserved: below(&shape.layers, i, Layer::Reservations),
                cached: below(&shape.layers, i, Layer::OnFailure),
                cleared: below(&shape.layers, i, Layer::Scrub),
            };
            let resource = stack.resource;
            stack.resource = match layer {
                Layer::Limit => {
                    let budget = Budget::new(u64::MAX);
                    stack.budgets.push(budget.clone());
                    resource.limited(budget).into_dyn()
                }
                Layer::Statistics => {
                    let counted = resource.with_statistics();
                    stack.counted.push((place, counted.handle()));
                    counted.into_dyn()
                }
                Layer::Track => {
                    let tracked = resource.tracked();
                    stack.tracked.push((place, tracked.handle()));
                    tracked.into_dyn()
                }
                Layer::OnFailure => {
                    let cache = CacheUnderTest::new(device.clone(), Arc::new(stack.pool.clone()));
                    let (hook, registration) = cache.hook(behavior);
                    let clock = Arc::new(clock.clone());
                    let recovering = OnFailure::new(resource, hook).with_clock(clock).into_dyn();
                    cache.open(recovering.clone());
                    stack.cache = Some(cache);
                    stack._registration = Some(registration);
                    recovering
                }
                Layer::Reservations => {
                    let reserving = Reservations::new(resource);
                    stack.reservations = Some(reserving.handle());
                    reserving.into_dyn()
                }
                Layer::Scrub => {
                    let scrubbed = resource.scrubbed()?;
                    stack.scrub = Some((place, scrubbed.handle()));
                    scrubbed.into_dyn()
                }
            };
        }
        Ok(stack)
    }
}

/// Whether the adaptor at `place` is below the only one of a kind; without one it is not.
fn below(layers: &[Layer], place: usize, kind: Layer) -> Below {
    match layers.iter().position(|&layer| layer == kind) {
        Some(other) if place < other => Below::Yes,
        _ => Below::No,
    }
}

/// A pool, its handle, and that of the pool below it.
type Pools = (Arc<dyn MemoryResource>, PoolHandle, Option<PoolHandle>);

fn pool(
    shape: &StackShape,
    device: &Arc<dyn Device>,
    clock: &ManualClock,
) -> Result<Pools, BoxedError> {
    fn erased<B: Backing>(pool: Pool<B>, below: Option<PoolHandle>) -> Pools {
        let handle = pool.handle();
        (pool.into_dyn(), handle, below)
    }
    let config = PoolConfig::default()
        .with_ceiling(shape.ceiling)
        .with_growth(shape.growth)
        .with_footprint(shape.footprint)
        .with_batch(shape.batch)
        .with_host_wait(shape.host_wait)
        .with_auto_trim(shape.auto_trim)
        .with_placement(shape.placement)
        .with_clock(Arc::new(clock.clone()));
    let arena = || VirtualArena::new(device.clone());
    Ok(match shape.source {
        Source::Arena => erased(Pool::new(arena()?, config)?, None),
        Source::Bins => {
            let upstream = DeviceMemory::new(device.clone());
            let pool = BinningPool::new(upstream, config)?;
            let handle = pool.handle();
            (pool.into_dyn(), handle, None)
        }
        Source::Chunks(upstream) => {
            let mut below = None;
            let upstream = match upstream {
                Upstream::Device => DeviceMemory::new(device.clone()).into_dyn(),
                Upstream::Async => AsyncMemory::new(device.clone())?.into_dyn(),
                Upstream::Pinned => PinnedMemory::new(device.clone())?.into_dyn(),
                Upstream::Managed => ManagedMemory::new(device.clone())?.into_dyn(),
                Upstream::Arena => {
                    let config = PoolConfig::default().with_clock(config.clock.clone());
                    let pool = Pool::new(arena()?, config)?;
                    below = Some(pool.handle());
                    pool.into_dyn()
                }
            };
            erased(Pool::new(Chunks::new(upstream), config)?, below)
        }
    })
}

impl RandomStack {
    /// What the pool did; all zero once it is gone.
    pub(super) fn counters(&self) -> Counters {
        self.pool.counters().unwrap_or_default()
    }

    /// The largest request that the stack must serve when nothing is live and no work is pending:
    /// lifts all limits.
    pub(super) fn most_when_idle(&self) -> u64 {
        self.budgets.iter().for_each(|budget| budget.set_limit(u64::MAX));
        most_when_idle(&self.shape)
    }

    /// Whether what is freed is cleared before it goes to the pool.
    pub(super) fn clears_freed(&self) -> bool {
        self.scrub.is_some()
    }

    /// Empties the cache, if there is one.
    pub(super) fn give_up_cache(&self) {
        if let Some(cache) = &self.cache {
            cache.give_up();
        }
    }

    /// Blocks and bytes that pass a place, and how much more it may be.
    fn expected(&self, ledger: &Ledger, place: Place) -> ([u64; 2], [u64; 2]) {
        let mut blocks = ledger.blocks;
        let mut bytes = ledger.bytes;
        if place.reserved == Below::Yes {
            blocks = blocks - ledger.drawn_blocks + ledger.held;
            bytes = bytes - ledger.drawn_bytes + ledger.held_bytes;
        }
        let mut lost = [ledger.leaked_blocks, ledger.leaked_bytes];
        if let (Some(reservations), Below::Yes) = (&self.reservations, place.reserved) {
            // Held although dropped, because of what was freed where it cannot be followed.
            let aside = reservations.quarantined().unwrap_or_default();
            lost = [lost[0] + aside.blocks as u64, lost[1] + aside.bytes];
        }
        if place.cleared == Below::Yes {
            lost = lost.map(|most| most + self.uncleared());
        }
        if let (Some(cache), Below::Yes) = (&self.cache, place.cached) {
            blocks += cache.len();
            bytes += cache.bytes();
            // A lost buffer has at least one byte.
            lost = lost.map(|most| most + cache.lost());
        }
        ([blocks, bytes], lost)
    }
}

impl RandomStack {
    /// The most bytes, and so blocks, that are freed and not cleared yet, with what they hold on to: a
    /// block drawn from memory that was set aside keeps all of that.
    fn uncleared(&self) -> u64 {
        let Some((place, handle)) = &self.scrub else { return 0 };
        let quarantined = handle.quarantined().unwrap_or_default();
        let is_above_reservations = self.reservations.is_some() && place.reserved == Below::No;
        if is_above_reservations && quarantined.blocks != 0 {
            StackShape::CAPACITY
        } else {
            quarantined.bytes
        }
    }
}

/// Compares one figure with what it must be.
fn agrees(who: &dyn Display, figure: u64, expected: u64, lost: u64) -> Result<(), Finding> {
    if (expected..=expected + lost).contains(&figure) {
        return Ok(());
    }
    Err(Finding::new(format!("{who} says {figure} instead of {expected}")))
}

impl Probe for RandomStack {
    fn check_invariants(&self) {
        self.pool.check_invariants();
    }

    fn check_figures(&self, ledger: &Ledger) -> Result<(), Finding> {
        if let Some(wrong) = self.cache.as_ref().and_then(|cache| cache.wrong()) {
            return Err(Finding::new(wrong.clone()));
        }
        let innermost = Place {
            reserved: if self.reservations.is_some() { Below::Yes } else { Below::No },
            cached: Below::Yes,
            cleared: if self.scrub.is_some() { Below::Yes } else { Below::No },
        };
        let ([blocks, bytes], [lost_blocks, lost_bytes]) = self.expected(ledger, innermost);
        let pool = self.counters();
        agrees(&"the pool's live bytes", pool.live, bytes, lost_bytes)?;
        agrees(&"the pool's live blocks", pool.allocations - pool.frees, blocks, lost_blocks)?;
        for (place, handle) in &self.counted {
            let ([blocks, bytes], [lost_blocks, lost_bytes]) = self.expected(ledger, *place);
            let stats = handle.stats().unwrap_or_default();
            let current = |tally: i64| u64::try_from(tally).unwrap_or(u64::MAX);
            agrees(&"statistics of bytes", current(stats.bytes.current), bytes, lost_bytes)?;
            agrees(&"statistics of blocks", current(stats.blocks.current), blocks, lost_blocks)?;
        }
        for (place, handle) in &self.tracked {
            let ([blocks, _], [lost, _]) = self.expected(ledger, *place);
            agrees(&"the list of blocks", handle.outstanding().unwrap_or(0) as u64, blocks, lost)?;
        }
        Ok(())
    }

    /// Not while blocks rest on the host: what is live is not all on the device then.
    fn reserved_bytes(&self) -> Option<u64> {
        let counters = self.counters();
        (counters.on_host == 0).then_some(counters.reserved)
    }

    fn ceiling(&self) -> Option<u64> {
        self.reserved_bytes().and_then(|_| self.pool.capacity()?.ceiling)
    }

    fn has_room_for(&self, layout: BlockLayout) -> bool {
        self.pool.snapshot().is_some_and(|snapshot| has_room(&self.shape, &snapshot, layout))
    }

    fn cached_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.bytes() + cache.lost()) + self.uncleared()
    }

    fn trim(&self) {
        // Nothing else moves the clock, so that what depends on time happens too.
        self.clock.advance(Duration::from_secs(2));
        // It fails only if the driver does, which programs with a fault let it.
        let _ = self.pool.try_trim(0);
    }

    fn synchronize(&self) {
        // Twice, as each may give the other what that has to set aside.
        for _ in 0..2 {
            if let Some((_, scrub)) = &self.scrub {
                let _ = scrub.synchronize();
            }
            if let Some(reservations) = &self.reservations {
                let _ = reservations.synchronize();
            }
        }
        let _ = self.pool.synchronize();
        if let Some(below) = &self.below {
            let _ = below.synchronize();
        }
    }

    #[expect(unsafe_code, reason = "moving live memory is a promise about its uses")]
    fn rest(&self, label: Option<Label>, wakes: bool) {
        let mut done = match wakes {
            // SAFETY: programs queue nothing meanwhile; what is pending is waited for.
            true => unsafe { self.pool.wake(label, Pending::Wait) },
            // SAFETY: as above.
            false => unsafe { self.pool.sleep(label, Contents::Kept, Pending::Wait) },
        };
        // All blocks are to be usable afterwards, also those that two failures displaced.
        while done.is_err_and(|error| error.kind() == ResidencyErrorKind::Split) {
            // SAFETY: as above.
            done = unsafe { self.pool.wake(None, Pending::Wait) };
        }
    }

    fn cleared(&self) -> Option<u8> {
        self.scrub.is_some().then_some(StackShape::UNWRITTEN)
    }

    fn fill_cache(&self, bytes: u64, stream: &Stream) {
        if let Some(cache) = &self.cache {
            cache.take(bytes, stream);
        }
    }

    fn set_limit(&self, bytes: u64) -> bool {
        if bytes == 0 {
            return false;
        }
        self.budgets.iter().for_each(|budget| budget.set_limit(bytes));
        !self.budgets.is_empty()
    }

    fn reserve(
        &self,
        bytes: u64,
        stream: &Stream,
    ) -> Option<Result<Box<dyn SetAside>, AllocError>> {
        let reserved = self.reservations.as_ref()?.reserve(bytes, stream);
        Some(reserved.map(|reservation| Box::new(Reserved(reservation)) as Box<dyn SetAside>))
    }
}

/// A runtime's reservation, as the test kit knows one.
#[derive(Debug)]
struct Reserved(Reservation);

impl SetAside for Reserved {
    fn id(&self) -> ReservationId {
        self.0.id()
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn largest(&self) -> u64 {
        self.0.largest()
    }

    fn contains(&self, ptr: DevicePtr) -> bool {
        self.0.contains(ptr)
    }
}
