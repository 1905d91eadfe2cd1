//! Moving the memory of live blocks to the host and back.
//!
//! The blocks are marked first, so that whoever frees one of them meanwhile leaves its memory to the thread
//! that moves it. What moves is planned and claimed under the pool's lock, the driver calls are made
//! without it, and under it again all of it is noted.

use std::collections::BTreeSet;

use vmem_core::{
    Contents, Label, MemoryEventKind, Moved, RawBlock, ResidencyError, ResidencyErrorKind,
};

use super::Core;
use super::growth_lock::Growing;
use crate::Pending;
use crate::space::Slot;
use crate::streams::State;
use crate::supply::{Backing, Exchange, Exchanged, Return, To, Undone};

/// The blocks whose memory is to move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    These(&'a [RawBlock]),
    Labelled(Label),
    All,
}

/// How far a move reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The blocks that are named.
    Named,
    /// Those that share handles with them as well.
    Sharing,
}

impl<B: Backing> Core<B> {
    /// Moves memory of blocks on which no work is pending.
    pub(super) fn move_blocks(&self, which: Which<'_>, to: To) -> Result<Moved, ResidencyError> {
        self.move_with_reach(which, to, Reach::Named)
    }

    pub(super) fn put_to_sleep(
        &self,
        which: Which<'_>,
        contents: Contents,
        pending: Pending,
    ) -> Result<Moved, ResidencyError> {
        let to = match contents {
            Contents::Kept => To::Host,
            Contents::Discarded => To::Nowhere,
        };
        self.check_can_move(to)?;
        self.settle_pending(pending)?;
        self.move_with_reach(which, to, Reach::Named)
    }

    pub(super) fn wake_up(
        &self,
        which: Which<'_>,
        pending: Pending,
    ) -> Result<Moved, ResidencyError> {
        self.check_can_move(To::Device)?;
        self.settle_pending(pending)?;
        self.move_with_reach(which, To::Device, Reach::Sharing)
    }

    pub(super) fn fill_host_reserve(&self, bytes: u64) -> Result<(), ResidencyError> {
        self.check_can_move(To::Host)?;
        let mut growing = self.lock_growth().map_err(refused)?;
        let filled = self.supply.keep_on_host(&mut growing, bytes);
        growing.note_host(&mut self.streams.lock());
        filled
    }

    fn check_can_move(&self, to: To) -> Result<(), ResidencyError> {
        let can = match to {
            To::Host => self.supply.can_rest(),
            To::Device | To::Nowhere => self.supply.moves(),
        };
        if can { Ok(()) } else { Err(ResidencyError::new(ResidencyErrorKind::Unsupported)) }
    }

    fn move_with_reach(
        &self,
        which: Which<'_>,
        to: To,
        reach: Reach,
    ) -> Result<Moved, ResidencyError> {
        self.check_can_move(to)?;
        let observed = self.streams.close_all().and_then(|()| self.streams.refresh());
        if let Err(error) = observed {
            tracing::debug!(%error, "what is complete could not be asked");
        }
        let mut growing = self.lock_growth().map_err(refused)?;
        let moved = growing.move_blocks(which, to, reach);
        let changes = growing.changes;
        drop(growing);
        let tell = |bytes, kind: fn(u64) -> MemoryEventKind| {
            if bytes > 0 {
                self.tell(kind(bytes), |event| event);
            }
        };
        tell(changes.bytes_trimmed, |bytes| MemoryEventKind::Trim { bytes });
        tell(changes.bytes_grown, |bytes| MemoryEventKind::Growth { bytes });
        moved
    }
}

fn refused(error: vmem_core::BoxedError) -> ResidencyError {
    ResidencyError::new(ResidencyErrorKind::Busy).with_source(error)
}

fn driver(error: impl Into<vmem_core::BoxedError>) -> ResidencyError {
    ResidencyError::new(ResidencyErrorKind::Driver).with_source(error)
}

