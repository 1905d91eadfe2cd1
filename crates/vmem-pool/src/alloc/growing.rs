//! Memory from the supply, and room made for it.

use vmem_core::Features;

use super::growth_lock::Growing;
use super::{Core, Found, Slow};
use crate::space::{CLEAN, GRAIN, MOST, Slot, Space};
use crate::streams::{Access, Locked, State};
use crate::supply::{Aliases, Ask, Backing, Miss, Plan, Way};
use crate::{Counters, Footprint};

impl<B: Backing> Core<B> {
    /// Memory at an alias that is mapped already, all of it free for the request's stream at once. Makes
    /// no driver call.
    pub(super) fn resume(&self, state: &mut State, slow: &Slow<'_>) -> Option<Slot> {
        if slow.no_aliases {
            return None;
        }
        let plan = state.asking(slow, self.ceiling, |space, aliases, ask| {
            self.supply.resume(space, aliases, ask, ask.ready)
        })?;
        state.counters.returns += 1;
        let State { space, aliases, .. } = state;
        Some(self.supply.finish(space, aliases, plan, slow.need, CLEAN))
    }

    /// Takes memory from the supply, unless somebody else's growth or free has made room while this
    /// thread waited for its turn.
    pub(super) fn grow(&self, slow: &mut Slow<'_>) -> Result<(Locked<'_>, Slot), Miss> {
        let mut growing = self.lock_growth().map_err(Miss::Refused)?;
        self.supply.let_go_of_stuck(&mut growing);
        let grown = growing.grow(self.streams.lock(), slow);
        growing.end(slow);
        grown
    }

