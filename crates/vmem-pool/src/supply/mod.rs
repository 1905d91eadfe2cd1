//! Where a pool's memory comes from: it maps and unmaps.
//!
//! A supply knows nothing of the pool, its streams or its locks. What it needs is shown to it: the
//! [`Memory`], what a request needs and which last uses are no obstacle. What it decides is handed back
//! as a [`Plan`], in three steps, so that no driver call is made under the pool's lock:
//!
//! 1. *Plan*, under the pool's lock: where the memory is to be. What that concerns is claimed.
//! 2. *Carry out*, without the lock: the driver calls.
//! 3. *Finish*, or *give up*, under the lock: the memory says what is so now.
//!
//! Memory goes back likewise, as a [`Return`]. A supply only plans and carries out; the rest is done to
//! the memory in one place, whatever the supply.

mod aliases;
mod arena;
mod chunks;
mod cuts;
mod memory;
mod moving;
mod resting;

use std::fmt::{Debug, Display};
use std::sync::Arc;

pub(crate) use aliases::{Aliases, Hidden};
pub use arena::VirtualArena;
pub(crate) use arena::{Handles, Mapping};
pub use chunks::Chunks;
pub(crate) use cuts::Place;
pub(crate) use memory::Memory;
pub(crate) use moving::Moving;
use vmem_core::{BoxedError, Capabilities, Device, DriverError, Request};

use crate::Growth;
use crate::space::{Claim, Need, Span, StreamIx, Tag};

/// Why an attempt to get memory came to nothing.
#[derive(Debug)]
pub(crate) enum Miss {
    /// Work of this lane's stream cannot be waited for by this thread, or now.
    Skip(StreamIx),
    /// The pool's ceiling is reached.
    Ceiling,
    /// No stretch of addresses is long enough.
    Addresses,
    /// The device or upstream has too little.
    Refused(BoxedError),
    /// The driver failed.
    Fault(BoxedError),
}

impl From<BoxedError> for Miss {
    fn from(error: BoxedError) -> Self {
        match error.downcast_ref::<DriverError>() {
            Some(driver) if driver.is_out_of_memory() => Self::Refused(error),
            _ => Self::Fault(error),
        }
    }
}

impl From<DriverError> for Miss {
    fn from(error: DriverError) -> Self {
        BoxedError::from(error).into()
    }
}

/// What a supply is told of a request.
pub(crate) struct Ask<'a> {
    pub(crate) need: Need,
    /// Its stream's.
    pub(crate) lane: StreamIx,
    /// Whether it is to have handles of its own, but for a granule at either end.
    pub(crate) own: bool,
    /// The most that the pool may hold, in bytes.
    pub(crate) limit: u64,
    /// Bytes that it may still take for this request.
    pub(crate) room: u64,
    /// Whether no more was to be had for it.
    pub(crate) refused: bool,
    /// Whether the request's stream may have memory with this tag at once.
    pub(crate) ready: &'a dyn Fn(Tag) -> bool,
    /// Whether it may have it, if need be behind a wait.
    pub(crate) usable: &'a dyn Fn(Tag) -> bool,
}

/// Where memory for a request is to come from.
#[derive(Debug)]
#[must_use = "a plan that was begun is finished or given up"]
pub(crate) struct Plan {
    pub(crate) way: Way,
    /// Memory at home that is free or yet to be mapped, in the order in which it is used: what is claimed.
    homes: Vec<Span>,
    /// Addresses at which it is to be used, if not at home. Claimed as well.
    alias: Option<Span>,
    /// Where in the addresses of a new alias the request begins.
    begin: u64,
    /// New memory.
    fresh: Fresh,
    /// What the driver kept mapped of a new alias when that was to be undone.
    left: Option<Span>,
    /// What is claimed for it, once it was begun.
    pub(crate) claim: Claim,
}

/// What a plan makes of a request, for the pool's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// More memory.
    Growth,
    /// So many bytes of memory were to be had elsewhere, and move.
    Move(u64),
    /// Memory moved before, and its addresses are still mapped.
    Resumption,
}

/// New memory for a plan.
#[derive(Debug, Default)]
struct Fresh {
    /// Unmapped spans of whole granules; none where memory comes with addresses of its own.
    spans: Vec<Span>,
    /// The most that a handle is to have, in bytes: whole granules. Of a chunk, its size.
    largest: u64,
    /// Whether the last granule is to be a handle of its own.
    apart: bool,
    /// The handles that were mapped there, or the chunk that was taken, once that is so.
    handles: Vec<Span>,
}

