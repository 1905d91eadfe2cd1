//! The pool's locks and threads, or loom's in its models.
//!
//! The mutex is `parking_lot`'s: under the standard library's two threads in short sections, once one of
//! them slept, go on sleeping and waking each other. A thread that finds that mutex held by one that was
//! woken sleeps at once, and one that was woken wakes somebody when it unlocks, whether or not anybody
//! sleeps. Nothing is poisoned: a panic under a lock is a bug in the pool's own arithmetic, and the tests look
//! for them.

use std::sync::LockResult;

#[cfg(loom)]
pub(crate) use loom::{
    sync::{Mutex, MutexGuard},
    thread,
};
#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::thread;

/// Locks a mutex, in the way that [`fork`](vmem_core::author::fork) asks for it.
#[inline(always)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> LockResult<MutexGuard<'_, T>> {
    #[cfg(loom)]
    return mutex.lock();
    #[cfg(not(loom))]
    Ok(mutex.lock())
}
