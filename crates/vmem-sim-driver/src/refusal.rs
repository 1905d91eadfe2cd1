//! Why a call does not do what it was asked.

use vmem_core::{DriverCode, DriverError};

/// What a call comes to.
pub(crate) type Answer<T = ()> = Result<T, Refusal>;

/// A result code, and what a person is told who asks why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: DriverCode,
    pub(crate) why: String,
}

impl Refusal {
    pub(crate) fn new(code: DriverCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    /// An argument outside its range.
    pub(crate) fn value(why: impl Into<String>) -> Self {
        Self::new(DriverCode::INVALID_VALUE, why)
    }

    /// A handle that names nothing.
    pub(crate) fn handle(why: impl Into<String>) -> Self {
        Self::new(DriverCode::INVALID_HANDLE, why)
    }

    /// Whether a stream was named that is none. The simulation says so in these words.
    pub(crate) fn is_dead_stream(&self) -> bool {
        self.code == DriverCode::INVALID_HANDLE && self.why.starts_with("stream ")
    }

    /// What the device lacks, or this library.
    pub(crate) fn unsupported(why: impl Into<String>) -> Self {
        Self::new(DriverCode::NOT_SUPPORTED, why)
    }

    /// No context that works is current.
    pub(crate) fn context(why: impl Into<String>) -> Self {
        Self::new(DriverCode::INVALID_CONTEXT, why)
    }
}

impl From<DriverError> for Refusal {
    fn from(error: DriverError) -> Self {
        Self::new(error.code(), error.detail())
    }
}

/// `CUDA_ERROR_INVALID_DEVICE`.
pub(crate) const INVALID_DEVICE: DriverCode = DriverCode(101);
/// `CUDA_ERROR_NOT_FOUND`.
pub(crate) const NOT_FOUND: DriverCode = DriverCode(500);
