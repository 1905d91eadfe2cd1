//! Caches that can give memory back.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Answer, Failure};

/// An ordered list of caches that give memory back when it is short. Clones are the same list.
///
/// ```
/// use std::sync::Mutex;
/// use vmem_adaptors::{AdaptorExt, Budget, Reclaimers};
/// use vmem_core::{DeviceBuffer, DeviceMemory, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let reclaimers = Reclaimers::new();
/// let limited = DeviceMemory::new(device).limited(Budget::new(1000));
/// let memory = limited.on_failure(reclaimers.hook()).into_dyn();
///
/// let cache = std::sync::Arc::new(Mutex::new(vec![DeviceBuffer::new(memory.clone(), 800, &stream)?]));
/// let registration = {
///     let cache = cache.clone();
///     reclaimers.register("tiles", move || {
///         let dropped = std::mem::take(&mut *cache.lock().unwrap());
///         dropped.iter().map(DeviceBuffer::len).sum()
///     })
/// };
///
/// let buffer = memory.buffer(500, &stream)?;
/// assert!(cache.lock().unwrap().is_empty());
/// # drop(registration);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Reclaimers {
    list: Arc<Mutex<Vec<Reclaimer>>>,
}

#[derive(Clone)]
struct Reclaimer {
    name: Arc<str>,
    reclaim: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Reclaimers {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a cache, until the returned registration is dropped. `reclaim` frees what the cache
    /// can spare and returns how many bytes that was. It is called on whatever thread runs short,
    /// with no lock of vmem held; a call in progress when the registration is dropped still ends.
    #[must_use = "the cache is registered until the registration is dropped"]
    pub fn register(
        &self,
        name: impl Into<Arc<str>>,
        reclaim: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Registration {
        let reclaimer = Reclaimer { name: name.into(), reclaim: Arc::new(reclaim) };
        let registration =
            Registration { list: Arc::downgrade(&self.list), reclaimer: reclaimer.clone() };
        lock(&self.list).push(reclaimer);
        registration
    }

    /// Calls the caches in order until they have freed at least `bytes` bytes in all, and returns
    /// how many they freed.
    pub fn reclaim(&self, bytes: u64) -> u64 {
        let caches = lock(&self.list).clone();
        let mut freed = 0_u64;
        for Reclaimer { name, reclaim } in caches {
            if freed >= bytes {
                break;
            }
            let by_this = reclaim();
            tracing::debug!(cache = &*name, freed = by_this, "reclaimed");
            freed = freed.saturating_add(by_this);
        }
        freed
    }

    /// The names of the registered caches, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        let list = lock(&self.list);
        list.iter().map(|reclaimer| reclaimer.name.clone()).collect()
    }

    /// A hook for [`OnFailure`](crate::OnFailure). The first call for a request reclaims its size;
    /// if that did not help, because the bytes freed do not adjoin, later calls reclaim all there
    /// is. Gives up once nothing is freed any more.
    pub fn hook(&self) -> impl Fn(&Failure<'_>) -> Answer + Clone + Send + Sync + 'static {
        let this = self.clone();
        move |failure| {
            let size = failure.error.layout().map_or(u64::MAX, |layout| layout.size());
            let bytes = if failure.attempt == 1 { size } else { u64::MAX };
            match this.reclaim(bytes) {
                0 => Answer::GiveUp,
                _ => Answer::Retry,
            }
        }
    }
}

impl fmt::Debug for Reclaimers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reclaimers").field(&self.names()).finish()
    }
}

/// A cache's place in a list of [`Reclaimers`]; dropping it takes the cache off the list.
#[must_use = "the cache is registered until the registration is dropped"]
pub struct Registration {
    list: Weak<Mutex<Vec<Reclaimer>>>,
    reclaimer: Reclaimer,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.reclaimer.name).finish()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(list) = self.list.upgrade() {
            lock(&list).retain(|other| !Arc::ptr_eq(&other.reclaim, &self.reclaimer.reclaim));
        }
    }
}

fn lock(list: &Mutex<Vec<Reclaimer>>) -> MutexGuard<'_, Vec<Reclaimer>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
