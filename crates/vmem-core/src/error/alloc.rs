//! Why an allocation failed.

use std::fmt;

use super::{BoxedError, DriverError, ExhaustionReport, LayoutError};
use crate::BlockLayout;

/// The kinds of [`AllocError`], by what a caller can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum AllocErrorKind {
    /// Memory is short now; freeing some may help.
    OutOfMemory,
    /// A configured limit or budget is reached; freeing some may help.
    Limit,
    /// The request is above what the resource can ever satisfy; nothing helps.
    NeverFits,
    /// The size or alignment is not a valid layout.
    InvalidLayout,
    /// The stream belongs to another device or has been retired.
    InvalidStream,
    /// The stream is capturing, and the request needs calls that would concern the capture.
    Capturing,
    /// The driver answered something other than success or out of memory.
    DeviceFault,
    /// The stack that was to serve the request could not be set up; the source says why. The next
    /// request tries again.
    SetupFailed,
    /// The resource that was to serve the request has been dropped.
    Gone,
}

impl AllocErrorKind {
    /// Returns true if memory is exhausted, so that reclaiming some and retrying makes sense.
    pub const fn is_exhaustion(self) -> bool {
        matches!(self, Self::OutOfMemory | Self::Limit)
    }
}

/// A failed allocation. One pointer wide.
///
/// It prints with the refusal of the resource below that led to it.
#[derive(Debug)]
pub struct AllocError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: AllocErrorKind,
    layout: Option<BlockLayout>,
    resource: &'static str,
    source: Option<BoxedError>,
    report: Option<ExhaustionReport>,
}

impl AllocError {
    /// A failure of `kind` of a request for `layout` in the resource named `resource`.
    pub fn new(kind: AllocErrorKind, layout: BlockLayout, resource: &'static str) -> Self {
        let layout = Some(layout);
        Self(Box::new(Inner { kind, layout, resource, source: None, report: None }))
    }

    /// Turns a driver's error into that of an allocation: out of memory for that code,
    /// [`Capturing`](AllocErrorKind::Capturing) if a capture is in the way
    /// ([`is_capture`](DriverError::is_capture)), [`DeviceFault`](AllocErrorKind::DeviceFault) for any
    /// other.
    pub fn from_driver(error: DriverError, layout: BlockLayout, resource: &'static str) -> Self {
        let kind = if error.is_out_of_memory() {
            AllocErrorKind::OutOfMemory
        } else if error.is_capture() {
            AllocErrorKind::Capturing
        } else {
            AllocErrorKind::DeviceFault
        };
        Self::new(kind, layout, resource).with_source(error)
    }

    /// Returns it with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxedError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns it with the state of the resource.
    #[must_use]
    pub fn with_report(mut self, report: ExhaustionReport) -> Self {
        self.0.report = Some(report);
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> AllocErrorKind {
        self.0.kind
    }

    /// The layout asked for, where it was a valid one.
    pub fn layout(&self) -> Option<BlockLayout> {
        self.0.layout
    }

    /// The name of the resource that refused.
    pub fn resource(&self) -> &'static str {
        self.0.resource
    }

    /// The state of the resource, for exhaustion.
    pub fn report(&self) -> Option<&ExhaustionReport> {
        self.0.report.as_ref()
    }
}

impl From<LayoutError> for AllocError {
    fn from(error: LayoutError) -> Self {
        Self(Box::new(Inner {
            kind: AllocErrorKind::InvalidLayout,
            layout: None,
            resource: "layout",
            source: Some(Box::new(error)),
            report: None,
        }))
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.0.kind {
            AllocErrorKind::OutOfMemory => "out of memory",
            AllocErrorKind::Limit => "the limit is reached",
            AllocErrorKind::NeverFits => "the request can never fit",
            AllocErrorKind::InvalidLayout => "invalid layout",
            AllocErrorKind::InvalidStream => "the stream is of another device or retired",
            AllocErrorKind::Capturing => {
                "the stream is capturing, and there is no memory that it need not wait for"
            }
            AllocErrorKind::DeviceFault => "device fault",
            AllocErrorKind::SetupFailed => "it could not be set up",
            AllocErrorKind::Gone => "it has been dropped",
        };
        write!(f, "{}: {what}", self.0.resource)?;
        match (&self.0.report, self.0.layout) {
            (Some(report), _) => write!(f, " ({report})")?,
            (None, Some(layout)) => write!(f, " ({layout})")?,
            (None, None) => {}
        }
        // What an upstream refused is the better half of the answer: a limit below a pool, say.
        let source = self.0.source.as_ref().and_then(|source| source.downcast_ref::<Self>());
        source.map_or(Ok(()), |refusal| write!(f, "; {refusal}"))
    }
}

impl std::error::Error for AllocError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
