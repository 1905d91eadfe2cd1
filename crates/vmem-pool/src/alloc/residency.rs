//! Moving the memory of live blocks to the host and back.
//!
//! The blocks are marked first, so that whoever frees one of them meanwhile leaves its memory to the thread
//! that moves it. What moves is planned and claimed under the pool's lock, the driver calls are made
//! without it, and under it again all of it is noted.

use std::collections::BTreeSet;

use vmem_core::{Label, Moved, RawBlock, ResidencyError, ResidencyErrorKind, ResourceId};

use super::Core;
use super::growth_lock::Growing;
use crate::Pending;
use crate::space::{Slot, Span};
use crate::streams::State;
use crate::supply::{Backing, Moving, Place, Return, VirtualArena};

/// The blocks whose memory is to move.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// Those only.
    These(&'a [RawBlock]),
    Labelled(Label),
    All,
}

impl<B: Backing> Core<B> {
    /// Moves memory of blocks on which no work is pending: as the caller promises, or as is waited for or
    /// found out.
    pub(super) fn move_blocks(
        &self,
        which: Which<'_>,
        to: Place,
        pending: Option<Pending>,
    ) -> Result<Moved, ResidencyError> {
        self.check_can_move(to)?;
        // Before anything is waited for: in the memory of a block that comes meanwhile work may be pending.
        let before = self.streams.lock().named(which, self.streams.id)?;
        pending.map_or(Ok(()), |pending| self.settle_pending(pending))?;
        if let Err(error) = self.streams.ask() {
            tracing::debug!(%error, "what is complete could not be asked");
        }
        let mut growing = self.lock_growth().map_err(refused)?;
        let moved = growing.move_blocks(which, &before, to);
        let changes = growing.changes;
        drop(growing);
        self.tell_changes(&changes);
        moved
    }

    pub(super) fn fill_host_reserve(&self, bytes: u64) -> Result<(), ResidencyError> {
        self.check_can_move(Place::Host)?;
        self.lock_growth().map_err(refused)?.keep_on_host(bytes)
    }

    fn check_can_move(&self, to: Place) -> Result<(), ResidencyError> {
        let can = |arena: &VirtualArena| to != Place::Host || arena.can_rest();
        if self.supply.arena().is_some_and(can) {
            return Ok(());
        }
        Err(ResidencyError::new(ResidencyErrorKind::Unsupported))
    }
}

fn refused(error: vmem_core::BoxedError) -> ResidencyError {
    ResidencyError::new(ResidencyErrorKind::Busy).with_source(error)
}

fn driver(error: impl Into<vmem_core::BoxedError>) -> ResidencyError {
    ResidencyError::new(ResidencyErrorKind::Driver).with_source(error)
}

