//! Memory that takes the place of other memory at an address, as it is asked for and what came of it.

use vmem_core::ResidencyError;

use super::resting::Place;
use crate::space::Span;

/// What memory is to be at addresses that have other memory now, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Device,
    Host,
    /// Contents are discarded.
    Nowhere,
}

/// Addresses that are to have other memory, all of them or none.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Whole handles, or what was away, run by run. Of a run that is longer than a handle the inside
    /// belongs to one block.
    pub(crate) runs: Vec<Span>,
    pub(crate) to: To,
    /// The most that the pool may hold of the device's memory, in bytes.
    pub(crate) ceiling: u64,
}

/// What came of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    /// The handles that are mapped at the runs now, or the runs themselves where nothing is.
    pub(crate) handles: Vec<Span>,
    pub(crate) copied: u64,
}

/// An exchange that failed and was undone.
#[derive(Debug)]
pub(crate) struct Undone {
    pub(crate) error: ResidencyError,
    /// Runs that could not be given their memory back.
    pub(crate) displaced: Vec<Span>,
}

impl From<ResidencyError> for Undone {
    fn from(error: ResidencyError) -> Self {
        Self { error, displaced: Vec::new() }
    }
}

/// Memory that was displaced and is mapped again.
#[derive(Debug)]
pub(crate) struct Displaced {
    pub(super) span: Span,
    /// Where it is, unless it is the device's.
    pub(super) place: Option<Place>,
    /// Its handles.
    pub(super) cuts: Vec<Span>,
}

/// The host's memory that a pool holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HostFigures {
    pub(crate) held: u64,
    /// Of those, what is not in use.
    pub(crate) ready: u64,
}
