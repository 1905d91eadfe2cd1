//! Which resource a device's programs use.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, RwLock};

use vmem_core::author::fork;
use vmem_core::{Device, DeviceId, DeviceMemory, MemoryResource};

/// The current resource of each device, by the device's identity.
///
/// A device nobody set a resource for has its initial one, [`DeviceMemory`]. A resource that is
/// replaced stays usable: whoever holds it, or a block of it, frees through it.
///
/// A registry keeps its resources, and they their devices, until [`forget`](Self::forget).
///
/// ```
/// use vmem_core::{Device, ResourceExt};
/// use vmem_pool::{Pool, PoolConfig, VirtualArena};
/// use vmem_runtime::Registry;
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device: std::sync::Arc<dyn Device> = SimDevice::new(1 << 30);
/// let registry = Registry::new();
/// let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?;
///
/// let initial = registry.set(pool.into_dyn());
/// let pool = registry.reset(&device);
/// assert!(std::sync::Arc::ptr_eq(&registry.current(&device), &initial));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Registry {
    entries: RwLock<HashMap<DeviceId, Entry>>,
}

struct Entry {
    initial: Arc<dyn MemoryResource>,
    current: Arc<dyn MemoryResource>,
}

impl Registry {
    /// A registry in which every device has its initial resource.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process's registry.
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Registry> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// The device's current resource.
    pub fn current(&self, device: &Arc<dyn Device>) -> Arc<dyn MemoryResource> {
        let entries = fork::locked(|| self.entries.read());
        if let Some(entry) = entries.get(&device.id()) {
            return entry.current.clone();
        }
        drop(entries);
        self.with_entry(device, |entry| entry.current.clone())
    }

    /// Makes `resource` its device's current one and returns the one before.
    pub fn set(&self, resource: Arc<dyn MemoryResource>) -> Arc<dyn MemoryResource> {
        let device = resource.device().clone();
        self.with_entry(&device, |entry| std::mem::replace(&mut entry.current, resource))
    }

    /// Makes the device's initial resource the current one again and returns the one before.
    pub fn reset(&self, device: &Arc<dyn Device>) -> Arc<dyn MemoryResource> {
        self.with_entry(device, |entry| {
            let initial = entry.initial.clone();
            std::mem::replace(&mut entry.current, initial)
        })
    }

    /// Lets go of the device's resources and returns the current one, if the device was ever used
    /// here. Its initial resource is then a new one.
    pub fn forget(&self, device: DeviceId) -> Option<Arc<dyn MemoryResource>> {
        let mut entries = fork::locked(|| self.entries.write());
        let entry = entries.remove(&device)?;
        drop(entries);
        Some(entry.current)
    }

    fn with_entry<T>(&self, device: &Arc<dyn Device>, f: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = fork::locked(|| self.entries.write());
        f(entries.entry(device.id()).or_insert_with(|| {
            let initial: Arc<dyn MemoryResource> = Arc::new(DeviceMemory::new(device.clone()));
            Entry { current: initial.clone(), initial }
        }))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = fork::locked(|| self.entries.read());
        f.debug_map().entries(entries.iter().map(|(id, entry)| (id, &entry.current))).finish()
    }
}
