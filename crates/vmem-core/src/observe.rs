//! Watching memory: what happens to it is told to observers.

use std::fmt;
use std::sync::Arc;

use crate::{BlockLayout, DevicePtr, Label, ResourceId, StreamId};

/// The kinds of [`MemoryEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum MemoryEventKind {
    /// A block was handed out.
    Allocate {
        /// Where it starts.
        ptr: DevicePtr,
        /// The size and alignment asked for.
        layout: BlockLayout,
    },
    /// A block was taken back.
    Free {
        /// Where it started.
        ptr: DevicePtr,
        /// The size and alignment asked for.
        layout: BlockLayout,
    },
    /// A request was refused.
    Failure {
        /// The size and alignment asked for.
        layout: BlockLayout,
    },
    /// A resource took memory from its upstream or device.
    Growth {
        /// Bytes taken.
        bytes: u64,
    },
    /// Physical memory moved to another address.
    Move {
        /// Bytes moved.
        bytes: u64,
    },
    /// A resource returned memory to its upstream or device.
    Trim {
        /// Bytes returned.
        bytes: u64,
    },
    /// A stream ended; what was freed on it is no longer tied to it. An observer that is told so
    /// must not use that stream.
    Retire,
}

/// Something that happened to memory, and its circumstances. Not a GPU's [`Event`](crate::Event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MemoryEvent {
    /// The kind of event.
    pub kind: MemoryEventKind,
    /// The resource it happened in.
    pub resource: ResourceId,
    /// The stream it happened on, where there is one.
    pub stream: Option<StreamId>,
    /// The label of the memory.
    pub label: Label,
}

impl MemoryEvent {
    /// An event in `resource`, without stream or label.
    pub const fn new(kind: MemoryEventKind, resource: ResourceId) -> Self {
        Self { kind, resource, stream: None, label: Label::NONE }
    }

    /// Returns it with a stream.
    #[must_use]
    pub const fn with_stream(self, stream: StreamId) -> Self {
        Self { stream: Some(stream), ..self }
    }

    /// Returns it with a label.
    #[must_use]
    pub const fn with_label(self, label: Label) -> Self {
        Self { label, ..self }
    }
}

/// Something that watches memory events.
///
/// Called on the thread that caused the event, after it happened and never under a lock of the
/// resource, so an observer may itself allocate. It should return quickly and must not panic.
pub trait MemoryObserver: fmt::Debug + Send + Sync {
    /// Takes note of what happened.
    fn event(&self, event: &MemoryEvent);
}

impl<S: MemoryObserver + ?Sized> MemoryObserver for Arc<S> {
    fn event(&self, event: &MemoryEvent) {
        (**self).event(event);
    }
}
