//! Where a pool's memory comes from: it maps and unmaps.
//!
//! A supply knows nothing of the pool, its streams or its locks. What it needs is handed to it: the
//! space, the aliases, what a request needs and which last uses are no obstacle. What it decides is
//! handed back as a [`Plan`], in three steps, so that no driver call is made under the pool's lock:
//!
//! 1. *Plan*, under the pool's lock: where the memory is to be. What that concerns is claimed.
//! 2. *Carry out*, without the lock: the driver calls.
//! 3. *Finish*, or *give up*, under the lock: the space and the aliases say what is so now.
//!
//! Memory goes back likewise, as a [`Return`].

mod aliases;
mod arena;
mod chunks;
mod cuts;
mod exchange;
mod moving;
mod resting;

use std::fmt::{Debug, Display};
use std::sync::Arc;

pub(crate) use aliases::{Aliases, Hidden};
pub use arena::VirtualArena;
pub use chunks::Chunks;
pub(crate) use exchange::{Displaced, Exchange, Exchanged, HostFigures, To, Undone};
pub(crate) use resting::Leaving;
use vmem_core::{
    BoxedError, Capabilities, Device, DriverError, Request, ResidencyError, ResidencyErrorKind,
};

use crate::Growth;
use crate::space::{Claim, Need, Slot, Space, Span, StreamIx, Tag};

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
    /// Whether the request's stream may have memory with this tag at once.
    pub(crate) ready: &'a dyn Fn(Tag) -> bool,
    /// Whether it may have it, if need be behind a wait.
    pub(crate) usable: &'a dyn Fn(Tag) -> bool,
}

/// Where memory for a request is to come from. What of it is free now is claimed.
#[derive(Debug)]
#[must_use = "a plan is finished or given up"]
pub(crate) struct Plan<W> {
    pub(crate) claim: Claim,
    pub(crate) way: Way,
    /// What is to be done.
    work: W,
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

/// Memory and aliases that go back, claimed.
#[derive(Debug, Default)]
#[must_use = "a return is finished, however far it came"]
pub(crate) struct Return {
    /// In this order, after the aliases.
    memory: Vec<(Slot, Span)>,
    aliases: Vec<Hidden>,
    /// Bytes of memory that are gone.
    pub(crate) gone: u64,
    /// Whether the pool keeps the memory, to map it elsewhere.
    pub(crate) is_kept: bool,
}

impl Return {
    /// Bytes of memory that are to go.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.iter().map(|(_, run)| run.size).sum()
    }

