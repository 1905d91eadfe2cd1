//! The lock under which a pool takes memory from its backing and returns it, which a hook below the
//! pool finds refused rather than waits for.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use vmem_core::{BoxedError, ResourceId, Stream};

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
pub(crate) struct Growing<'a> {
    pool: ResourceId,
    service: MutexGuard<'a, Option<Stream>>,
}

impl<'a> Growing<'a> {
    /// Takes a pool's lock by `lock`.
    ///
    /// # Errors
    /// If this thread holds it: a resource below the pool has called something that calls the pool.
    pub(super) fn new(
        pool: ResourceId,
        lock: impl FnOnce() -> MutexGuard<'a, Option<Stream>>,
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
        let service = lock();
        let _ = GROWING.try_with(|growing| growing.borrow_mut().push(pool));
        Ok(Self { pool, service })
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        let _ = GROWING.try_with(|growing| growing.borrow_mut().retain(|&pool| pool != self.pool));
    }
}

/// The stream for an upstream that wants one to free on.
impl Deref for Growing<'_> {
    type Target = Option<Stream>;

    fn deref(&self) -> &Option<Stream> {
        &self.service
    }
}

impl DerefMut for Growing<'_> {
    fn deref_mut(&mut self) -> &mut Option<Stream> {
        &mut self.service
    }
}
