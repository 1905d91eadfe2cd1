//! Symbols: the functions of the CUDA driver that vmem uses, declared here.
//!
//! The types and constants are `cust_raw`'s, and so is the linking. The declarations are not, because
//! no value *written by the driver* may have a Rust enum type: `cust_raw`'s enums lack what newer
//! drivers write (result codes above all), and a Rust enum that holds a value it lacks is undefined
//! behaviour. Results are a [`Code`], states and modes plain integers.
//!
//! * [`functions`] holds every function that is linked. All exist since CUDA 11.4, the floor that a
//!   driver must meet for a program to start.
//! * [`newer`] holds those that came later, looked up by name and version when the program runs.

mod functions;
mod newer;

use std::ffi::c_int;

pub use functions::LINKED_SYMBOLS;
pub(crate) use functions::*;
pub use newer::LOOKED_UP_SYMBOLS;
pub(crate) use newer::stream_get_ctx_v2;

/// What the software driver of this repository exports besides, and no other driver: the function
/// that controls it.
pub const CONTROL_SYMBOL: &str = "vmemSimDriverControl";

/// The oldest driver that has every linked symbol: CUDA 11.4, as the driver numbers versions.
pub const OLDEST_DRIVER: u32 = cust_raw::CUDA_VERSION;

/// A driver's answer, as the number it is.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Code(pub(crate) c_int);

impl Code {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const NOT_READY: Self = Self(600);
    pub(crate) const STREAM_CAPTURE_IMPLICIT: Self = Self(906);
}
