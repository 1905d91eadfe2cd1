//! Finding devices, and probing what one can do, once.

use std::sync::{Arc, Mutex, Weak};

use vmem_core::author::fork;
use vmem_core::{DeviceFacts, DriverCode, DriverError};

use super::{Absence, CudaAsyncPool, CudaDevice, CudaManaged, CudaPinned, CudaVirtualMemory};
use crate::OpenError;
use crate::callback::refuse_in_host_callback;
use crate::context::Context;
use crate::driver::Driver;
use crate::result::device;
use crate::sys::{self, OLDEST_DRIVER};

/// The devices of this process that are open.
static OPEN: Mutex<Vec<(u32, Weak<CudaDevice>)>> = Mutex::new(Vec::new());

/// The number of devices that the driver sees. Zero is no error. Loads the driver if none is loaded.
///
/// # Errors
/// If there is no driver, or one without the functions that are needed; the driver's own, and
/// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) in a [`host_callback`](crate::host_callback).
pub fn device_count() -> Result<u32, OpenError> {
    fork::refuse("cuInit")?;
    refuse_in_host_callback("cuInit")?;
    sys::load()?;
    // From here on the driver is of no use in children.
    fork::watch();
    match device::init().and_then(|()| device::count()) {
        Err(error) if error.code() == DriverCode::NO_DEVICE => Ok(0),
        answer => Ok(answer?),
    }
}

impl CudaDevice {
    /// The device that the driver numbers `ordinal`, from 0. While a handle of it lives, every call
    /// returns the same device.
    ///
    /// The first call retains the device's primary context and finds out what it can do; that takes
    /// up to some hundreds of milliseconds.
    ///
    /// # Errors
    /// If there is no driver, it is too old, there is no such device, or a call fails. Nothing stays
    /// retained then.
    pub fn open(ordinal: u32) -> Result<Arc<Self>, OpenError> {
        fork::refuse("CudaDevice::open")?;
        let mut open = fork::locked(|| OPEN.lock());
        open.retain(|(_, device)| device.strong_count() != 0);
        let known = open.iter().find(|(number, _)| *number == ordinal);
        if let Some(device) = known.and_then(|(_, device)| device.upgrade()) {
            return Ok(device);
        }
        let device = Arc::new(Self::probe(ordinal)?);
        open.push((ordinal, Arc::downgrade(&device)));
        Ok(device)
    }

    fn probe(ordinal: u32) -> Result<Self, OpenError> {
        let devices = device_count()?;
        let driver = Driver::loaded(sys::load()?)?;
        if driver.version < OLDEST_DRIVER {
            return Err(OpenError::DriverTooOld { version: driver.version });
        }
        if devices == 0 {
            return Err(OpenError::NoDevice);
        }
        if ordinal >= devices {
            return Err(OpenError::NoSuchDevice { ordinal, devices });
        }
        let device = device::get(ordinal)?;
        let total_memory = device::total_memory(device)?;
        let mut facts = DeviceFacts::new(device::name(device)?, ordinal, total_memory);
        facts.simulated = driver.simulated;
        facts.driver = driver.to_string();
        let has = |attribute| device::attribute(device, attribute).map(|value| value != 0);
        let virtual_memory = has(sys::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED)?;
        let managed = has(sys::CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY)?;
        let concurrent = has(sys::CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS)?;
        let unified = has(sys::CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING)?;
        let pools = has(sys::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)?;

        let context = Arc::new(Context::retain(device)?);
        let mut parts = Parts { absences: Vec::new() };
        Ok(Self {
            virtual_memory: parts.try_part("virtual memory", virtual_memory, || {
                CudaVirtualMemory::probe(context.clone())
            }),
            managed: parts.try_part("managed memory", managed, || {
                Ok(CudaManaged::new(context.clone(), concurrent))
            }),
            pinned: parts
                .try_part("pinned memory", unified, || Ok(CudaPinned::new(context.clone()))),
            async_pool: parts.try_part("stream-ordered pool", pools, || {
                CudaAsyncPool::create(context.clone(), facts.total_memory)
            }),
            absences: parts.absences,
            context,
            facts,
        })
    }
}

/// What a device turns out not to have.
struct Parts {
    absences: Vec<Absence>,
}

impl Parts {
    /// A part that the device says it has, if it then works.
    fn try_part<T>(
        &mut self,
        part: &'static str,
        said: bool,
        make: impl FnOnce() -> Result<T, DriverError>,
    ) -> Option<T> {
        let absent = if said {
            match make() {
                Ok(made) => return Some(made),
                Err(error) => error.to_string(),
            }
        } else {
            "the device's attributes say so".to_owned()
        };
        self.absences.push(Absence { part, why: absent });
        None
    }
}
