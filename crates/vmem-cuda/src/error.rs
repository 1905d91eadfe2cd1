//! Why a device cannot be opened.

use std::fmt;
use std::path::PathBuf;

use vmem_core::DriverError;

use crate::sys::OLDEST_DRIVER;

/// A device could not be opened, or its driver could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no driver: its library is not found, or cannot be loaded.
    NoDriver {
        /// The library that was looked for: a file if one was named, else what every driver's is
        /// called.
        library: PathBuf,
        /// What the loader says.
        why: String,
    },
    /// The driver lacks functions that vmem calls. Drivers older than [`OLDEST_DRIVER`] do.
    MissingSymbols {
        /// The driver's library.
        library: PathBuf,
        /// The functions, by symbol.
        symbols: Vec<&'static str>,
    },
    /// A file was named, but the process has loaded another one as its driver, and two drivers in
    /// one process cannot share anything.
    OtherDriver {
        /// The file that was named.
        named: PathBuf,
        /// The one that is loaded.
        loaded: PathBuf,
    },
    /// There is a driver, but no device.
    NoDevice,
    /// There is no device of that number.
    NoSuchDevice {
        /// The number asked for.
        ordinal: u32,
        /// How many devices there are.
        devices: u32,
    },
    /// The driver says that it is older than [`OLDEST_DRIVER`].
    DriverTooOld {
        /// Its version, as 1000 × major + 10 × minor.
        version: u32,
    },
    /// A call failed.
    Driver(DriverError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver { library, why } => {
                let library = library.display();
                write!(f, "there is no CUDA driver: `{library}` cannot be loaded ({why})")
            }
            Self::MissingSymbols { library, symbols } => {
                let (library, oldest) = (library.display(), Version(OLDEST_DRIVER));
                let symbols = symbols.join(", ");
                write!(f, "`{library}` is no CUDA driver of {oldest} or newer: it lacks {symbols}")
            }
            Self::OtherDriver { named, loaded } => {
                let (named, loaded) = (named.display(), loaded.display());
                write!(f, "`{named}` is not the driver that this process has loaded, `{loaded}`")
            }
            Self::NoDevice => f.write_str("the driver sees no CUDA device"),
            Self::NoSuchDevice { ordinal, devices } => {
                write!(f, "no CUDA device {ordinal}; accepted: 0 to {}", devices.saturating_sub(1))
            }
            Self::DriverTooOld { version } => {
                let [version, oldest] = [Version(*version), Version(OLDEST_DRIVER)];
                write!(f, "the driver supports CUDA {version}; needed: {oldest} or newer")
            }
            Self::Driver(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // It prints as that error does; what is below it is what is below that.
            Self::Driver(error) => error.source(),
            _ => None,
        }
    }
}

impl From<DriverError> for OpenError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// A CUDA version as people write it.
pub(crate) struct Version(pub(crate) u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}
