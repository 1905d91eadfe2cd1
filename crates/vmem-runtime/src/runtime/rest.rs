//! Sleep and wake, whatever the tier.

use vmem_core::{Contents, Label, Moved, Residency, ResidencyError, ResidencyErrorKind};
use vmem_pool::{Pending, PoolHandle};

use super::Runtime;
use crate::Stack;

impl Runtime {
    /// Moves the memory of live blocks to the host, or gives it up, as [`PoolHandle::sleep`] promises: of
    /// those under a label, or of all. Nothing on a stack that is not built yet.
    ///
    /// Blocks here are the pool's: what is carved out of a [reservation](crate::Reservation) has the
    /// label that the reservation was made under.
    ///
    /// # Errors
    /// Those of [`PoolHandle::sleep`]; [`Unsupported`](ResidencyErrorKind::Unsupported) on tiers without
    /// a pool, and where that is not over an arena.
    ///
    /// # Safety
    /// That of [`PoolHandle::sleep`].
    pub unsafe fn sleep(
        &self,
        label: Option<Label>,
        contents: Contents,
        pending: Pending,
    ) -> Result<Moved, ResidencyError> {
        let Some(pool) = self.resting_pool()? else { return Ok(Moved::default()) };
        // SAFETY: the caller's promise.
        unsafe { pool.sleep(label, contents, pending) }
    }

    /// Gives blocks device memory again, as [`PoolHandle::wake`] promises. Nothing on a stack that is not
    /// built yet.
    ///
    /// # Errors
    /// Those of [`sleep`](Self::sleep).
    ///
    /// # Safety
    /// That of [`PoolHandle::wake`].
    pub unsafe fn wake(
        &self,
        label: Option<Label>,
        pending: Pending,
    ) -> Result<Moved, ResidencyError> {
        let Some(pool) = self.resting_pool()? else { return Ok(Moved::default()) };
        // SAFETY: the caller's promise.
        unsafe { pool.wake(label, pending) }
    }

    /// Keeps so many bytes of the host's memory ready for blocks that go to sleep, as
    /// [`PoolHandle::fill_host_reserve`] says. Builds the stack if it is not yet.
    ///
    /// # Errors
    /// Those of [`PoolHandle::fill_host_reserve`]; [`Unsupported`](ResidencyErrorKind::Unsupported) on
    /// tiers without a pool; [`Driver`](ResidencyErrorKind::Driver), with the
    /// [`SetupError`](crate::SetupError) as its source, if there is no stack and none can be built.
    pub fn fill_host_reserve(&self, bytes: u64) -> Result<(), ResidencyError> {
        let stack = self
            .ensure_ready()
            .map_err(|error| ResidencyError::new(ResidencyErrorKind::Driver).with_source(error))?;
        pool_of(stack)?.fill_host_reserve(bytes)
    }

    /// What moves the memory of single blocks, on tiers with a pool; `None` also before the stack is
    /// built. Its blocks are the pool's.
    pub fn residency(&self) -> Option<&dyn Residency> {
        self.readable()?.stack.pool.as_ref().map(|pool| pool as _)
    }

    /// The pool; `None` if nothing is built.
    fn resting_pool(&self) -> Result<Option<&PoolHandle>, ResidencyError> {
        let Some(built) = self.readable() else { return Ok(None) };
        pool_of(&built.stack).map(Some)
    }
}

fn pool_of(stack: &Stack) -> Result<&PoolHandle, ResidencyError> {
    stack.pool.as_ref().ok_or_else(|| ResidencyError::new(ResidencyErrorKind::Unsupported))
}
