//! A cache that could be dropped fills the device before an overlay starts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmem_core::{BoxedError, DeviceBuffer, Stream};
use vmem_trace::{GenerateError, ReplayOptions, Scale, Trace, Workload, WorkloadOptions, replay};

use crate::Row;
use crate::measure::{Job, Place};
use crate::stack::BuiltStack;
use crate::tier::Tier;

/// The device's memory over the overlay's live peak, in quarters.
const DEVICE_QUARTERS: u64 = 5;

/// The cache's entries are this part of the device.
const ENTRIES: u64 = 64;

/// The overlay beside the cache. The stack of tier A cannot ask for the cache's memory and fails;
/// tier B's drops the cache and asks again.
#[derive(Debug)]
pub(crate) struct Reclaim {
    tier: Tier,
    scale: Scale,
    place: Place,
    trace: Trace,
}

type Cache = Arc<Mutex<Vec<DeviceBuffer>>>;

impl Reclaim {
    /// # Errors
    /// If the overlay cannot be generated at this scale.
    pub(crate) fn new(tier: Tier, scale: Scale, place: Place) -> Result<Self, GenerateError> {
        let seed = place.seed;
        let options = WorkloadOptions { scale, seed, ..Workload::Overlay.defaults() };
        Ok(Self { tier, scale, place, trace: Workload::Overlay.generate(&options)? })
    }

    fn capacity(&self) -> u64 {
        (self.trace.peak_live() / 4 * DEVICE_QUARTERS).next_multiple_of(2 << 20)
    }

    fn run(&self, row: Row) -> Result<Row, BoxedError> {
        let request = self.place.request(self.capacity());
        let built = self.tier.build_on(&self.place.target, &request)?;
        let stream = Stream::new(built.opened.device.clone())?;
        let cache = fill(&built, self.capacity() / ENTRIES, &stream)?;
        let victims = cache.clone();
        let _registered = built.recovery.reclaimers().register("results", move || {
            let dropped = std::mem::take(&mut *lock(&victims));
            dropped.iter().map(DeviceBuffer::len).sum()
        });
        let report = replay(&self.trace, &built, &ReplayOptions::default())?;
        Ok(row.with_report(report))
    }
}

/// Allocates entries until the device is full.
fn fill(built: &BuiltStack, entry: u64, stream: &Stream) -> Result<Cache, BoxedError> {
    let cache = Cache::default();
    for _ in 0..ENTRIES - 1 {
        let buffer = DeviceBuffer::new(built.resource.clone(), entry, stream)?;
        lock(&cache).push(buffer);
    }
    Ok(cache)
}

fn lock(cache: &Cache) -> MutexGuard<'_, Vec<DeviceBuffer>> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job for Reclaim {
    fn measure(&self) -> Row {
        let row = Row {
            scale: Some(self.scale.get()),
            passes: self.trace.passes().max(1),
            meant_to_fail: self.tier.name == "a",
            ..self.place.blank("reclaim", self.tier, self.capacity())
        };
        self.run(row.clone()).unwrap_or_else(|error| Row {
            failures: 1,
            // Not the failure that the scenario is about.
            meant_to_fail: false,
            failure: Some(error.to_string()),
            ..row
        })
    }
}

impl fmt::Display for Reclaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reclaim on {}", self.tier)
    }
}
