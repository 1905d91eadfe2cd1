//! What a call comes to.

use std::error::Error;

use serde_json::{Map, Value, json};
use vmem_core::author::fork;
use vmem_core::{
    AllocError, AllocErrorKind, DriverCode, DriverError, FreeError, FreeErrorKind, HandleError,
    chain,
};
use vmem_cuda::OpenError;
use vmem_runtime::{ConfigError, SetupError, SetupErrorKind};

/// What a call came to. Everything but `VMEM_OK` has a text: see `vmem_last_error`.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
#[must_use]
pub enum vmem_status {
    /// It was done.
    VMEM_OK = 0,
    /// An argument is outside of its range: a null pointer, an alignment that is no power of two, a text
    /// that is not UTF-8, a struct without its size.
    VMEM_ERROR_INVALID_ARGUMENT = 1,
    /// Memory is short now; freeing some may help.
    VMEM_ERROR_OUT_OF_MEMORY = 2,
    /// The configured limit is reached; freeing some may help.
    VMEM_ERROR_LIMIT = 3,
    /// The request is above what can ever be satisfied; nothing helps.
    VMEM_ERROR_NEVER_FITS = 4,
    /// The stream belongs to another device, or was forgotten while the call used it.
    VMEM_ERROR_INVALID_STREAM = 5,
    /// A stream captures a graph, which the call would break. Nothing was done.
    VMEM_ERROR_CAPTURING = 6,
    /// No live block is at the address: it is not of this library, or was freed.
    VMEM_ERROR_NOT_A_BLOCK = 7,
    /// The device is not open.
    VMEM_ERROR_NOT_OPEN = 8,
    /// The device is open already.
    VMEM_ERROR_ALREADY_OPEN = 9,
    /// The machine has no CUDA driver.
    VMEM_ERROR_NO_DRIVER = 10,
    /// The CUDA driver is too old for what was asked.
    VMEM_ERROR_DRIVER_TOO_OLD = 11,
    /// There is no device of that number.
    VMEM_ERROR_NO_DEVICE = 12,
    /// The configuration is wrong, or the device cannot satisfy it.
    VMEM_ERROR_CONFIGURATION = 13,
    /// Another copy of this library in the process has the device open.
    VMEM_ERROR_OTHER_COPY = 14,
    /// The driver failed.
    VMEM_ERROR_DRIVER = 15,
    /// The process was forked from one that had opened a device.
    VMEM_ERROR_FORKED = 16,
    /// The device, as it was opened, cannot do that.
    VMEM_ERROR_UNSUPPORTED = 17,
    /// A file could not be written.
    VMEM_ERROR_IO = 18,
    /// A fault of this library: it panicked.
    VMEM_ERROR_INTERNAL = 19,
    /// Work is or may be pending that was not to be waited for. Nothing was done.
    VMEM_ERROR_BUSY = 20,
}

use vmem_status::{
    VMEM_ERROR_CAPTURING, VMEM_ERROR_CONFIGURATION, VMEM_ERROR_DRIVER, VMEM_ERROR_DRIVER_TOO_OLD,
    VMEM_ERROR_FORKED, VMEM_ERROR_INTERNAL, VMEM_ERROR_INVALID_ARGUMENT, VMEM_ERROR_INVALID_STREAM,
    VMEM_ERROR_IO, VMEM_ERROR_LIMIT, VMEM_ERROR_NEVER_FITS, VMEM_ERROR_NO_DEVICE,
    VMEM_ERROR_NO_DRIVER, VMEM_ERROR_NOT_A_BLOCK, VMEM_ERROR_OUT_OF_MEMORY, VMEM_OK,
};

