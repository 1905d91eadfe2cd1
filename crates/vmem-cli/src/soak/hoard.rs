//! A cache in front of a stack, which gives its memory up when the stack runs out.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_adaptors::{Answer, Failure, Reclaimers, Registration};
use vmem_core::{Device, DeviceBuffer, MemoryResource, ResourceExt, Stream};

type Buffer = DeviceBuffer<Arc<dyn MemoryResource>>;

/// What the hook does besides asking the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// It makes and drops a buffer of the same stack.
    Allocates,
    /// So it does, and every third call unwinds.
    Panics,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Hoard {
    device: Arc<dyn Device>,
    /// What it allocates from: the adaptor whose hook it answers, once that is built.
    resource: OnceLock<Arc<dyn MemoryResource>>,
    buffers: Mutex<Vec<Buffer>>,
    calls: AtomicU64,
    /// Bytes whose free failed in a drop.
    lost: AtomicU64,
}

/// The most that the cache takes, in bytes.
const MOST: u64 = 2 << 20;

impl Hoard {
    pub(super) fn new(device: Arc<dyn Device>) -> Arc<Self> {
        Arc::new(Self {
            device,
            resource: OnceLock::new(),
            buffers: Mutex::default(),
            calls: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// Allocates from `resource` from now on, which lives until [`close`](Self::close).
    pub(super) fn open(&mut self, resource: Arc<dyn MemoryResource>) {
        self.resource = OnceLock::from(resource);
    }

    /// Puts the cache on a list.
    pub(super) fn register(self: &Arc<Self>, list: &Reclaimers) -> Registration {
        let this = Arc::downgrade(self);
        list.register("hoard", move || this.upgrade().map_or(0, |hoard| hoard.give_up()))
    }
}

#[cfg(any())]
mod never {}

fn _unused(_: &Failure<'_>, _: Answer, _: Stream) {}
