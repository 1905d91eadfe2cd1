//! Why there is no pool.

use std::fmt;

use vmem_core::BoxedError;

/// A pool that could not be built.
#[derive(Debug)]
pub struct BuildError {
    kind: BuildErrorKind,
    source: Option<BoxedError>,
}

/// The kinds of [`BuildError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The ceiling is below one granule of the backing.
    CeilingTooLow {
        /// The ceiling asked for, in bytes.
        ceiling: u64,
        /// The granule, in bytes.
        granule: u64,
    },
    /// The initial size is above the ceiling.
    InitialAboveCeiling {
        /// The initial size, in bytes.
        initial: u64,
        /// The ceiling, in bytes.
        ceiling: u64,
    },
    /// Two resources that are to be one are on different devices.
    TwoDevices,
    /// The device lacks what the backing needs.
    Unsupported,
    /// The driver or the upstream refused the initial memory or the address range.
    Refused,
}

impl BuildError {
    pub(crate) const fn new(kind: BuildErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn refused(source: impl Into<BoxedError>) -> Self {
        Self { kind: BuildErrorKind::Refused, source: Some(source.into()) }
    }

    /// The kind of failure.
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BuildErrorKind::CeilingTooLow { ceiling, granule } => write!(
                f,
                "a pool cannot be held under {ceiling} B: the ceiling must be at least {granule} B"
            ),
            BuildErrorKind::InitialAboveCeiling { initial, ceiling } => {
                write!(f, "the initial size of {initial} B is above the ceiling of {ceiling} B")
            }
            BuildErrorKind::TwoDevices => f.write_str("the resources are on different devices"),
            BuildErrorKind::Unsupported => f.write_str("the device has no virtual memory"),
            BuildErrorKind::Refused => f.write_str("the memory for the pool was refused"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