impl<B: Backing> Growing<'_, B> {
    fn move_blocks(
        &mut self,
        which: Which<'_>,
        to: To,
        reach: Reach,
    ) -> Result<Moved, ResidencyError> {
        self.tidy();
        let streams = &self.core.streams;
        let _pin = streams.pin();
        let blocks = {
            let mut state = streams.lock();
            state.settle();
            let named = state.named(which, streams.id)?;
            let blocks = match reach {
                Reach::Named => named,
                Reach::Sharing => state.aliases.sharing(&state.space, &named),
            };
            state.begin_moving(&blocks);
            blocks
        };
        let moved = self.move_marked(&blocks, to);
        let mut state = streams.lock();
        state.end_moving();
        self.note_host(&mut state);
        self.note_held(&mut state);
        moved
    }

    /// Moves the memory of blocks that are marked.
    fn move_marked(&mut self, blocks: &BTreeSet<Slot>, to: To) -> Result<Moved, ResidencyError> {
        let Core { streams, ceiling, .. } = self.core;
        if to != To::Device {
            blocks.iter().try_for_each(|&block| self.settle_in(block))?;
        }
        let mut state = streams.lock();
        let State { space, aliases, lanes, .. } = &mut *state;
        if blocks.iter().any(|&block| aliases.is_displaced(space[block].span())) {
            let reason = "memory that a failure displaced could not be put back yet";
            return Err(driver(reason));
        }
        let moving = aliases.plan_move(space, blocks, to, &|tag| lanes.is_complete(tag));
        let hidden = match to {
            To::Device => Vec::new(),
            To::Host | To::Nowhere => aliases.hide_showing(space, &moving.runs),
        };
        drop(state);
        let unmapped = self.carry_back(Return::of_aliases(hidden));
        if to == To::Device {
            self.make_room_for(moving.device);
        }
        let job = Exchange { runs: moving.runs.clone(), to, ceiling: *ceiling };
        let exchanged = match unmapped {
            Ok(()) => self.exchange(&job),
            Err(error) => Err(driver(error).into()),
        };
        if to == To::Device {
            self.core.supply.let_go_of_spares(self);
        }
        let mut state = streams.lock();
        let State { space, aliases, counters, .. } = &mut *state;
        match exchanged {
            Ok(done) => {
                let moved = Moved::new(moving.device, done.copied, moving.stayed);
                aliases.moved(space, moving, to, &done);
                match to {
                    To::Device => counters.bytes_promoted += moved.device,
                    To::Host | To::Nowhere => counters.bytes_demoted += moved.device,
                }
                Ok(moved)
            }
            Err(Undone { error, displaced, .. }) => {
                aliases.not_moved(space, moving, &displaced);
                Err(error)
            }
        }
    }

    /// Exchanges, and if the device has too little memory, once more after all that is free went back.
    fn exchange(&mut self, job: &Exchange) -> Result<Exchanged, Undone> {
        let supply = &self.core.supply;
        match supply.exchange(self, job) {
            Err(Undone { error, .. }) if error.kind() == ResidencyErrorKind::DeviceFull => {
                if self.give_back(0).0 == 0 {
                    return Err(error.into());
                }
                supply.exchange(self, job)
            }
            exchanged => exchanged,
        }
    }

    /// Unmaps free memory as far as the ceiling leaves too little room, to be mapped elsewhere.
    fn make_room_for(&mut self, bytes: u64) {
        let Core { supply, streams, ceiling, .. } = self.core;
        let mut room = ceiling.saturating_sub(supply.held());
        while room < bytes {
            let mut state = streams.lock();
            state.settle();
            let State { space, aliases, .. } = &mut *state;
            // Handles of no more than that, or the fewest that are more.
            let (held, mut most) = (supply.held(), (bytes - room).max(supply.granule()));
            let going = loop {
                match supply.surplus(space, aliases, held.saturating_sub(most)) {
                    None if most < held => most *= 2,
                    found => break found,
                }
            };
            drop(state);
            let Some(mut going) = going else { return };
            going.is_kept = true;
            room += going.bytes();
            if let Err(error) = self.carry_back(going) {
                tracing::debug!(%error, "no room could be made");
                return;
            }
        }
    }

    /// Makes the addresses of a block at an alias the home of the handles that it has whole.
    fn settle_in(&mut self, block: Slot) -> Result<(), ResidencyError> {
        let Core { supply, streams, .. } = self.core;
        let mut state = streams.lock();
        let State { space, aliases, .. } = &mut *state;
        if !aliases.lend(space[block].start) {
            return Ok(());
        }
        let Some(settling) = aliases.settling(space, block) else { return Ok(()) };
        drop(state);
        self.carry_back(Return::of_aliases(settling.hidden)).map_err(driver)?;
        let (done, stopped) = supply.settle_in(self, &settling.handles);
        let mut state = streams.lock();
        let State { space, aliases, counters, .. } = &mut *state;
        aliases.settle_in(space, settling.start, &settling.handles[..done]);
        counters.aliased = aliases.bytes();
        stopped.map_or(Ok(()), |error| Err(driver(error)))
    }

    /// Puts right what failures have left, and gives up what rests and belongs to no block any more.
    pub(super) fn tidy(&mut self) {
        let Core { supply, streams, .. } = self.core;
        let mended = supply.mend(self);
        let mut state = streams.lock();
        let State { space, aliases, lanes, .. } = &mut *state;
        aliases.mended(space, mended);
        let mut leaving = aliases.leaving(space, |tag| lanes.is_complete(tag));
        if leaving.is_empty() {
            return;
        }
        drop(state);
        supply.leave(self, &mut leaving);
        let mut state = streams.lock();
        let State { space, aliases, .. } = &mut *state;
        aliases.left(space, leaving);
        self.note_host(&mut state);
    }

    /// Gives the host's memory back that nothing uses.
    pub(super) fn empty_host_reserve(&mut self) -> Result<(), vmem_core::BoxedError> {
        let Core { supply, streams, .. } = self.core;
        if supply.host().ready == 0 {
            return Ok(());
        }
        let emptied = supply.keep_on_host(self, 0);
        self.note_host(&mut streams.lock());
        emptied.map_err(Into::into)
    }

    /// Notes what is held of the host's memory.
    fn note_host(&self, state: &mut State) {
        let host = self.core.supply.host();
        state.counters.on_host = host.held.saturating_sub(host.ready);
        state.counters.host_reserve = host.ready;
    }
}