impl vmem_status {
    /// Its name in C.
    pub(crate) const fn name(self) -> &'static std::ffi::CStr {
        match self {
            VMEM_OK => c"VMEM_OK",
            VMEM_ERROR_INVALID_ARGUMENT => c"VMEM_ERROR_INVALID_ARGUMENT",
            VMEM_ERROR_OUT_OF_MEMORY => c"VMEM_ERROR_OUT_OF_MEMORY",
            VMEM_ERROR_LIMIT => c"VMEM_ERROR_LIMIT",
            VMEM_ERROR_NEVER_FITS => c"VMEM_ERROR_NEVER_FITS",
            VMEM_ERROR_INVALID_STREAM => c"VMEM_ERROR_INVALID_STREAM",
            VMEM_ERROR_CAPTURING => c"VMEM_ERROR_CAPTURING",
            VMEM_ERROR_NOT_A_BLOCK => c"VMEM_ERROR_NOT_A_BLOCK",
            Self::VMEM_ERROR_NOT_OPEN => c"VMEM_ERROR_NOT_OPEN",
            Self::VMEM_ERROR_ALREADY_OPEN => c"VMEM_ERROR_ALREADY_OPEN",
            VMEM_ERROR_NO_DRIVER => c"VMEM_ERROR_NO_DRIVER",
            VMEM_ERROR_DRIVER_TOO_OLD => c"VMEM_ERROR_DRIVER_TOO_OLD",
            VMEM_ERROR_NO_DEVICE => c"VMEM_ERROR_NO_DEVICE",
            VMEM_ERROR_CONFIGURATION => c"VMEM_ERROR_CONFIGURATION",
            Self::VMEM_ERROR_OTHER_COPY => c"VMEM_ERROR_OTHER_COPY",
            VMEM_ERROR_DRIVER => c"VMEM_ERROR_DRIVER",
            VMEM_ERROR_FORKED => c"VMEM_ERROR_FORKED",
            Self::VMEM_ERROR_UNSUPPORTED => c"VMEM_ERROR_UNSUPPORTED",
            VMEM_ERROR_IO => c"VMEM_ERROR_IO",
            VMEM_ERROR_INTERNAL => c"VMEM_ERROR_INTERNAL",
            Self::VMEM_ERROR_BUSY => c"VMEM_ERROR_BUSY",
        }
    }

    /// The name of a number, if it is a status.
    pub(crate) fn name_of(number: i32) -> Option<&'static std::ffi::CStr> {
        ALL.iter().find(|status| **status as i32 == number).map(|status| status.name())
    }
}

const ALL: [vmem_status; 21] = [
    VMEM_OK,
    VMEM_ERROR_INVALID_ARGUMENT,
    VMEM_ERROR_OUT_OF_MEMORY,
    VMEM_ERROR_LIMIT,
    VMEM_ERROR_NEVER_FITS,
    VMEM_ERROR_INVALID_STREAM,
    VMEM_ERROR_CAPTURING,
    VMEM_ERROR_NOT_A_BLOCK,
    vmem_status::VMEM_ERROR_NOT_OPEN,
    vmem_status::VMEM_ERROR_ALREADY_OPEN,
    VMEM_ERROR_NO_DRIVER,
    VMEM_ERROR_DRIVER_TOO_OLD,
    VMEM_ERROR_NO_DEVICE,
    VMEM_ERROR_CONFIGURATION,
    vmem_status::VMEM_ERROR_OTHER_COPY,
    VMEM_ERROR_DRIVER,
    VMEM_ERROR_FORKED,
    vmem_status::VMEM_ERROR_UNSUPPORTED,
    VMEM_ERROR_IO,
    VMEM_ERROR_INTERNAL,
    vmem_status::VMEM_ERROR_BUSY,
];

/// Why a call was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: vmem_status,
    pub(crate) text: String,
    /// What is known besides, for programs.
    pub(crate) details: Map<String, Value>,
}

impl Failure {
    pub(crate) fn new(status: vmem_status, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), details: Map::new() }
    }

    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(VMEM_ERROR_INVALID_ARGUMENT, text)
    }

    /// The same with something more that is known.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.details.insert(key.to_owned(), value);
        self
    }
}

impl Failure {
    /// What an error comes to whose type says nothing.
    pub(crate) fn from_handle(error: HandleError) -> Self {
        let driver = causes(&error).filter_map(|error| error.downcast_ref::<DriverError>()).last();
        let known = driver.map(|error| Self::from(error.clone()));
        let failure = known.unwrap_or_else(|| Self::new(VMEM_ERROR_DRIVER, ""));
        Self { text: text(&error), ..failure }
    }
}

