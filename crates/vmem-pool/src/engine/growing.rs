//! The lock under which a pool takes memory from its backing and returns it, which a hook below the
//! pool finds refused rather than waits for.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use vmem_core::{BoxedError, ResourceId};

use super::State;
use crate::Counters;
use crate::supply::Way;
use crate::sync::MutexGuard;

#[cfg(not(loom))]
thread_local! {
    static GROWING: RefCell<Vec<ResourceId>> = const { RefCell::new(Vec::new()) };
}

#[cfg(loom)]
loom::thread_local! {
    static GROWING: RefCell<Vec<ResourceId>> = RefCell::new(Vec::new());
}

/// The lock, held by this thread.
pub(crate) struct Growing<'a, H> {
    pool: ResourceId,
    held: MutexGuard<'a, H>,
    /// What was taken, moved and returned since, in bytes; all else is zero.
    pub(crate) changes: Counters,
}

impl<'a, H> Growing<'a, H> {
    /// Takes a pool's lock by `lock`.
    ///
    /// # Errors
    /// If this thread holds it: a resource below the pool has called something that calls the pool.
    pub(super) fn new(
        pool: ResourceId,
        lock: impl FnOnce() -> MutexGuard<'a, H>,
    ) -> Result<Self, BoxedError> {
        // While a thread ends nothing is noted, nor found.
        let held = GROWING.try_with(|growing| growing.borrow().contains(&pool));
        if held.unwrap_or(false) {
            return Err(
                "this thread is taking memory for the pool from below it, or returning it: a \
                        hook that uses a pool belongs above that pool"
                    .into(),
            );
        }
        let guard = lock();
        let _ = GROWING.try_with(|growing| growing.borrow_mut().push(pool));
        Ok(Self { pool, held: guard, changes: Counters::default() })
    }

    /// So many bytes are held now.
    pub(crate) fn note_held(&mut self, state: &mut State, bytes: u64) {
        let before = state.counters;
        state.set_reserved(bytes);
        self.changes.bytes_grown += state.counters.bytes_grown - before.bytes_grown;
        self.changes.bytes_trimmed += state.counters.bytes_trimmed - before.bytes_trimmed;
    }

    /// A request was served this way.
    pub(crate) fn note_way(&mut self, way: Way) {
        if let Way::Move(bytes) = way {
            self.changes.bytes_moved += bytes;
        }
    }
}

impl<H> Drop for Growing<'_, H> {
    fn drop(&mut self) {
        let _ = GROWING.try_with(|growing| growing.borrow_mut().retain(|&pool| pool != self.pool));
    }
}

impl<H> Deref for Growing<'_, H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.held
    }
}

impl<H> DerefMut for Growing<'_, H> {
    fn deref_mut(&mut self) -> &mut H {
        &mut self.held
    }
}
