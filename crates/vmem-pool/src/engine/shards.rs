//! The shards of a pool's space, each behind a lock of its own.

use std::sync::TryLockError;
use vmem_core::author::fork;

use crate::lanes::Found;
use crate::space::{Fit, SHARDS, Shard, Space};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Up to [`SHARDS`] shards, of which the first is always in use.
#[derive(Debug)]
pub(super) struct Shards {
    count: AtomicUsize,
    shards: Box<[Lock]>,
}

/// A lock that shares no cache line with another one.
#[derive(Debug)]
#[repr(align(128))]
struct Lock(Mutex<Shard>);

impl Shards {
    pub(super) fn new(fit: Fit) -> Self {
        let lock = |number| Lock(Mutex::new(Shard::new(number, fit)));
        Self { count: AtomicUsize::new(1), shards: (0..SHARDS).map(lock).collect() }
    }

    /// How many are in use.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Locks all that are in use, in the order of their numbers. The caller holds the lock under
    /// which another one comes into use.
    pub(super) fn lock_all(&self) -> Space<MutexGuard<'_, Shard>> {
        let others = (1..self.count()).map(|number| self.lock(number)).collect();
        Space::new(self.lock(0), others)
    }

    /// Locks one, and says how it was found.
    #[inline]
    pub(super) fn enter(&self, number: usize) -> (MutexGuard<'_, Shard>, Found) {
        match self.shards[number].0.try_lock() {
            Ok(shard) => (shard, Found::Free),
            Err(TryLockError::Poisoned(poisoned)) => (poisoned.into_inner(), Found::Free),
            Err(TryLockError::WouldBlock) => (self.lock(number), Found::Taken),
        }
    }

    /// Takes another one into use. Returns its number, or `None` if all are.
    pub(super) fn add<'a>(&'a self, space: &mut Space<MutexGuard<'a, Shard>>) -> Option<usize> {
        let number = self.count();
        if number == SHARDS {
            return None;
        }
        space.push(self.lock(number));
        self.count.store(number + 1, Ordering::Release);
        Some(number)
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, Shard> {
        // A panic under the lock is a bug in the pool's own arithmetic; the tests look for them.
        fork::locked(|| self.shards[number].0.lock())
    }
}
