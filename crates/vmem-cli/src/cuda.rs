//! CUDA's devices, if the machine has some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use vmem_core::{Device, DriverCode};
use vmem_cuda::CudaDevice;

use crate::{Backend, OpenError};

/// CUDA's devices. One that was opened stays open, so that its context is made once.
#[derive(Debug, Default)]
pub struct Cuda {
    open: Mutex<HashMap<u32, Arc<CudaDevice>>>,
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn Device>, OpenError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = open.get(&ordinal) {
            return Ok(device.clone());
        }
        let device = CudaDevice::open(ordinal).map_err(explain)?;
        open.insert(ordinal, device.clone());
        Ok(device)
    }

    fn driver_calls(&self, ordinal: u32) -> Option<u64> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Some(open.get(&ordinal)?.driver_calls())
    }
}

/// A machine without a driver or a device is no failure; a device that fails is one.
fn explain(error: vmem_cuda::OpenError) -> OpenError {
    match &error {
        vmem_cuda::OpenError::Driver(driver) if driver.code() != DriverCode::NO_DEVICE => {
            OpenError::Failed(error.into())
        }
        _ => OpenError::Absent(error.to_string()),
    }
}