/// The text of an error with what caused it.
fn text(error: &(dyn Error + 'static)) -> String {
    chain(error).to_string()
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let status = match error.code() {
            DriverCode::NOT_INITIALIZED if fork::is_child() => VMEM_ERROR_FORKED,
            _ if error.is_out_of_memory() => VMEM_ERROR_OUT_OF_MEMORY,
            _ if error.concerns_capture() => VMEM_ERROR_CAPTURING,
            _ => VMEM_ERROR_DRIVER,
        };
        Self::new(status, text(&error)).with("driver_code", json!(error.code().0))
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        let status = match error.kind() {
            AllocErrorKind::OutOfMemory => VMEM_ERROR_OUT_OF_MEMORY,
            AllocErrorKind::Limit => VMEM_ERROR_LIMIT,
            AllocErrorKind::NeverFits => VMEM_ERROR_NEVER_FITS,
            AllocErrorKind::InvalidLayout => VMEM_ERROR_INVALID_ARGUMENT,
            AllocErrorKind::InvalidStream => VMEM_ERROR_INVALID_STREAM,
            AllocErrorKind::Capturing => VMEM_ERROR_CAPTURING,
            _ => VMEM_ERROR_DRIVER,
        };
        let failure = Self::new(status, text(&error)).with("resource", json!(error.resource()));
        let failure = match driver_code(&error) {
            Some(code) => failure.with("driver_code", json!(code)),
            None => failure,
        };
        match error.report().map(serde_json::to_value) {
            Some(Ok(report)) => failure.with("report", report),
            _ => failure,
        }
    }
}

impl From<FreeError> for Failure {
    fn from(error: FreeError) -> Self {
        let status = match error.kind() {
            FreeErrorKind::InvalidStream => VMEM_ERROR_INVALID_STREAM,
            FreeErrorKind::Foreign | FreeErrorKind::Stale => VMEM_ERROR_INTERNAL,
            _ => VMEM_ERROR_DRIVER,
        };
        let failure = Self::new(status, text(&error));
        match driver_code(&error) {
            Some(code) => failure.with("driver_code", json!(code)),
            None => failure,
        }
    }
}

/// An error and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// What the driver answered, if an error comes from there.
fn driver_code(error: &(dyn Error + 'static)) -> Option<u32> {
    let driver = causes(error).filter_map(|error| error.downcast_ref::<DriverError>()).last();
    driver.map(|error| error.code().0)
}

impl From<&OpenError> for Failure {
    fn from(error: &OpenError) -> Self {
        let status = match error {
            OpenError::NoDriver { .. } => VMEM_ERROR_NO_DRIVER,
            OpenError::MissingSymbols { .. } | OpenError::DriverTooOld { .. } => {
                VMEM_ERROR_DRIVER_TOO_OLD
            }
            OpenError::NoDevice | OpenError::NoSuchDevice { .. } => VMEM_ERROR_NO_DEVICE,
            OpenError::Driver(error) => return error.clone().into(),
            _ => VMEM_ERROR_DRIVER,
        };
        Self::new(status, text(error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let variable = json!(error.variable());
        Self::new(VMEM_ERROR_CONFIGURATION, text(&error)).with("variable", variable)
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let status = match error.kind() {
            SetupErrorKind::Configuration => VMEM_ERROR_CONFIGURATION,
            _ => VMEM_ERROR_DRIVER,
        };
        let mut opening = causes(&error).filter_map(|error| error.downcast_ref::<OpenError>());
        let status = opening.next().map_or(status, |error| Self::from(error).status);
        let failure = Self::new(status, text(&error));
        match driver_code(&error) {
            Some(code) => failure.with("driver_code", json!(code)),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_name_that_the_header_gives_its_number() {
        for (number, status) in (0..).zip(ALL) {
            assert_eq!(status as i32, number);
            assert_eq!(
                vmem_status::name_of(number).unwrap().to_str().unwrap(),
                format!("{status:?}")
            );
        }
        assert_eq!(vmem_status::name_of(21), None);
    }
}
