//! The simulated device and its doors: the driver calls, and what only a simulation has.

mod async_pool;
mod driver;
mod host_memory;
mod instruments;
mod launch;
mod managed;
mod virtual_memory;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vmem_core::author::{DeviceBase, DropFailure, fork};
use vmem_core::{DeviceFacts, DriverError};

use crate::state::State;
use crate::sync::{Mutex, MutexGuard};
use crate::violation::Refusal;
use crate::{CallKind, ConfigError, Parts, SimConfig};
use async_pool::SimAsyncPool;
use host_memory::SimPinned;
use managed::SimManaged;
use virtual_memory::SimVirtualMemory;

/// A GPU in software: it refuses what a driver refuses, queues what a driver queues, and notices
/// what hardware would silently get wrong.
///
/// See the [crate's documentation](crate) for what it models.
pub struct SimDevice {
    base: DeviceBase,
    facts: DeviceFacts,
    core: Arc<Core>,
    virtual_memory: Option<SimVirtualMemory>,
    managed: Option<SimManaged>,
    pinned: Option<SimPinned>,
    async_pool: Option<SimAsyncPool>,
}

/// What a device shares with its parts.
pub(crate) struct Core {
    state: Mutex<State>,
}

impl Core {
    /// One driver call: counted, charged, perhaps failed by the script, else done by `body`.
    pub(crate) fn call<T>(
        &self,
        kind: CallKind,
        body: impl FnOnce(&mut State) -> Result<T, Refusal>,
    ) -> Result<T, DriverError> {
        fork::refuse(kind.name())?;
        let mut state = self.lock();
        state.enter(kind)?;
        body(&mut state).map_err(|refusal| state.refuse(kind.name(), refusal))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        fork::locked(|| self.state.lock())
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

impl SimDevice {
    /// A device of `capacity_bytes` with every part, stored bytes, the checker, and a late
    /// schedule.
    ///
    /// # Panics
    /// If the capacity is zero or above 16 TiB; [`with_config`](Self::with_config) returns an error
    /// instead.
    pub fn new(capacity_bytes: u64) -> Arc<Self> {
        let config = SimConfig { capacity: capacity_bytes, ..SimConfig::default() };
        match Self::with_config(config) {
            Ok(device) => device,
            Err(error) => panic!("{error}"),
        }
    }

    /// A device as configured.
    ///
    /// # Errors
    /// If no device can be so configured.
    pub fn with_config(config: SimConfig) -> Result<Arc<Self>, ConfigError> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        config.check()?;
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let parts = config.parts;
        let granularity = config.granularity;
        let mut facts = DeviceFacts::new("simulated device", 0, config.capacity);
        facts.simulated = true;
        facts.driver = concat!("vmem-sim ", env!("CARGO_PKG_VERSION")).into();
        let core = Arc::new(Core { state: Mutex::new(State::new(config, serial)) });
        let has = |part| parts.contains(part);
        let concurrent = has(Parts::CONCURRENT_MANAGED);
        Ok(Arc::new(Self {
            base: DeviceBase::new(log),
            facts,
            virtual_memory: has(Parts::VIRTUAL_MEMORY).then(|| {
                SimVirtualMemory::new(core.clone(), granularity, has(Parts::HOST_HANDLES))
            }),
            managed: has(Parts::MANAGED).then(|| SimManaged::new(core.clone(), concurrent)),
            pinned: has(Parts::PINNED).then(|| SimPinned::new(core.clone())),
            async_pool: has(Parts::ASYNC_POOL).then(|| SimAsyncPool::new(core.clone())),
            core,
        }))
    }
}

impl fmt::Debug for SimDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDevice")
            .field("id", &self.base.id())
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

fn log(failure: &DropFailure) {
    tracing::warn!("simulated device: {failure}");
}
