//! The shards of a pool's space, each behind a lock of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use crate::space::{Fit, SHARDS, Shard, Space};

/// Up to [`SHARDS`] shards, made one by one. The first one is always there.
#[derive(Debug)]
pub(super) struct Shards {
    count: AtomicUsize,
    shards: [OnceLock<Box<Lock>>; SHARDS],
}

/// A lock that shares no cache line with another one.
#[derive(Debug)]
#[repr(align(128))]
struct Lock(Mutex<Shard>);

impl Shards {
    pub(super) fn new(fit: Fit) -> Self {
        let shards =
            Self { count: AtomicUsize::new(0), shards: [const { OnceLock::new() }; SHARDS] };
        shards.insert(Shard::new(0, fit));
        shards
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Locks all of them, in the order of their numbers. The caller holds the lock under which new
    /// ones are added.
    pub(super) fn lock_all(&self) -> Space<MutexGuard<'_, Shard>> {
        let others = (1..self.count()).map(|number| self.lock(number)).collect();
        Space::new(self.lock(0), others)
    }

    /// Locks one, if there is one of this number. Says whether it was found taken.
    #[inline]
    pub(super) fn enter(&self, number: usize) -> Option<(MutexGuard<'_, Shard>, bool)> {
        let Lock(shard) = &**self.shards.get(number)?.get()?;
        match shard.try_lock() {
            Ok(shard) => Some((shard, false)),
            Err(TryLockError::Poisoned(poisoned)) => Some((poisoned.into_inner(), false)),
            Err(TryLockError::WouldBlock) => Some((self.lock(number), true)),
        }
    }

    /// Adds a shard to a space that is wholly locked. Returns its number, or `None` if there can be
    /// no more.
    pub(super) fn add<'a>(&'a self, space: &mut Space<MutexGuard<'a, Shard>>) -> Option<usize> {
        let number = self.count();
        if number == SHARDS {
            return None;
        }
        self.insert(space.empty_shard(number));
        space.push(self.lock(number));
        Some(number)
    }

    fn insert(&self, shard: Shard) {
        let number = self.count();
        let new = self.shards[number].set(Box::new(Lock(Mutex::new(shard))));
        debug_assert!(new.is_ok(), "shards are made in order");
        self.count.store(number + 1, Ordering::Release);
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, Shard> {
        let Lock(shard) = &**self.shards[number].get().expect("shards are made in order");
        // A panic under the lock is a bug in the pool's own arithmetic; the tests look for them.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