    /// The same as a stage: a refusal is noted, and the request goes on.
    pub(super) fn grow_for(&self, slow: &mut Slow<'_>) -> Found<'_> {
        let grown = self.grow(slow);
        slow.unless_refused(grown)
    }

    /// Makes room out of memory that is held but in the wrong place.
    pub(super) fn make_room(&self, slow: &mut Slow<'_>) -> Found<'_> {
        let mut growing = match self.lock_growth() {
            Ok(growing) => growing,
            Err(refused) => return slow.unless_refused(Err(Miss::Refused(refused))),
        };
        let made = if self.supply.moves() {
            let moved = growing.gather(slow);
            if moved.is_err() {
                slow.tried("moving memory", self.movable(&self.streams.lock()));
            }
            slow.unless_refused(moved)
        } else {
            growing.trim_and_grow(slow)
        };
        growing.end(slow);
        made
    }

    /// Bytes that could be gathered into one range if everything pending were complete.
    pub(super) fn movable(&self, state: &State) -> u64 {
        self.supply.movable(&state.space, &state.aliases, &|tag| !state.is_out_of_reach(tag))
    }
}

impl<'a, B: Backing> Growing<'a, B> {
    /// Ends it: what it did is the request's.
    fn end(self, slow: &mut Slow<'_>) {
        // What the request returned itself is nobody's progress.
        slow.seen += self.changes.bytes_trimmed;
        slow.changes.bytes_grown += self.changes.bytes_grown;
        slow.changes.bytes_trimmed += self.changes.bytes_trimmed;
        slow.changes.bytes_moved += self.changes.bytes_moved;
    }

    pub(super) fn grow(
        &mut self,
        mut state: Locked<'a>,
        slow: &mut Slow<'_>,
    ) -> Result<(Locked<'a>, Slot), Miss> {
        if let Some(slot) = self.core.hit(&mut state, slow.lane, slow.need, slow.own) {
            return Ok((state, slot));
        }
        self.note_held(&mut state);
        let grown = self.take_more(state, slow);
        if grown.is_err() {
            slow.tried("growth", 0);
        }
        grown
    }

    /// Memory at an alias that is mapped already, or moved if that is preferred, or more.
    fn take_more(
        &mut self,
        mut state: Locked<'a>,
        slow: &mut Slow<'_>,
    ) -> Result<(Locked<'a>, Slot), Miss> {
        let Core { supply, streams, config, ceiling, .. } = self.core;
        while !slow.no_aliases {
            let plan = state.asking(slow, *ceiling, |space, aliases, ask| {
                supply.resume(space, aliases, ask, ask.usable)
            });
            let Some(plan) = plan else { break };
            match self.carry_out(state, slow, plan) {
                Ok(placed) => return Ok(placed),
                Err(miss) => slow.skip(miss)?,
            }
            state = streams.lock();
        }
        let limit = (*ceiling).min(supply.most());
        let may_move =
            config.footprint == Footprint::Tight && may_move_first(&state.counters, limit);
        let moving = may_move
            && state.asking(slow, *ceiling, |space, aliases, ask| {
                supply.gathering_saves(space, aliases, ask)
            });
        if moving {
            drop(state);
            match self.gather(slow) {
                // Short of addresses or of memory, or of room since less may be moved than it seemed:
                // growth at home may need none of them.
                Err(Miss::Refused(_) | Miss::Addresses | Miss::Ceiling) => {}
                moved => return moved,
            }
            state = streams.lock();
        }
        let (needed, reserved) = (slow.need.size, state.counters.reserved);
        let policy = config.growth.unwrap_or_else(|| supply.default_growth());
        let target = policy.target(needed, reserved, ceiling.saturating_sub(reserved).min(MOST));
        let target = if slow.own { needed } else { target };
        // There may be an odd number of bytes where there is no ceiling; ranges lie on the grain.
        match self.extend(state, slow, target / GRAIN * GRAIN) {
            Err(Miss::Ceiling | Miss::Refused(_) | Miss::Addresses) if target > needed => {
                self.extend(streams.lock(), slow, needed)
            }
            extended => extended,
        }
    }

    /// Takes memory until `size` bytes lie together, of which the request gets what it needs. A lane
    /// that cannot be waited for now is done without.
    fn extend(
        &mut self,
        mut state: Locked<'a>,
        slow: &mut Slow<'_>,
        size: u64,
    ) -> Result<(Locked<'a>, Slot), Miss> {
        let core = self.core;
        loop {
            let plan = state.asking(slow, core.ceiling, |space, _, ask| {
                core.supply.extend(self, space, ask, size)
            })?;
            match self.carry_out(state, slow, plan) {
                Ok(extended) => return Ok(extended),
                Err(miss) => slow.skip(miss)?,
            }
            state = core.streams.lock();
        }
    }

    /// Moves memory to where the request can be placed and takes what is missing. Gives up aliases
    /// where addresses are short or aliases too many.
    pub(super) fn gather(&mut self, slow: &mut Slow<'_>) -> Result<(Locked<'a>, Slot), Miss> {
        let core = self.core;
        self.make_addresses(slow)?;
        loop {
            let mut state = core.streams.lock();
            let plan = state.asking(slow, core.ceiling, |space, aliases, ask| {
                core.supply.gather(self, space, aliases, ask)
            })?;
            match self.carry_out(state, slow, plan) {
                // That asks about events.
                Ok(moved) if slow.captures => return Ok(moved),
                Ok((state, slot)) => return Ok((self.limit_aliases(state), slot)),
                Err(miss) => slow.skip(miss)?,
            }
        }
    }

    /// Orders the request's stream after the last uses of what a plan claimed, makes its driver calls,
    /// and gives the request its memory; or puts everything back.
    fn carry_out(
        &mut self,
        state: Locked<'a>,
        slow: &mut Slow<'_>,
        mut plan: Plan<B::Work>,
    ) -> Result<(Locked<'a>, Slot), Miss> {
        let Core { supply, streams, .. } = self.core;
        drop(state);
        let (request, lane) = (slow.request, slow.lane);
        let ordered = streams.order_after(&mut plan.claim, lane, request.stream);
        let done = ordered.and_then(|()| supply.carry_out(self, &mut plan, request));
        let mut state = streams.lock();
        self.note_held(&mut state);
        let rest = match plan.way {
            _ if done.is_err() => CLEAN,
            Way::Move(bytes) => {
                state.counters.moves += 1;
                state.counters.bytes_moved += bytes;
                self.changes.bytes_moved += bytes;
                CLEAN
            }
            Way::Resumption => {
                state.counters.returns += 1;
                CLEAN
            }
            Way::Growth if lane == CLEAN.lane => CLEAN,
            // The supply's memory is the request's stream's to use; others wait for that.
            Way::Growth if supply.capabilities().has(Features::STREAM_ORDERED) => {
                state.lanes.open_tag(lane)
            }
            Way::Growth => state.rest_of(&plan.claim, lane),
        };
        let State { space, aliases, counters, lanes, .. } = &mut *state;
        plan.claim.note_lenders(|tag| lanes.lender(tag, lane));
        let slot = match done {
            Ok(()) => Ok(supply.finish(space, aliases, plan, slow.need, rest)),
            Err(miss) => {
                supply.give_up(space, aliases, plan);
                slow.seen += 1;
                Err(miss)
            }
        };
        counters.aliased = aliases.bytes();
        Ok((state, slot?))
    }
}

/// Whether memory may be moved where more could be taken instead.
///
/// Three times what is held is what it takes a program that repeats itself to settle; one that does not gets
/// more as it allocates. Where most of what there is has been needed, memory not taken helps nobody, and
/// what lies together at home leaves more room for what comes later.
fn may_move_first(counters: &Counters, limit: u64) -> bool {
    let from_start = counters.peak_reserved.saturating_mul(3);
    let budget = from_start.saturating_add(counters.bytes_allocated / 128);
    counters.bytes_moved <= budget && counters.peak_live <= limit / 4 * 3
}

impl State {
    /// Hands a supply what it is told of a request, and the parts of the pool that it may change.
    pub(super) fn asking<R>(
        &mut self,
        slow: &Slow<'_>,
        ceiling: u64,
        plan: impl FnOnce(&mut Space, &mut Aliases, &Ask<'_>) -> R,
    ) -> R {
        let most = if slow.spares { ceiling.min(self.most_apart()) } else { ceiling };
        let Self { space, lanes, aliases, counters, .. } = self;
        let ready =
            |tag| matches!(lanes.access(tag, slow.lane), Access::Now) && !slow.leaves(lanes, tag);
        let usable = |tag| slow.may_use(lanes, tag);
        let (limit, room) = (ceiling, most.saturating_sub(counters.reserved));
        let Slow { need, lane, own, ref refused, .. } = *slow;
        let refused = refused.is_some();
        let (ready, usable) = (&ready, &usable);
        plan(space, aliases, &Ask { need, lane, own, limit, room, refused, ready, usable })
    }
}