impl<B: Backing> Growing<'_, B> {
    /// Moves memory of the blocks that are named, of those that were `before` too.
    fn move_blocks(
        &mut self,
        which: Which<'_>,
        before: &BTreeSet<(Slot, u32)>,
        to: Place,
    ) -> Result<Moved, ResidencyError> {
        self.tidy();
        let streams = &self.core.streams;
        let _pin = streams.pin();
        let blocks = {
            let mut state = streams.lock();
            state.settle();
            let named = state.named(which, streams.id)?;
            let mut blocks = named.intersection(before).map(|&(slot, _)| slot).collect();
            if to == Place::Device && !matches!(which, Which::These(_)) {
                blocks = state.memory().sharing(blocks);
            }
            state.memory().begin_moving(&blocks);
            blocks
        };
        let moved = self.move_marked(&blocks, to);
        let mut state = streams.lock();
        state.memory().end_moving();
        self.note_host(&mut state);
        self.note_held(&mut state);
        moved
    }

    /// Moves the memory of blocks that are marked.
    fn move_marked(&mut self, blocks: &BTreeSet<Slot>, to: Place) -> Result<Moved, ResidencyError> {
        let streams = &self.core.streams;
        if to != Place::Device {
            blocks.iter().try_for_each(|&block| self.settle_in(block))?;
        }
        let mut state = streams.lock();
        let (mut memory, lanes) = state.parts();
        if blocks.iter().any(|&block| memory.aliases.is_displaced(memory.space[block].span())) {
            let reason = "memory that a failure displaced could not be put back yet";
            return Err(driver(reason));
        }
        let mut moving = memory.plan_move(blocks, to, &|tag| lanes.is_complete(tag));
        let hidden = match to {
            Place::Device => Vec::new(),
            _ => memory.hide_showing(&moving.runs, None),
        };
        drop(state);
        let unmapped = self.carry_back(Return::new(Vec::new(), hidden)).map_err(driver);
        if to == Place::Device {
            self.make_room_for(moving.moved.device);
        }
        let exchanged = unmapped.and_then(|()| self.exchange(&mut moving));
        if to == Place::Device
            && let Some((arena, handles)) = self.mapped()
        {
            arena.release_spares(handles);
        }
        let mut state = streams.lock();
        if let Err(error) = exchanged {
            state.memory().not_moved(moving);
            return Err(error);
        }
        let moved = state.memory().moved(moving);
        let State { counters, .. } = &mut *state;
        match to {
            Place::Device => counters.bytes_promoted += moved.device,
            _ => counters.bytes_demoted += moved.device,
        }
        Ok(moved)
    }

    /// Exchanges, and if the device has too little memory, once more after all that is free went back.
    fn exchange(&mut self, moving: &mut Moving) -> Result<(), ResidencyError> {
        match self.exchange_once(moving) {
            Err(error) if error.kind() == ResidencyErrorKind::DeviceFull => {
                if self.give_back(0).0 == 0 {
                    return Err(error);
                }
                self.exchange_once(moving)
            }
            exchanged => exchanged,
        }
    }

    fn exchange_once(&mut self, moving: &mut Moving) -> Result<(), ResidencyError> {
        let ceiling = self.core.ceiling;
        match self.mapped() {
            Some((arena, handles)) => arena.exchange(handles, moving, ceiling),
            None => Err(ResidencyError::new(ResidencyErrorKind::Unsupported)),
        }
    }

    /// Unmaps free memory as far as the ceiling leaves too little room, to be mapped elsewhere.
    fn make_room_for(&mut self, bytes: u64) {
        let Core { supply, streams, ceiling, .. } = self.core;
        let mut room = ceiling.saturating_sub(supply.held());
        while room < bytes {
            let mut state = streams.lock();
            state.settle();
            let mut memory = state.memory();
            // Handles of no more than that, or the fewest that are more.
            let (held, mut most) = (supply.held(), (bytes - room).max(supply.granule()));
            let surplus = loop {
                let surplus = supply.surplus(&memory, held.saturating_sub(most));
                if !surplus.is_empty() || most >= held {
                    break surplus;
                }
                most *= 2;
            };
            if surplus.is_empty() {
                return;
            }
            let mut going = memory.begin_return(surplus);
            drop(state);
            going.is_kept = true;
            room += going.memory.iter().map(|run| run.size).sum::<u64>();
            if let Err(error) = self.carry_back(going) {
                tracing::debug!(%error, "no room could be made");
                return;
            }
        }
    }

    /// Makes the addresses of a block at an alias the home of the handles that it has whole.
    fn settle_in(&mut self, block: Slot) -> Result<(), ResidencyError> {
        let streams = &self.core.streams;
        let mut state = streams.lock();
        let mut memory = state.memory();
        if !memory.aliases.lend(memory.space[block].start) {
            return Ok(());
        }
        let Some((start, lent)) = memory.lent_to(block) else { return Ok(()) };
        let homes: Vec<Span> = lent.iter().map(|&(home, _)| home).collect();
        let hidden = memory.hide_showing(&homes, Some(start));
        drop(state);
        self.carry_back(Return::new(Vec::new(), hidden)).map_err(driver)?;
        let Some((arena, handles)) = self.mapped() else { return Ok(()) };
        let (done, settled) = arena.settle_in(handles, &lent);
        let mut state = streams.lock();
        state.memory().settle_in(start, &lent[..done]);
        state.counters.aliased = state.aliases.bytes;
        settled.map_err(driver)
    }

    /// Puts right what failures have left, and gives up what rests and belongs to no block any more.
    pub(super) fn tidy(&mut self) {
        let streams = &self.core.streams;
        let Some((arena, handles)) = self.mapped() else { return };
        let mended = arena.mend(handles);
        let mut state = streams.lock();
        let (mut memory, lanes) = state.parts();
        memory.mended(mended);
        let leaving = memory.leaving(|tag| lanes.is_complete(tag));
        if !leaving.is_empty() {
            drop(state);
            let leave = |(span, place)| (span, arena.leave(handles, span, place));
            let left = leaving.into_iter().map(leave).collect();
            state = streams.lock();
            state.memory().left(left);
        }
        self.note_host(&mut state);
        self.note_held(&mut state);
    }

    /// Keeps so many bytes of the host's memory ready from now on.
    pub(super) fn keep_on_host(&mut self, bytes: u64) -> Result<(), ResidencyError> {
        let Some((arena, handles)) = self.mapped() else { return Ok(()) };
        let kept = arena.keep_on_host(handles, bytes);
        self.note_host(&mut self.core.streams.lock());
        kept
    }

    /// Notes what is held of the host's memory.
    fn note_host(&mut self, state: &mut State) {
        if let Some((arena, handles)) = self.mapped() {
            let ready = handles.ready_on_host();
            state.counters.on_host = arena.held_on_host() - ready;
            state.counters.host_reserve = ready;
        }
    }
}

impl State {
    /// The slots of the blocks that are named, with their generations.
    fn named(
        &self,
        which: Which<'_>,
        owner: ResourceId,
    ) -> Result<BTreeSet<(Slot, u32)>, ResidencyError> {
        let labelled = |wanted: Option<Label>| {
            let live =
                self.space.ranges.iter().filter_map(|(slot, range)| Some((slot, range.block()?)));
            let wanted = live.filter(|(_, (_, it, _))| wanted.is_none_or(|wanted| *it == wanted));
            wanted.map(|(slot, (.., generation))| (slot, generation)).collect()
        };
        match which {
            Which::All => Ok(labelled(None)),
            Which::Labelled(label) => Ok(labelled(Some(label))),
            Which::These(blocks) => {
                let slot = |block: &RawBlock| {
                    let own = block.owner() == owner;
                    let slot = own.then(|| self.space.ranges.slot_of(block)).flatten();
                    slot.map(|slot| (slot, block.generation())).ok_or_else(|| {
                        let error = ResidencyError::new(ResidencyErrorKind::NotLive);
                        error.with_source(format!("the block at {}", block.ptr()))
                    })
                };
                blocks.iter().map(slot).collect()
            }
        }
    }
}