impl State {
    /// The slots of the blocks that are named.
    fn named(
        &self,
        which: Which<'_>,
        owner: vmem_core::ResourceId,
    ) -> Result<BTreeSet<Slot>, ResidencyError> {
        let labelled = |wanted: Option<Label>| {
            let live = self.space.iter().filter(|(_, range)| range.is_live());
            let wanted = live.filter(|(_, range)| {
                wanted.is_none_or(|wanted| range.block().is_some_and(|(_, it, _)| it == wanted))
            });
            wanted.map(|(slot, _)| slot).collect()
        };
        match which {
            Which::All => Ok(labelled(None)),
            Which::Labelled(label) => Ok(labelled(Some(label))),
            Which::These(blocks) => {
                let slot = |block: &RawBlock| {
                    let own = block.owner() == owner;
                    let slot = own.then(|| self.space.slot_of(block)).flatten();
                    slot.ok_or_else(|| {
                        let error = ResidencyError::new(ResidencyErrorKind::NotLive);
                        error.with_source(format!("the block at {}", block.ptr()))
                    })
                };
                blocks.iter().map(slot).collect()
            }
        }
    }

    fn begin_moving(&mut self, blocks: &BTreeSet<Slot>) {
        for &block in blocks {
            self.space.set_resting(block, true);
        }
        let Self { space, aliases, .. } = self;
        aliases.resting.begin_moving(blocks.iter().map(|&block| space[block].start));
    }

    /// Frees what was freed meanwhile, and notes of the others whether some of their memory is away.
    fn end_moving(&mut self) {
        let Self { space, aliases, .. } = self;
        for (start, freed) in aliases.resting.end_moving() {
            let Some(slot) = space.covering(start) else { continue };
            match freed {
                Some(tag) => aliases.release_claimed(space, slot, tag),
                None => {
                    let away = aliases.is_away(space[slot].span());
                    space.set_resting(slot, away);
                }
            }
        }
    }
}
