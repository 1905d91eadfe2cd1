//! Memory from the supply, and room made for it.

use vmem_core::Features;

use super::growth_lock::Growing;
use super::{Core, Found, Placed, Slow};
use crate::space::{CLEAN, GRAIN, MOST, Slot, Span};
use crate::streams::{Access, Locked, State};
use crate::supply::{Ask, Backing, Miss, Plan, Way};
use crate::{Counters, Footprint};

impl<B: Backing> Core<B> {
    /// Memory at an alias that is mapped already, all of it free for the request's stream at once. Makes
    /// no driver call.
    pub(super) fn resume(&self, state: &mut State, slow: &Slow<'_>) -> Option<Slot> {
        if slow.no_aliases {
            return None;
        }
        let shared = slow.shared(self.supply.granule());
        let plan = state.plan(slow, self.ceiling, |ask| ask.resume(shared, ask.ready));
        let plan = plan.ok()?;
        state.counters.returns += 1;
        Some(state.memory().finish(plan, slow.need, CLEAN, |_| None))
    }

    /// Takes memory from the supply, unless somebody else's growth or free has made room while this
    /// thread waited for its turn.
    pub(super) fn grow(&self, slow: &mut Slow<'_>) -> Placed<'_> {
        let mut growing = self.lock_growth().map_err(Miss::Refused)?;
        if let Some((arena, handles)) = growing.mapped() {
            arena.release_unusable(handles);
        }
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
                slow.tried("moving memory", self.movable(&mut self.streams.lock()));
            }
            slow.unless_refused(moved)
        } else {
            growing.trim_and_grow(slow)
        };
        growing.end(slow);
        made
    }

    /// Bytes that could be gathered into one range if everything pending were complete.
    pub(super) fn movable(&self, state: &mut State) -> u64 {
        let Some((all, aliases_from)) = self.supply.addresses() else { return 0 };
        let free = state.free_in_reach();
        state.memory().most_gathered(&free).min(all.end() - aliases_from)
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

    pub(super) fn grow(&mut self, mut state: Locked<'a>, slow: &mut Slow<'_>) -> Placed<'a> {
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
    fn take_more(&mut self, mut state: Locked<'a>, slow: &mut Slow<'_>) -> Placed<'a> {
        let Core { supply, streams, config, ceiling, .. } = self.core;
        while !slow.no_aliases {
            let shared = slow.shared(supply.granule());
            let plan = state.plan(slow, *ceiling, |ask| ask.resume(shared, ask.usable));
            let Ok(plan) = plan else { break };
            match self.carry_out(state, slow, plan) {
                Ok(placed) => return Ok(placed),
                Err(miss) => slow.skip(miss)?,
            }
            state = streams.lock();
        }
        let limit = (*ceiling).min(supply.most());
        let may_move =
            config.footprint == Footprint::Tight && may_move_first(&state.counters, limit);
        let moving = may_move && state.asking(slow, *ceiling, |ask| supply.gathering_saves(ask));
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

    /// Takes memory until `size` bytes lie together, of which the request gets what it needs.
    fn extend(&mut self, state: Locked<'a>, slow: &mut Slow<'_>, size: u64) -> Placed<'a> {
        self.attempt(state, slow, |growing, ask| growing.core.supply.extend(growing, ask, size))
    }

    /// Moves memory to where the request can be placed and takes what is missing. Gives up aliases
    /// where addresses are short or aliases too many.
    pub(super) fn gather(&mut self, slow: &mut Slow<'_>) -> Placed<'a> {
        self.make_addresses(slow);
        let state = self.core.streams.lock();
        let gather = |growing: &Self, ask: &Ask<'_>| growing.core.supply.gather(growing, ask);
        let (state, slot) = self.attempt(state, slow, gather)?;
        // A limit asks about events.
        Ok((if slow.captures { state } else { self.limit_aliases(state) }, slot))
    }

    /// Plans and carries out until that succeeds. A lane that cannot be waited for now is done without.
    fn attempt(
        &mut self,
        mut state: Locked<'a>,
        slow: &mut Slow<'_>,
        plan: impl Fn(&Self, &Ask<'_>) -> Result<Plan, Miss>,
    ) -> Placed<'a> {
        loop {
            let plan = state.plan(slow, self.core.ceiling, |ask| plan(self, ask))?;
            match self.carry_out(state, slow, plan) {
                Ok(found) => return Ok(found),
                Err(miss) => slow.skip(miss)?,
            }
            state = self.core.streams.lock();
        }
    }

    /// Orders the request's stream after the last uses of what a plan claimed, makes its driver calls,
    /// and gives the request its memory; or puts everything back.
    fn carry_out(&mut self, state: Locked<'a>, slow: &mut Slow<'_>, mut plan: Plan) -> Placed<'a> {
        let Core { supply, streams, .. } = self.core;
        drop(state);
        let (request, lane) = (slow.request, slow.lane);
        let ordered = streams.order_after(&mut plan.claim, lane, request.stream);
        let done = ordered.and_then(|()| supply.carry_out(self, &mut plan, request));
        let mut state = streams.lock();
        self.note_held(&mut state);
        let rest = match plan.way {
            _ if done.is_err() => CLEAN,
            Way::Move { bytes, .. } => {
                state.counters.moves += 1;
                state.counters.bytes_moved += bytes;
                self.changes.bytes_moved += bytes;
                CLEAN
            }
            Way::Resumption { .. } => {
                state.counters.returns += 1;
                CLEAN
            }
            Way::Growth if lane == CLEAN.lane => CLEAN,
            // The supply's memory is the request's stream's to use; others wait for that.
            Way::Growth if supply.capabilities().has(Features::STREAM_ORDERED) => {
                state.lanes.table.open_tag(lane)
            }
            Way::Growth => state.lanes.rest_of(&plan.claim, lane),
        };
        let (mut memory, lanes) = state.parts();
        let slot = match done {
            Ok(()) => Ok(memory.finish(plan, slow.need, rest, |tag| lanes.lender(tag, lane))),
            Err(miss) => {
                memory.give_up(plan);
                slow.seen += 1;
                Err(miss)
            }
        };
        state.counters.aliased = state.aliases.bytes;
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
    /// Plans for a request, and claims what the plan concerns.
    fn plan(
        &mut self,
        slow: &Slow<'_>,
        ceiling: u64,
        plan: impl FnOnce(&Ask<'_>) -> Result<Plan, Miss>,
    ) -> Result<Plan, Miss> {
        let mut plan = self.asking(slow, ceiling, plan)?;
        self.memory().begin(&mut plan);
        Ok(plan)
    }

    /// Shows a supply the memory, and tells it of a request.
    fn asking<R>(&mut self, slow: &Slow<'_>, ceiling: u64, plan: impl FnOnce(&Ask<'_>) -> R) -> R {
        let most = if slow.spares { ceiling.min(self.most_apart()) } else { ceiling };
        let (limit, room) = (ceiling, most.saturating_sub(self.counters.reserved));
        let (memory, lanes) = self.parts();
        let ready =
            |tag| matches!(lanes.access(tag, slow.lane), Access::Now) && !slow.leaves(lanes, tag);
        let usable = |tag| slow.may_use(lanes, tag);
        let Slow { need, lane, own, ref refused, .. } = *slow;
        let refused = refused.is_some();
        let (ready, usable) = (&ready, &usable);
        plan(&Ask { memory, need, lane, own, limit, room, refused, ready, usable })
    }

    /// Stretches of free memory that could be used if everything pending were complete.
    pub(super) fn free_in_reach(&self) -> Vec<Span> {
        self.space.free_stretches(|tag| !self.lanes.is_out_of_reach(tag))
    }
}
