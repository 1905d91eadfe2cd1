//! A stack that is built when it is first used.

mod figures;
mod rest;
mod setup;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use vmem_adaptors::Reclaimers;
use vmem_core::author::fork;
use vmem_core::{
    AllocError, AllocErrorKind, BlockLayout, BoxedError, Device, HandleError, MemoryResource,
    Stream,
};
use vmem_managed::ManagedHandle;
use vmem_pool::PoolHandle;

pub use figures::{RuntimeCapacity, RuntimeStats};
pub use setup::{SetupError, SetupErrorKind, Status};

use crate::{Admission, Recovery, Reservation, RuntimeConfig, Stack};
use setup::{Built, Provider};

const NAME: &str = "Runtime";

/// The memory manager of one device: chooses a [tier](crate::Tier), builds its stack when it is
/// first used, and answers the same questions whatever was built.
///
/// Making a runtime touches no device. The first call that needs the stack asks the provider for
/// the device and builds, once, on whichever thread comes first; others wait for it. A set-up that
/// fails leaves nothing behind: what it had built is dropped, and the next use starts anew.
///
/// ```
/// use vmem_core::{ResourceExt, Stream};
/// use vmem_runtime::{Runtime, RuntimeConfig, Size, Tier};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config =
///     RuntimeConfig::default().with_memory_reserve(Size::Bytes(0));
/// let runtime = Runtime::new(config, || Ok(SimDevice::new(1 << 30)));
/// assert_eq!(runtime.stats().tier, None);
///
/// let stack = runtime.ensure_ready()?;
/// let stream = Stream::new(stack.device.clone())?;
/// let buffer = stack.resource.buffer(3 << 20, &stream)?;
/// assert_eq!(runtime.stats().tier, Some(Tier::A));
/// assert_eq!(runtime.stats().reserved, Some(4 << 20));
/// drop(buffer);
/// assert_eq!(runtime.free_pool_memory(), 4 << 20);
/// # Ok(())
/// # }
/// ```
pub struct Runtime {
    config: RuntimeConfig,
    provider: Provider,
    recovery: Recovery,
    built: OnceLock<Built>,
    /// Held while building.
    building: Mutex<()>,
    /// Why the last attempt failed.
    failed: Mutex<Option<String>>,
}