impl Plan {
    /// Of memory that is there, at home.
    fn new(way: Way, homes: Vec<Span>) -> Self {
        let (fresh, claim) = (Fresh::default(), Claim::default());
        Self { way, homes, alias: None, begin: 0, fresh, left: None, claim }
    }
}

/// Memory and aliases that go back, claimed.
#[derive(Debug, Default)]
#[must_use = "a return is finished, however far it came"]
pub(crate) struct Return {
    /// In this order, after the aliases.
    memory: Vec<Span>,
    pub(crate) aliases: Vec<Hidden>,
    /// Bytes of memory that are gone.
    gone: u64,
    /// Whether the pool keeps the memory, to map it elsewhere.
    pub(crate) is_kept: bool,
}

impl Return {
    /// Bytes of memory that are to go.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.iter().map(|run| run.size).sum()
    }

    /// One that unmaps aliases and returns nothing.
    pub(crate) fn of_aliases(aliases: Vec<Hidden>) -> Self {
        Self { aliases, ..Self::default() }
    }
}

/// The source of a [`Pool`](crate::Pool)'s memory: [`Chunks`] of another resource, or a
/// [`VirtualArena`].
///
/// Sealed: a pool and its backing know each other's inside.
#[expect(private_bounds, reason = "the seal")]
pub trait Backing: Supply + Debug + Display + Send + Sync + Sized + 'static {}

impl<T: Supply + Debug + Display + Send + Sync + Sized + 'static> Backing for T {}

/// What a pool asks of where its memory comes from.
pub(crate) trait Supply {
    /// What only the thread that grows or shrinks the pool may touch.
    type Held: Default + Send;

    /// The device the memory is on.
    fn device(&self) -> &Arc<dyn Device>;

    /// What the memory can do, pooling aside.
    fn capabilities(&self) -> Capabilities;

    /// The unit in which memory is taken, in bytes.
    fn granule(&self) -> u64;

    /// The addresses that memory is mapped into, as the space is to know them, and the first that is an
    /// alias's, where memory is used that is at home elsewhere. None if addresses come with the memory.
    fn addresses(&self) -> Option<(Span, u64)>;

    /// The most that it can ever hold, in bytes, as far as that is known.
    fn most(&self) -> u64;

    /// Bytes held from the device or upstream, whatever they are used for.
    fn held(&self) -> u64;

    /// How much is taken at a time unless configured.
    fn default_growth(&self) -> Growth;

    /// Whether free memory moves to where it is needed, behind the same waits as its work, or else has
    /// to be returned first, which takes that the host has seen the work complete.
    fn moves(&self) -> bool {
        self.mapping().is_some()
    }

    /// What maps the memory, if it moves.
    fn mapping(&self) -> Option<&Mapping> {
        None
    }

    /// The same, with what is mapped.
    fn mapped<'a>(&'a self, _held: &'a mut Self::Held) -> Option<(&'a Mapping, &'a mut Handles)> {
        None
    }

    /// Plans with `size` bytes beside each other of which the request gets the lowest that do, of as
    /// little new memory as that takes.
    ///
    /// # Errors
    /// [`Miss::Ceiling`] and [`Miss::Addresses`].
    fn extend(
        &self,
        held: &Self::Held,
        memory: &Memory<'_>,
        ask: &Ask<'_>,
        size: u64,
    ) -> Result<Plan, Miss>;

    /// Whether gathering memory for the request takes less new memory than growth.
    fn gathering_saves(&self, _memory: &Memory<'_>, _ask: &Ask<'_>) -> bool {
        false
    }

    /// Plans with free memory from wherever it is, and new memory only for what is missing.
    ///
    /// # Errors
    /// [`Miss::Ceiling`] and [`Miss::Addresses`].
    fn gather(
        &self,
        _held: &Self::Held,
        _memory: &Memory<'_>,
        _ask: &Ask<'_>,
    ) -> Result<Plan, Miss> {
        Err(Miss::Addresses)
    }

    /// Makes the driver calls of a plan, whose claim the request's stream is ordered after.
    fn carry_out(
        &self,
        held: &mut Self::Held,
        plan: &mut Plan,
        request: &Request<'_>,
    ) -> Result<(), Miss>;

    /// What is free and complete and can be returned until `keep` bytes are held at least, in the order in
    /// which it is to go.
    fn surplus(&self, memory: &Memory<'_>, keep: u64) -> Vec<Span>;

    /// Makes the driver calls of a return, until one fails.
    fn give_back(&self, held: &mut Self::Held, going: &mut Return) -> Result<(), BoxedError>;

    /// Bytes that could be returned of these stretches of free memory.
    fn returnable(&self, memory: &Memory<'_>, free: &[Span]) -> u64;
}