    /// One that unmaps an alias and returns nothing.
    pub(crate) fn of_alias(alias: Hidden) -> Self {
        Self::of_aliases(vec![alias])
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

    /// What is to be done for a request.
    type Work;

    /// The device the memory is on.
    fn device(&self) -> &Arc<dyn Device>;

    /// What the memory can do, pooling aside.
    fn capabilities(&self) -> Capabilities;

    /// The unit in which memory is taken, in bytes.
    fn granule(&self) -> u64;

    /// The addresses that memory is mapped into, as the space is to know them; none if they come with
    /// it.
    fn addresses(&self) -> Vec<Span>;

    /// The first address that is an alias, where memory is used that is at home elsewhere.
    fn aliases_from(&self) -> u64;

    /// The most that it can ever hold, in bytes, as far as that is known.
    fn most(&self) -> u64;

    /// Bytes held from the device or upstream, whatever they are used for.
    fn held(&self) -> u64;

    /// Whether free memory moves to where it is needed, behind the same waits as its work, or else has
    /// to be returned first, which takes that the host has seen the work complete.
    fn moves(&self) -> bool;

    /// Whether taking and mapping memory breaks no capture, whatever captures.
    fn grows_in_captures(&self) -> bool;

    /// How much is taken at a time unless configured.
    fn default_growth(&self) -> Growth;

    /// Offers memory to the driver again that a failure left mapped where nothing can use it.
    fn let_go_of_stuck(&self, held: &mut Self::Held);

    /// Offers memory to the driver again that it would not take back.
    fn let_go_of_spares(&self, held: &mut Self::Held);

    /// Plans with addresses at which memory is mapped already that is free at home, all of it with a
    /// tag that is no obstacle by `allowed`. Such a plan takes no driver call.
    fn resume(
        &self,
        space: &mut Space,
        aliases: &mut Aliases,
        ask: &Ask<'_>,
        allowed: &dyn Fn(Tag) -> bool,
    ) -> Option<Plan<Self::Work>>;

    /// Plans with `size` bytes beside each other of which the request gets the lowest that do, of as
    /// little new memory as that takes.
    ///
    /// # Errors
    /// [`Miss::Ceiling`] and [`Miss::Addresses`].
    fn extend(
        &self,
        held: &Self::Held,
        space: &mut Space,
        ask: &Ask<'_>,
        size: u64,
    ) -> Result<Plan<Self::Work>, Miss>;

    /// Whether gathering memory for the request takes less new memory than growth.
    fn gathering_saves(&self, space: &Space, aliases: &Aliases, ask: &Ask<'_>) -> bool;

    /// Plans with free memory from wherever it is, and new memory only for what is missing.
    ///
    /// # Errors
    /// [`Miss::Ceiling`] and [`Miss::Addresses`].
    fn gather(
        &self,
        held: &Self::Held,
        space: &mut Space,
        aliases: &Aliases,
        ask: &Ask<'_>,
    ) -> Result<Plan<Self::Work>, Miss>;

    /// Whether there are addresses to gather memory at.
    fn has_addresses(&self, space: &Space, aliases: &Aliases, need: Need) -> bool;

    /// How many bytes of aliases are to be left when there are too many now.
    fn too_many(&self, aliases: &Aliases) -> Option<u64>;

    /// Makes the driver calls of a plan, whose claim the request's stream is ordered after.
    fn carry_out(
        &self,
        held: &mut Self::Held,
        plan: &mut Plan<Self::Work>,
        request: &Request<'_>,
    ) -> Result<(), Miss>;

    /// A plan was carried out: returns the claimed range that is the request's. What is left of the
    /// memory at home is free with the tag `rest`.
    fn finish(
        &self,
        space: &mut Space,
        aliases: &mut Aliases,
        plan: Plan<Self::Work>,
        need: Need,
        rest: Tag,
    ) -> Slot;

    /// A plan was not, or not all of it.
    fn give_up(&self, space: &mut Space, aliases: &mut Aliases, plan: Plan<Self::Work>);

    /// Plans to return what is free and complete, until `keep` bytes are held at least. `None` if
    /// there is nothing to return.
    fn surplus(&self, space: &mut Space, aliases: &mut Aliases, keep: u64) -> Option<Return>;

    /// Makes the driver calls of a return, until one fails.
    fn give_back(&self, held: &mut Self::Held, going: &mut Return) -> Result<(), BoxedError>;

    /// Notes what of a return is gone.
    fn note_gone(&self, space: &mut Space, aliases: &mut Aliases, going: Return);

    /// Bytes that could be returned if everything that is `usable` were complete.
    fn returnable(&self, space: &Space, aliases: &Aliases, usable: &dyn Fn(Tag) -> bool) -> u64;

    /// Bytes that could be gathered into one range without growing, if everything that is `usable`
    /// were complete.
    fn movable(&self, space: &Space, aliases: &Aliases, usable: &dyn Fn(Tag) -> bool) -> u64;

    /// Whether memory of live blocks can rest on the host. May make driver calls.
    fn can_rest(&self) -> bool {
        false
    }

    /// Gives claimed or live addresses other memory, all of them or none.
    ///
    /// # Errors
    /// Why none of them have; what of that could not be undone.
    fn exchange(&self, _held: &mut Self::Held, _job: &Exchange) -> Result<Exchanged, Undone> {
        Err(ResidencyError::new(ResidencyErrorKind::Unsupported).into())
    }

    /// Makes the addresses at which handles are lent their home, from the first on. Returns how many are,
    /// and what stopped it.
    fn settle_in(
        &self,
        _held: &mut Self::Held,
        _moves: &[(Span, u64)],
    ) -> (usize, Option<DriverError>) {
        (0, None)
    }

    /// Unmaps what is away and belongs to no block, as far as the driver agrees.
    fn leave(&self, _held: &mut Self::Held, _leaving: &mut [Leaving]) {}

    /// Tries again what failures have left undone.
    fn mend(&self, _held: &mut Self::Held) -> Vec<Displaced> {
        Vec::new()
    }

    /// The host's memory that it holds.
    fn host(&self) -> HostFigures {
        HostFigures::default()
    }

    /// How many more bytes of the host's memory it may use.
    fn host_room(&self) -> u64 {
        0
    }

    /// From now on holds at most so many bytes of the host's memory.
    fn limit_host(&self, _bytes: u64) {}

    /// Keeps so many bytes of the host's memory ready from now on.
    ///
    /// # Errors
    /// If the host has no more, or may not be used further.
    fn keep_on_host(&self, _held: &mut Self::Held, _bytes: u64) -> Result<(), ResidencyError> {
        Err(ResidencyError::new(ResidencyErrorKind::Unsupported))
    }
}
