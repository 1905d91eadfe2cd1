//! Why a block was not taken back.

use std::fmt;

use super::{BoxedError, DriverError};
use crate::Block;

/// The kinds of [`FreeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum FreeErrorKind {
    /// Another resource issued the block.
    Foreign,
    /// The block has been freed before.
    Stale,
    /// The stream belongs to another device.
    InvalidStream,
    /// The driver failed; the block is still live.
    DeviceFault,
}

/// A block that was not taken back. One pointer wide; it gives the block back.
#[derive(Debug)]
pub struct FreeError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: FreeErrorKind,
    block: Block,
    resource: &'static str,
    source: Option<BoxedError>,
}

impl FreeError {
    /// `resource` refuses `block`.
    pub fn new(kind: FreeErrorKind, block: Block, resource: &'static str) -> Self {
        Self(Box::new(Inner { kind, block, resource, source: None }))
    }

    /// The driver failed while `resource` was freeing `block`.
    pub fn from_driver(error: DriverError, block: Block, resource: &'static str) -> Self {
        Self::new(FreeErrorKind::DeviceFault, block, resource).with_source(error)
    }

    /// Returns it with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxedError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind of refusal.
    pub fn kind(&self) -> FreeErrorKind {
        self.0.kind
    }

    /// The name of the resource that refused.
    pub fn resource(&self) -> &'static str {
        self.0.resource
    }

    /// The block, still live unless the kind is [`Stale`](FreeErrorKind::Stale).
    pub fn block(&self) -> &Block {
        &self.0.block
    }

    /// Takes the block back, to free it where it belongs.
    pub fn into_block(self) -> Block {
        self.0.block
    }

    /// Returns the block, and the cause of the failure if it is known.
    pub fn into_parts(self) -> (Block, Option<BoxedError>) {
        let Inner { block, source, .. } = *self.0;
        (block, source)
    }
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.0.kind {
            FreeErrorKind::Foreign => "another resource issued it",
            FreeErrorKind::Stale => "it has been freed before",
            FreeErrorKind::InvalidStream => "the stream belongs to another device",
            FreeErrorKind::DeviceFault => "the driver failed",
        };
        let block = &self.0.block;
        write!(
            f,
            "{} refuses the block at {} ({}, {}): {why}",
            self.0.resource,
            block.ptr(),
            block.layout(),
            block.owner()
        )
    }
}

impl std::error::Error for FreeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
