//! A cache that could be dropped fills the device before an overlay starts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmem_core::{BoxedError, DeviceBuffer, Stream};
use vmem_trace::{GenerateError, ReplayOptions, Scale, Workload, WorkloadOptions, replay};

use crate::Row;
use crate::measure::{Job, Place};
use crate::stack::BuiltStack;
use crate::tier::Tier;

/// The device's memory over the overlay's live peak, in quarters.
const DEVICE_QUARTERS: u64 = 5;

/// The cache's entries are this part of the device.
const ENTRIES: u64 = 64;

type Cache = Arc<Mutex<Vec<DeviceBuffer>>>;

/// The overlay beside the cache. The stack of tier A cannot ask for the cache's memory and fails;
/// tier B's drops the cache and asks again.
///
/// # Errors
/// If the overlay cannot be generated at this scale.
pub(super) fn job(tier: Tier, scale: Scale, place: Place) -> Result<Job, GenerateError> {
    let options = WorkloadOptions { scale, seed: place.seed, ..Workload::Overlay.defaults() };
    let trace = Workload::Overlay.generate(&options)?;
    let capacity = (trace.peak_live() / 4 * DEVICE_QUARTERS).next_multiple_of(2 << 20);
    let blank = Row {
        scale: Some(scale.get()),
        passes: trace.passes().max(1),
        meant_to_fail: tier.name == "a",
        ..place.blank("reclaim", tier, capacity)
    };
    Ok(Job::new(blank, move |row| {
        let built = tier.build_on(&place.target, &place.request(capacity))?;
        let stream = Stream::new(built.opened.device.clone())?;
        let cache = fill(&built, capacity / ENTRIES, &stream)?;
        let _registered = built.recovery.reclaimers().register("results", move || {
            let dropped = std::mem::take(&mut *lock(&cache));
            dropped.iter().map(DeviceBuffer::len).sum()
        });
        Ok(row.with_report(replay(&trace, &built, &ReplayOptions::default())?))
    }))
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
