//! Devices that the program is handed besides the simulated one.

use std::fmt;
use std::sync::Arc;

use vmem_core::{BoxedError, Device};

/// A kind of device: CUDA's, or what a program hands to [`run_on`](crate::run_on) instead.
///
/// ```
/// use std::sync::Arc;
/// use vmem_cli::{Backend, OpenError};
/// use vmem_core::Device;
/// use vmem_sim::SimDevice;
///
/// #[derive(Debug)]
/// struct Small;
///
/// impl Backend for Small {
///     fn name(&self) -> &'static str {
///         "small"
///     }
///
///     fn open(&self, ordinal: u32) -> Result<Arc<dyn Device>, OpenError> {
///         match ordinal {
///             0 => Ok(SimDevice::new(4 << 30)),
///             _ => Err(OpenError::Absent(format!("there is no device {ordinal}"))),
///         }
///     }
/// }
/// ```
pub trait Backend: fmt::Debug + Send + Sync {
    /// What it is called after `--device`; not `sim`.
    fn name(&self) -> &'static str;

    /// The device that the driver gives this number. Called once for each stack that runs; the same
    /// device may be returned again.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, ordinal: u32) -> Result<Arc<dyn Device>, OpenError>;

    /// How many calls the device of this number has made of its driver so far, if somebody counts.
    fn driver_calls(&self, ordinal: u32) -> Option<u64> {
        let _ = ordinal;
        None
    }
}

/// A device that a [`Backend`] could not give.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The machine has none, or its driver is too old for it: what needs one is skipped, for this
    /// reason.
    Absent(String),
    /// There should be one, and it failed.
    Failed(BoxedError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(reason) => f.write_str(reason),
            Self::Failed(_) => f.write_str("the device cannot be opened"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Absent(_) => None,
            Self::Failed(source) => Some(&**source),
        }
    }
}
