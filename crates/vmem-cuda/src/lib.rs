//! The CUDA device of vmem, through the driver API.
//!
//! [`CudaDevice`] is vmem's [`Device`](vmem_core::Device) with all its parts: virtual, managed and
//! pinned memory and the stream-ordered pool, as far as the hardware has them. Stacks are built on it
//! as on any other device:
//!
//! ```no_run
//! use std::sync::Arc;
//! use vmem_core::{DeviceMemory, ResourceExt, Stream};
//! use vmem_cuda::CudaDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = CudaDevice::open(0)?;
//! let stream = Stream::new(device.clone())?;
//! let memory = DeviceMemory::new(device);
//!
//! let mut buffer = memory.buffer(4096, &stream)?;
//! buffer.copy_from_slice(0, &[7; 4096])?;
//! assert_eq!(buffer.to_vec()?, vec![7; 4096]);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does with the driver
//!
//! * The driver's library is loaded when the first device is counted or opened; a program that links
//!   this crate starts without it, and [`OpenError`] says then that there is none. [`driver`] says
//!   which file was loaded, [`Driver::load`] names another.
//! * Devices are found by [`device_count`] and opened by [`CudaDevice::open`]; nothing touches the
//!   driver before. A device's primary context is retained once per process, however often the device
//!   is opened, and released with the last handle.
//! * Every call makes that context current for its duration, if it is not already, and leaves the
//!   calling thread's stack of contexts as it found it. [`CudaDevice::enter`] does the same for a
//!   program's own calls.
//! * Every code that a driver answers is an ordinary [`DriverError`](vmem_core::DriverError),
//!   unknown ones included; [`error_text`] asks the driver what one means. Only the code for out of
//!   memory counts as exhaustion.
//! * Calls that would break another thread's stream capture are made under the relaxed capture mode.
//! * A child of a fork is refused every call, as CUDA cannot be used there. Once the driver has shut
//!   down, as it does at process exit, it is not called again.
//! * In a host function of the driver's (`cuLaunchHostFunc`), wrapped in [`host_callback`], calls are
//!   refused, and what is dropped is kept for the next call outside.
//!
//! # What it needs
//!
//! To build: nothing of CUDA's. To open a device: a driver with every function that vmem calls, which
//! is one of CUDA 11.4 ([`OLDEST_DRIVER`]) or newer, and a GPU.
//!
//! # With cust
//!
//! Under the feature `cust`, `CudaDevice::share_stream` makes a stream of
//! [`cust`](https://docs.rs/cust)'s one of vmem's, and `device_pointer` hands a block to its kernel
//! launches. Contexts are shared without it: both use a device's primary one. `cust`'s own
//! `DeviceBuffer` must not be used on vmem's memory, or at all: its safe `cast` frees twice.
//!
//! `cust` links the driver. A program with this feature is compiled only where `CUDA_LIBRARY_PATH`
//! names a folder with a `lib64` below it (or CUDA is in `/usr/local/cuda` or `/opt/cuda`), is linked
//! only where a `libcuda.so` is in that, and starts only where there is a driver.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod callback;
mod context;
mod device;
mod driver;
mod error;
#[cfg(feature = "cust")]
mod interop;
mod result;
mod sys;

pub use callback::host_callback;
pub use context::Current;
pub use device::{Absence, CudaDevice, StreamIdentity, device_count};
pub use driver::{Driver, driver};
pub use error::OpenError;
#[cfg(feature = "cust")]
pub use interop::device_pointer;
pub use result::error_text;
pub use sys::OLDEST_DRIVER;

/// The names of the driver's functions, for tests over the software driver. Changes without notice.
#[doc(hidden)]
pub mod testing {
    pub use crate::sys::{CONTROL_SYMBOL, LOOKED_UP_SYMBOLS, REQUIRED_SYMBOLS};
}

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
