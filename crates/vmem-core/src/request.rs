//! What an allocation asks for.

use crate::{BlockLayout, Label, ReservationId, Stream};

/// The expected accesses to a block. A hint: resources that cannot use it ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum AccessClass {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Read or written once, front to back.
    Streaming,
    /// Read again and again in no predictable order.
    RandomReuse,
    /// Written once, then only read.
    WriteOnce,
}

/// The choice whether adaptors may retry a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Retry {
    /// Adaptors may reclaim memory and ask again.
    #[default]
    Allowed,
    /// The first failure is final. Failure hooks set this on their own allocations.
    Never,
}

/// The plans for a block's memory while it is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Resting {
    /// It stays on the device, as far as is known.
    #[default]
    Unplanned,
    /// It may rest on the host ([`Residency`](crate::Residency)): a pool gives the block handles of its
    /// own, but for its first and last granule, so that all between can move.
    Planned,
}

/// One allocation, as asked for: what, on which stream, for whom.
///
/// Borrowed and built for one call; new needs become fields here, not methods on
/// [`MemoryResource`](crate::MemoryResource).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Size and alignment.
    pub layout: BlockLayout,
    /// The stream in whose order the block becomes usable.
    pub stream: &'a Stream,
    /// The label of the memory; the thread's current label unless set.
    pub label: Label,
    /// The reservation to draw from, if any.
    pub reservation: Option<ReservationId>,
    /// The expected accesses to the block.
    pub access: AccessClass,
    /// The choice whether adaptors may retry.
    pub retry: Retry,
    /// The plans for the memory while it is not used.
    pub resting: Resting,
}

impl<'a> Request<'a> {
    /// A request for `layout` on `stream` under the thread's current label.
    #[inline]
    pub fn new(layout: BlockLayout, stream: &'a Stream) -> Self {
        Self {
            layout,
            stream,
            label: Label::current(),
            reservation: None,
            access: AccessClass::Unknown,
            retry: Retry::Allowed,
            resting: Resting::Unplanned,
        }
    }

    /// Returns it with another label.
    #[must_use]
    #[inline]
    pub fn with_label(self, label: Label) -> Self {
        Self { label, ..self }
    }

    /// Returns it with a reservation to draw from.
    #[must_use]
    #[inline]
    pub fn with_reservation(self, reservation: ReservationId) -> Self {
        Self { reservation: Some(reservation), ..self }
    }

    /// Returns it with an access class.
    #[must_use]
    #[inline]
    pub fn with_access(self, access: AccessClass) -> Self {
        Self { access, ..self }
    }

    /// Returns it as a request that is not retried.
    #[must_use]
    #[inline]
    pub fn without_retry(self) -> Self {
        Self { retry: Retry::Never, ..self }
    }

    /// Returns it as a request for memory that may rest on the host.
    #[must_use]
    #[inline]
    pub fn that_may_rest(self) -> Self {
        Self { resting: Resting::Planned, ..self }
    }
}
