//! `vmem` with CUDA's devices. Started by `vmem-cuda`, which finds out first whether it can be.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use vmem_cli::{Backend, Console, OpenError, Progress, Stop, run_on};
use vmem_core::{Device, DriverCode};
use vmem_cuda::CudaDevice;

/// CUDA's devices. One that was opened stays open, so that its context is made once.
#[derive(Debug, Default)]
struct Cuda {
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
}

/// A machine without a device is no failure; a device that fails is one.
fn explain(error: vmem_cuda::OpenError) -> OpenError {
    match &error {
        vmem_cuda::OpenError::Driver(driver) if driver.code() != DriverCode::NO_DEVICE => {
            OpenError::Failed(error.into())
        }
        _ => OpenError::Absent(error.to_string()),
    }
}

fn main() -> ExitCode {
    let console = Console {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr(),
        progress: Progress::Shown,
        stop: Stop::on_interrupt(),
    };
    ExitCode::from(run_on(std::env::args_os(), console, Arc::new(Cuda::default())))
}
