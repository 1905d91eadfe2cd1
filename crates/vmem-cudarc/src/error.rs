//! cudarc's errors as vmem's.

use cudarc::driver::result::DriverError as CudarcError;
use vmem_core::{DriverCode, DriverError};

/// An error that cudarc answered to `call`, with the driver's code.
pub(crate) fn driver_error(call: &'static str, error: CudarcError) -> DriverError {
    DriverError::new(call, DriverCode(error.0 as u32))
}
