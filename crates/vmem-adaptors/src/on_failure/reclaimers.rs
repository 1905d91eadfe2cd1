//! Caches that can give memory back.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use vmem_core::author::fork;

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
    reclaim: Arc<dyn Fn(u64) -> u64 + Send + Sync>,
}

impl Reclaimers {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a cache, until the returned registration is dropped. `reclaim` frees what the cache
    /// can spare and returns how many bytes that was; [`register_with`](Self::register_with) tells it
    /// how many are wanted. It is called on whatever thread runs short, with no lock of vmem held; a
    /// call in progress when the registration is dropped still ends.
    #[must_use = "the cache is registered until the registration is dropped"]
    pub fn register(
        &self,
        name: impl Into<Arc<str>>,
        reclaim: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Registration {
        self.register_with(name, move |_| reclaim())
    }

    /// Like [`register`](Self::register), for a cache that is told how many bytes are wanted: what
    /// is still missing of the request, or [`u64::MAX`] for all that the cache can spare. A cache
    /// that frees less, one entry say, is asked again as long as that is too little.
    #[must_use = "the cache is registered until the registration is dropped"]
    pub fn register_with(
        &self,
        name: impl Into<Arc<str>>,
        reclaim: impl Fn(u64) -> u64 + Send + Sync + 'static,
    ) -> Registration {
        let reclaimer = Reclaimer { name: name.into(), reclaim: Arc::new(reclaim) };
        let registration =
            Registration { list: Arc::downgrade(&self.list), reclaimer: reclaimer.clone() };
        lock(&self.list).push(reclaimer);
        registration
    }

    /// Calls the caches in order, each once, until they have freed at least `bytes` bytes in all, and
    /// returns how many they freed. With [`u64::MAX`] every cache is asked for all it can spare.
    pub fn reclaim(&self, bytes: u64) -> u64 {
        let caches = lock(&self.list).clone();
        let mut freed = 0_u64;
        for Reclaimer { name, reclaim } in caches {
            if freed >= bytes {
                break;
            }
            let missing = if bytes == u64::MAX { bytes } else { bytes - freed };
            let by_this = reclaim(missing);
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

    /// A hook for [`OnFailure`](crate::OnFailure). It reclaims what is missing of the request's size,
    /// call by call, and once that much was freed and did not help, because it does not adjoin, all
    /// there is. Gives up once nothing is freed any more.
    pub fn hook(&self) -> impl Fn(&Failure<'_>) -> Answer + Clone + Send + Sync + 'static {
        let this = self.clone();
        move |failure| {
            let size = failure.error.layout().map_or(u64::MAX, |layout| layout.size());
            let wanted = match size.saturating_sub(failure.freed) {
                0 => u64::MAX,
                missing => missing,
            };
            match this.reclaim(wanted) {
                0 => Answer::GiveUp,
                freed => Answer::Freed(freed),
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
        if fork::is_child() {
            return;
        }
        if let Some(list) = self.list.upgrade() {
            lock(&list).retain(|other| !Arc::ptr_eq(&other.reclaim, &self.reclaimer.reclaim));
        }
    }
}

fn lock(list: &Mutex<Vec<Reclaimer>>) -> MutexGuard<'_, Vec<Reclaimer>> {
    fork::locked(|| list.lock())
}
