//! Symbols: the functions of the CUDA driver that vmem uses, declared here and loaded when the program
//! runs.
//!
//! No value *written by the driver* has a Rust enum type: newer drivers write what older headers lack
//! (result codes above all), and a Rust enum that holds a value it lacks is undefined behaviour.
//! Results are a [`Code`], states and modes plain integers.
//!
//! * [`types`] holds the header's types and constants.
//! * [`functions`] holds every function that a driver must have. All exist since CUDA 11.4.
//! * [`newer`] holds those that came later, looked up by name and version when one is needed.
//! * [`library`] finds and loads the driver.

#[cfg(all(test, feature = "cust"))]
mod compared;
mod functions;
mod library;
mod newer;
mod types;

use std::ffi::c_int;

pub use functions::REQUIRED_SYMBOLS;
pub(crate) use functions::*;
pub(crate) use library::{Library, load, load_from};
pub use newer::LOOKED_UP_SYMBOLS;
pub(crate) use newer::{stream_get_ctx_v2, stream_get_id};
pub(crate) use types::*;

/// The function that controls the software driver of vmem's tests. No other driver exports it.
pub const CONTROL_SYMBOL: &str = "vmemSimDriverControl";

/// The oldest driver that has every function that vmem calls: CUDA 11.4, as the driver numbers
/// versions.
pub const OLDEST_DRIVER: u32 = 11_040;

/// A driver's answer, as the number it is.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Code(pub(crate) c_int);

impl Code {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const NOT_INITIALIZED: Self = Self(3);
    pub(crate) const NOT_READY: Self = Self(600);
    pub(crate) const STREAM_CAPTURE_IMPLICIT: Self = Self(906);
}