impl Runtime {
    /// A runtime that will be as `config` says on the device that `provider` gives. The provider is
    /// called once for each attempt to build, and must not use the runtime, which waits for it.
    pub fn new(
        config: RuntimeConfig,
        provider: impl Fn() -> Result<Arc<dyn Device>, BoxedError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            config,
            provider: Arc::new(provider),
            recovery: Recovery::default(),
            built: OnceLock::new(),
            building: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Returns it with caches and a hook that are registered already, and `recovery`'s clock.
    #[must_use]
    pub fn with_recovery(self, recovery: Recovery) -> Self {
        Self { recovery, ..self }
    }

    /// The configuration.
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// The state of the stack.
    pub fn status(&self) -> Status {
        match self.built.get() {
            Some(built) => built.status(),
            None if fork::is_child() => Status::NotBuilt,
            None => match &*lock(&self.failed) {
                Some(cause) => Status::Failed { cause: cause.clone() },
                None => Status::NotBuilt,
            },
        }
    }

    /// The stack, built if it is not yet.
    ///
    /// # Errors
    /// No device; a configuration that the device cannot satisfy; a stack that cannot be built, if
    /// the policy is [`Closed`](crate::FailurePolicy::Closed) or the fallback cannot be built
    /// either.
    pub fn ensure_ready(&self) -> Result<&Stack, SetupError> {
        fork::refuse("Runtime::ensure_ready")
            .map_err(|error| SetupError::new(SetupErrorKind::Device, error))?;
        if let Some(built) = self.built.get() {
            return Ok(&built.stack);
        }
        let building = lock(&self.building);
        if let Some(built) = self.built.get() {
            return Ok(&built.stack);
        }
        match setup::build(&self.config, &self.provider, &self.recovery) {
            Ok(built) => {
                let built = self.built.get_or_init(|| built);
                drop(building);
                built.warn();
                Ok(&built.stack)
            }
            Err(error) => {
                *lock(&self.failed) = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// The stack's outermost resource, built if it is not yet.
    ///
    /// # Errors
    /// Those of [`ensure_ready`](Self::ensure_ready).
    pub fn resource(&self) -> Result<Arc<dyn MemoryResource>, SetupError> {
        Ok(self.ensure_ready()?.resource.clone())
    }

    /// The device, opened if it is not yet.
    ///
    /// # Errors
    /// Those of [`ensure_ready`](Self::ensure_ready).
    pub fn device(&self) -> Result<Arc<dyn Device>, SetupError> {
        Ok(self.ensure_ready()?.device.clone())
    }

    /// The memory in use. Empty before the stack is built; never builds it.
    pub fn stats(&self) -> RuntimeStats {
        self.built.get().map_or_else(RuntimeStats::default, |built| RuntimeStats::of(&built.stack))
    }

    /// Makes what is in use now the peak. [`RuntimeStats::peak_reserved`] stays.
    pub fn reset_peaks(&self) {
        if let Some(built) = self.built.get() {
            let _ = built.stack.stats.reset_peaks();
        }
    }

    /// The memory that the stack can still give. Empty before it is built, and in a [forked](fork)
    /// child; never builds it. Takes time in the number of blocks, and a driver call where the driver
    /// decides.
    pub fn capacity(&self) -> RuntimeCapacity {
        let built = self.readable();
        built.map_or_else(RuntimeCapacity::default, |built| RuntimeCapacity::of(&built.stack))
    }

    /// The bytes that the stack can still take from the device: its ceiling less what it holds;
    /// without a ceiling or a pool, what the driver has free. `None` before it is built, in a forked
    /// child, or if the driver does not say.
    pub fn growth_left(&self) -> Option<u64> {
        figures::growth_left(&self.readable()?.stack)
    }

    /// The bytes that new work can count on: for a pool, what its ceiling and the device allow it
    /// to hold, less what is live and not [away](vmem_pool::Counters::away); for tier C its budget less
    /// what is live. `None` before the stack
    /// is built, and in a forked child. Makes a driver call on tiers with a pool.
    pub fn budget_left(&self) -> Option<u64> {
        Some(figures::budget_left(&self.readable()?.stack))
    }

    /// What is built, for figures.
    fn readable(&self) -> Option<&Built> {
        if fork::is_child() { None } else { self.built.get() }
    }

    /// Answers whether work on `units` equal units that needs `bytes` bytes in all should start,
    /// and how many units would fit if not. Builds the stack if it is not yet.
    ///
    /// # Errors
    /// Those of [`ensure_ready`](Self::ensure_ready).
    pub fn admit(&self, bytes: u64, units: NonZeroU64) -> Result<Admission, SetupError> {
        let left = figures::budget_left(self.ensure_ready()?);
        Ok(Admission::of(bytes, units, left))
    }

    /// Sets `bytes` bytes aside for later requests in `stream`'s order, as
    /// [`Reservations`](crate::Reservations) promises. Builds the stack if it is not yet.
    ///
    /// # Errors
    /// Those of an allocation of that size; [`SetupFailed`](AllocErrorKind::SetupFailed), with the
    /// [`SetupError`] as its source, if the stack cannot be built.
    pub fn reserve(&self, bytes: u64, stream: &Stream) -> Result<Reservation, AllocError> {
        let layout = BlockLayout::new(bytes)?;
        let stack = self.ensure_ready().map_err(|error| {
            AllocError::new(AllocErrorKind::SetupFailed, layout, NAME).with_source(error)
        })?;
        stack.reserve(bytes, stream)
    }

    /// Returns what the pool does not need, or managed memory has set aside, and nothing pending uses to
    /// the device, without waiting, and says how many bytes. 0 where there is neither, no stack, or a
    /// failing driver.
    pub fn trim(&self) -> u64 {
        self.returned(PoolHandle::try_trim, ManagedHandle::trim)
    }

    /// Waits on the host for pending frees, returns all that the pool does not need, or managed memory has
    /// set aside, to the device, and says how many bytes. What was freed on streams that cannot be named
    /// stays. 0 where there is neither a pool nor managed memory, no stack, or a failing driver.
    pub fn free_pool_memory(&self) -> u64 {
        if let Some(built) = self.built.get() {
            built.stack.reservations.take_back();
        }
        self.returned(PoolHandle::trim_to, ManagedHandle::wait_and_trim)
    }

    fn returned(
        &self,
        pool: impl FnOnce(&PoolHandle, u64) -> Result<u64, HandleError>,
        managed: impl FnOnce(&ManagedHandle) -> u64,
    ) -> u64 {
        let Some(built) = self.built.get() else { return 0 };
        let aside = built.stack.managed.as_ref().map_or(0, managed);
        aside + figures::returned(&built.stack, |handle| pool(handle, 0))
    }

    /// Waits for the whole device where something was freed that nothing else makes usable again: see
    /// [`Stack::synchronize`]. Does nothing before the stack is built.
    ///
    /// # Errors
    /// Those of [`Stack::synchronize`].
    pub fn synchronize(&self) -> Result<(), HandleError> {
        self.built.get().map_or(Ok(()), |built| built.stack.synchronize())
    }

    /// The recovery before exhaustion is reported, on the tiers that recover: register caches and
    /// set the hook here, before or after the stack is built.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The caches that give memory back, on the tiers that recover.
    pub fn reclaimers(&self) -> &Reclaimers {
        self.recovery.reclaimers()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("config", &self.config)
            .field("recovery", &self.recovery)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Runtime {
    /// The effective configuration: a line for what was asked for, and a few for what it came to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked for: {}\n{}", self.config, self.status())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    fork::locked(|| mutex.lock())
}
