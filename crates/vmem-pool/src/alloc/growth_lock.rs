//! The lock under which a pool takes memory from its supply and returns it, which a hook below the
//! pool finds refused rather than waits for.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use vmem_core::author::fork;
use vmem_core::{BoxedError, ResourceId};

use super::Core;
use crate::Counters;
use crate::space::visits;
use crate::streams::State;
use crate::supply::{Backing, Handles, VirtualArena};
use crate::sync::{MutexGuard, lock};

#[cfg(not(loom))]
thread_local! {
    static GROWING: RefCell<Vec<ResourceId>> = const { RefCell::new(Vec::new()) };
}

#[cfg(loom)]
loom::thread_local! {
    static GROWING: RefCell<Vec<ResourceId>> = RefCell::new(Vec::new());
}

/// The lock, held by this thread: what takes memory from the supply and returns it.
pub(super) struct Growing<'a, B: Backing> {
    pub(super) core: &'a Core<B>,
    held: MutexGuard<'a, B::Held>,
    /// What was taken, moved and returned since, in bytes; all else is zero.
    pub(super) changes: Counters,
}

impl<B: Backing> Core<B> {
    /// Locks growth.
    ///
    /// # Errors
    /// If this thread holds it: a resource below the pool has called something that calls the pool.
    pub(super) fn lock_growth(&self) -> Result<Growing<'_, B>, BoxedError> {
        visits::note_lock();
        let pool = self.streams.id;
        // While a thread ends nothing is noted, nor found.
        let held = GROWING.try_with(|growing| growing.borrow().contains(&pool));
        if held.unwrap_or(false) {
            return Err(
                "this thread is taking memory for the pool from below it, or returning it: a \
                        hook that uses a pool belongs above that pool"
                    .into(),
            );
        }
        let held = fork::locked(|| lock(&self.growing));
        let _ = GROWING.try_with(|growing| growing.borrow_mut().push(pool));
        Ok(Growing { core: self, held, changes: Counters::default() })
    }
}

impl<B: Backing> Growing<'_, B> {
    /// What maps the memory, and what is mapped, if memory moves.
    pub(super) fn mapped(&mut self) -> Option<(&VirtualArena, &mut Handles)> {
        self.core.supply.mapped(&mut self.held)
    }

    /// Notes what is held now.
    pub(super) fn note_held(&mut self, state: &mut State) {
        let before = state.counters;
        state.counters.set_reserved(self.core.supply.held());
        self.changes.bytes_grown += state.counters.bytes_grown - before.bytes_grown;
        self.changes.bytes_trimmed += state.counters.bytes_trimmed - before.bytes_trimmed;
    }
}

impl<B: Backing> Drop for Growing<'_, B> {
    fn drop(&mut self) {
        let pool = self.core.streams.id;
        let _ = GROWING.try_with(|growing| growing.borrow_mut().retain(|&held| held != pool));
    }
}

/// What only the thread that grows or shrinks the pool may touch.
impl<B: Backing> Deref for Growing<'_, B> {
    type Target = B::Held;

    fn deref(&self) -> &B::Held {
        &self.held
    }
}

impl<B: Backing> DerefMut for Growing<'_, B> {
    fn deref_mut(&mut self) -> &mut B::Held {
        &mut self.held
    }
}
