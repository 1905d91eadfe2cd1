//! Where a pool's memory comes from.

mod arena;
mod chunks;
mod growth;

use std::fmt::Debug;
use std::sync::Arc;

pub use arena::VirtualArena;
pub use chunks::Chunks;
pub use growth::Growth;
use vmem_core::{BoxedError, Capabilities, Device, Stream};

use crate::core::Core;
use crate::ladder::Climb;
use crate::space::Slot;

/// Why memory could not be taken from a backing.
#[derive(Debug)]
pub(crate) enum GrowthFailure {
    /// The pool's ceiling is reached.
    Ceiling,
    /// The device or upstream has too little.
    Refused(BoxedError),
    /// The driver failed.
    Fault(BoxedError),
}

/// What is behind a [`Pool`](crate::Pool): [`Chunks`] of another resource, or a [`VirtualArena`].
///
/// Sealed: a pool and its backing share the pool's inside.
#[expect(private_bounds, reason = "the seal")]
pub trait Backing: Sealed + Debug + Send + Sync + Sized + 'static {}

impl<T: Sealed + Debug + Send + Sync + Sized + 'static> Backing for T {}

/// What a pool asks of its backing. `grow` and `give_back` are called with the growth lock held and
/// without the state's.
pub(crate) trait Sealed {
    /// The device the memory is on.
    fn device(&self) -> &Arc<dyn Device>;

    /// What the memory can do, pooling aside.
    fn capabilities(&self) -> Capabilities;

    /// The unit in which memory is taken, in bytes.
    fn granule(&self) -> u64;

    /// The address range that all memory is mapped into, if there is one.
    fn address_range(&self) -> Option<(u64, u64)>;

    /// How much is taken at a time unless configured.
    fn default_growth(&self) -> Growth;

    /// Takes memory so that the request fits, and returns a claimed range cut to it.
    fn grow(core: &Core<Self>, climb: &Climb<'_>) -> Result<Slot, GrowthFailure>
    where
        Self: Sized;

    /// Returns unused memory that has completed until at most `keep` bytes are held, or nothing
    /// more can be returned. `service` is a stream for an upstream that wants one. Returns the
    /// bytes returned, and the first error that kept it from returning more.
    fn give_back(
        core: &Core<Self>,
        keep: u64,
        service: &mut Option<Stream>,
    ) -> (u64, Option<BoxedError>)
    where
        Self: Sized;

    /// Bytes that `give_back` could return now, if everything pending were complete.
    fn returnable(core: &Core<Self>) -> u64
    where
        Self: Sized;
}
