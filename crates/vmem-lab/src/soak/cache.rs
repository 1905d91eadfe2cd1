//! A cache in front of a stack, which gives its memory up when the stack runs out.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use vmem_adaptors::{Answer, Failure, Reclaimers, Registration};
use vmem_core::{Device, DeviceBuffer, MemoryResource, Stream};

type Buffer = DeviceBuffer<Arc<dyn MemoryResource>>;

/// What the hook does besides asking the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookBehavior {
    /// It makes a buffer of the same stack and drops it.
    Allocates,
    /// The same, and every third call unwinds.
    Panics,
}

/// The cache. It keeps the stack alive that it allocates from.
#[derive(Debug)]
pub(super) struct CacheUnderTest {
    device: Arc<dyn Device>,
    /// The adaptor whose hook it answers.
    resource: OnceLock<Arc<dyn MemoryResource>>,
    buffers: Mutex<Vec<Buffer>>,
    /// Bytes whose free failed in a drop.
    lost: AtomicU64,
}

/// The most that the cache takes, in bytes.
pub(super) const MOST: u64 = 2 << 20;

impl CacheUnderTest {
    pub(super) fn new(device: Arc<dyn Device>) -> Arc<Self> {
        Arc::new(Self {
            device,
            resource: OnceLock::new(),
            buffers: Mutex::default(),
            lost: AtomicU64::new(0),
        })
    }

    /// A hook for the adaptor that [`open`](Self::open) is then told of, and the cache's place on
    /// the list behind it.
    pub(super) fn hook(
        self: &Arc<Self>,
        behavior: HookBehavior,
    ) -> (impl Fn(&Failure<'_>) -> Answer + Send + Sync + use<>, Registration) {
        let (list, calls) = (Reclaimers::new(), AtomicU64::new(0));
        let (this, cache) = (Arc::downgrade(self), Arc::downgrade(self));
        let give_up = move || cache.upgrade().map_or(0, |cache| cache.give_up());
        let registration = list.register("cache", give_up);
        let hook = move |failure: &Failure<'_>| {
            let reclaim = list.hook();
            scratch(&this, failure.stream);
            let call = calls.fetch_add(1, Ordering::Relaxed);
            if behavior == HookBehavior::Panics && call % 3 == 2 {
                // Not `panic!`: what is on purpose should not be reported.
                resume_unwind(Box::new(Unwound));
            }
            reclaim(failure)
        };
        (hook, registration)
    }

    pub(super) fn open(&self, resource: Arc<dyn MemoryResource>) {
        self.resource.set(resource).expect("a cache is opened once");
    }

    /// Takes a buffer, unless it has enough or the stack refuses.
    pub(super) fn take(&self, bytes: u64, stream: &Stream) {
        if let Some(resource) = self.resource.get()
            && self.bytes() + bytes <= MOST
            && let Ok(buffer) = DeviceBuffer::new(resource.clone(), bytes, stream)
        {
            self.lock().push(buffer);
        }
    }

    /// Frees all it has. Returns how much that was, in bytes.
    pub(super) fn give_up(&self) -> u64 {
        let buffers = std::mem::take(&mut *self.lock());
        buffers.into_iter().map(|buffer| self.drop_one(buffer)).sum()
    }

    fn drop_one(&self, buffer: Buffer) -> u64 {
        let (bytes, failures) = (buffer.capacity(), self.device.base().drop_failures());
        let before = failures.count();
        drop(buffer);
        if failures.count() > before {
            self.lost.fetch_add(bytes, Ordering::Relaxed);
        }
        bytes
    }

    /// How much it holds, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().iter().map(DeviceBuffer::capacity).sum()
    }

    /// How many buffers it holds.
    pub(super) fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Bytes that may have been lost in failed drops.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a hook's panic carries.
#[derive(Debug)]
pub(super) struct Unwound;

/// A hook that allocates from the stack whose failure it is told of.
fn scratch(cache: &Weak<CacheUnderTest>, stream: &Stream) {
    if let Some(cache) = cache.upgrade()
        && let Some(resource) = cache.resource.get()
        && let Ok(buffer) = DeviceBuffer::new(resource.clone(), 64, stream)
    {
        cache.drop_one(buffer);
    }
}
