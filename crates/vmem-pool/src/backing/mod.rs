//! Where a pool's memory comes from.

mod arena;
mod chunks;

use std::fmt::{Debug, Display};
use std::sync::Arc;

pub use arena::VirtualArena;
pub use chunks::Chunks;
use vmem_core::{BoxedError, Capabilities, Device, DriverError, Stream};

use crate::engine::{Core, State};
use crate::ladder::Climb;
use crate::space::{Slot, Tag};
use crate::{Growth, WindowInfo};

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

impl From<BoxedError> for GrowthFailure {
    fn from(error: BoxedError) -> Self {
        match error.downcast_ref::<DriverError>() {
            Some(driver) if driver.is_out_of_memory() => Self::Refused(error),
            _ => Self::Fault(error),
        }
    }
}

impl From<DriverError> for GrowthFailure {
    fn from(error: DriverError) -> Self {
        BoxedError::from(error).into()
    }
}

/// What pending work keeps a backing from doing with free memory that the requesting stream could
/// wait for on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Nothing: the memory moves to where it is needed, behind the same wait.
    Moves,
    /// It can neither move nor be returned before the host has seen the work complete.
    Stays,
}

/// The source of a [`Pool`](crate::Pool)'s memory: [`Chunks`] of another resource, or a
/// [`VirtualArena`].
///
/// Sealed: a pool and its backing share the pool's inside.
#[expect(private_bounds, reason = "the seal")]
pub trait Backing: Sealed + Debug + Display + Send + Sync + Sized + 'static {}

impl<T: Sealed + Debug + Display + Send + Sync + Sized + 'static> Backing for T {}

/// What a pool asks of its backing. `grow`, `make_room` and `give_back` are called with the growth
/// lock held and without the state's.
pub(crate) trait Sealed {
    /// The device the memory is on.
    fn device(&self) -> &Arc<dyn Device>;

    /// What the memory can do, pooling aside.
    fn capabilities(&self) -> Capabilities;

    /// The unit in which memory is taken, in bytes.
    fn granule(&self) -> u64;

    /// The addresses that memory is mapped into, as starts and sizes; empty if they come with it.
    fn address_ranges(&self) -> Vec<(u64, u64)>;

    /// The most that it can ever hold, in bytes, as far as that is known.
    fn most(&self) -> u64;

    /// What becomes of free memory while work is pending on it.
    fn pending(&self) -> Pending;

    /// How much is taken at a time unless configured.
    fn default_growth(&self) -> Growth;

    /// Finds a place for the request that needs neither memory nor a driver call, other than a free
    /// range: addresses that memory was moved to before. Called without the growth lock.
    fn resume(core: &Core<Self>, climb: &Climb<'_>) -> Option<Slot>
    where
        Self: Sized;

    /// Takes memory so that the request fits, and returns a claimed range cut to it.
    fn grow(core: &Core<Self>, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure>
    where
        Self: Sized;

    /// Makes room out of memory that is held but in the wrong place, after growth has failed, and
    /// returns a claimed range cut to the request. `None` if there was nothing to make room from.
    fn make_room(
        core: &Core<Self>,
        climb: &mut Climb<'_>,
        service: &mut Option<Stream>,
    ) -> Result<Option<Slot>, GrowthFailure>
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

    /// Bytes that could be gathered into one range without growing, if everything pending were
    /// complete.
    fn movable(core: &Core<Self>) -> u64
    where
        Self: Sized;

    /// The windows, where memory is mapped a second time, by address.
    fn windows_info(&self) -> Vec<WindowInfo>;

    /// Whether a block at this address uses memory that is at home elsewhere.
    fn lends(&self, start: u64) -> bool;

    /// Takes memory back that was lent: it is free at home with this tag.
    fn take_back(core: &Core<Self>, state: &mut State, slot: Slot, tag: Tag)
    where
        Self: Sized;
}
