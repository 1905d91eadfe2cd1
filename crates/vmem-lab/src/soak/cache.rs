//! A cache in front of a stack, which moves its memory to the host or gives it up when the stack runs out.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use vmem_adaptors::{Answer, Failure, Reclaimers, Registration, Spill, Spillable};
use vmem_core::{Device, DeviceBuffer, MemoryResource, Residency, Stream};

use super::shape::StackShape;

/// A buffer that may rest on the host, and what it holds.
#[derive(Debug)]
struct Kept {
    buffer: Spillable<DeviceBuffer>,
    bytes: u64,
    /// `None` where the driver failed to write it.
    holds: Option<u8>,
}

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
    spill: Spill,
    buffers: Mutex<Vec<Kept>>,
    /// Buffers so far.
    taken: AtomicU64,
    /// The first wrong byte.
    wrong: OnceLock<String>,
    /// Bytes whose free failed in a drop.
    lost: AtomicU64,
}

/// What its buffers hold: what passes for cleared, since an adaptor that clears may be above it.
const BYTES: [u8; 2] = [0, StackShape::UNWRITTEN];

/// The most that the cache takes, in bytes.
pub(super) const MOST: u64 = 2 << 20;

impl CacheUnderTest {
    /// A cache of blocks that `residency` may move.
    pub(super) fn new(device: Arc<dyn Device>, residency: Arc<dyn Residency>) -> Arc<Self> {
        Arc::new(Self {
            device,
            resource: OnceLock::new(),
            spill: Spill::new(residency),
            buffers: Mutex::default(),
            taken: AtomicU64::new(0),
            wrong: OnceLock::new(),
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
            match this.upgrade().map_or(0, |cache| cache.spill.demote(u64::MAX)) {
                0 => reclaim(failure),
                freed => Answer::Freed(freed),
            }
        };
        (hook, registration)
    }

    pub(super) fn open(&self, resource: Arc<dyn MemoryResource>) {
        self.resource.set(resource).expect("a cache is opened once");
    }

    /// Takes a buffer, unless it has enough or the stack refuses, and looks at one that it has.
    pub(super) fn take(&self, bytes: u64, stream: &Stream) {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(resource) = self.resource.get()
            && self.bytes() + bytes <= MOST
            && let Ok(mut buffer) = DeviceBuffer::new(resource.clone(), bytes, stream)
        {
            let byte = BYTES[usize::from(number % 2 == 1)];
            let holds = buffer.fill(0..bytes, byte).is_ok().then_some(byte);
            self.lock().push(Kept { buffer: self.spill.adopt(buffer), bytes, holds });
        }
        let mut buffers = self.lock();
        let len = buffers.len() as u64;
        let one = number.checked_rem(len).and_then(|one| usize::try_from(one).ok());
        if let Some(kept) = one.and_then(|one| buffers.get_mut(one)) {
            self.look_at(kept, stream);
        }
    }

    /// Compares what a buffer holds with what it is to hold, and leases it on another stream.
    fn look_at(&self, kept: &mut Kept, stream: &Stream) {
        let Kept { buffer, holds: Some(byte), .. } = kept else { return };
        // The driver, or a stream that this thread cannot name, may refuse.
        if let Ok(Ok(found)) = buffer.with(|buffer| buffer.to_vec())
            && let Some(at) = found.iter().position(|found| found != byte)
        {
            let _ = self.wrong.set(format!("byte {at} of a cache's buffer is not {byte}"));
        }
        drop(buffer.lease(stream));
    }

    /// The first wrong byte that a buffer had.
    pub(super) fn wrong(&self) -> Option<&String> {
        self.wrong.get()
    }

    /// Frees all it has. Returns how much that was, in bytes.
    pub(super) fn give_up(&self) -> u64 {
        let buffers = std::mem::take(&mut *self.lock());
        buffers.into_iter().map(|kept| self.drop_one(kept.buffer, kept.bytes)).sum()
    }

    fn drop_one<T>(&self, buffer: T, bytes: u64) -> u64 {
        let failures = self.device.base().drop_failures();
        let before = failures.count();
        drop(buffer);
        if failures.count() > before {
            self.lost.fetch_add(bytes, Ordering::Relaxed);
        }
        bytes
    }

    /// How much it holds, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().iter().map(|kept| kept.bytes).sum()
    }

    /// How many buffers it holds.
    pub(super) fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Bytes that may have been lost in failed drops.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
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
        let bytes = buffer.capacity();
        cache.drop_one(buffer, bytes);
    }
}
