//! Memory from the supply, and room made for it.

use std::time::Duration;

use vmem_core::{BoxedError, DriverError, Features, MemoryEventKind};

use super::{Climb, Rung, Step, Wait};
use crate::engine::{Core, Growing, Locked, State};
use crate::lanes::{Access, CLEAN, Reuse};
use crate::space::{GRAIN, MOST, RangeState, Slot, Space, Tag};
use crate::supply::{Aliases, Ask, Backing, Miss, Plan, Return, Way};

impl<B: Backing> Core<B> {
    /// Takes memory from the supply, unless somebody else's growth or free has made room while this
    /// thread waited for its turn.
    pub(crate) fn grow(&self, climb: &mut Climb<'_>) -> Result<Slot, Miss> {
        let mut growing = self.lock_growth().map_err(Miss::Refused)?;
        self.supply.let_go_of_stuck(&mut growing);
        let state = self.lock();
        let grown = self.grow_locked(state, climb, &mut growing);
        self.tell_changes(climb, growing);
        grown
    }

    /// The same as a rung: a refusal is noted, and the climb goes on.
    pub(super) fn grow_for(&self, climb: &mut Climb<'_>) -> Step {
        let grown = self.grow(climb).map(Some);
        climb.unless_refused(grown)
    }

    /// Makes room out of memory that is held but in the wrong place.
    pub(super) fn make_room(&self, climb: &mut Climb<'_>) -> Step {
        let mut growing = match self.lock_growth().map_err(Miss::Refused) {
            Ok(growing) => growing,
            Err(refused) => return climb.unless_refused(Err(refused)),
        };
        let made = if self.supply.moves() {
            let moved = self.gather(climb, &mut growing);
            if moved.is_err() {
                climb.tried(Rung::Move, self.movable(&self.lock()));
            }
            moved.map(Some)
        } else {
            self.trim_and_grow(climb, &mut growing)
        };
        self.tell_changes(climb, growing);
        climb.unless_refused(made)
    }

    /// Bytes that could be gathered into one range if everything pending were complete.
    pub(crate) fn movable(&self, state: &State) -> u64 {
        self.supply.movable(&state.space, &|tag| !state.is_out_of_reach(tag))
    }

    /// Tells the observer, and the log, what was taken and returned for a request, once no lock is
    /// held: either may call the pool.
    fn tell_changes(&self, climb: &mut Climb<'_>, growing: Growing<'_, B::Held>) {
        let changes = growing.changes;
        drop(growing);
        let tell = |bytes, kind: fn(u64) -> MemoryEventKind| {
            if bytes > 0 {
                self.tell(kind(bytes));
            }
        };
        tell(changes.bytes_moved, |bytes| MemoryEventKind::Move { bytes });
        climb.made_progress(changes.bytes_trimmed);
        tell(changes.bytes_trimmed, |bytes| MemoryEventKind::Trim { bytes });
        tell(changes.bytes_grown, |bytes| MemoryEventKind::Growth { bytes });
        if changes.bytes_grown > 0 {
            tracing::debug!(bytes = changes.bytes_grown, "the pool grew");
        }
    }

    fn grow_locked<'a>(
        &'a self,
        mut state: Locked<'a>,
        climb: &mut Climb<'_>,
        growing: &mut Growing<'_, B::Held>,
    ) -> Result<Slot, Miss> {
        if let Some(slot) = state.hit(climb.lane, climb.need) {
            return Ok(slot);
        }
        growing.note_held(&mut state, self.supply.held());
        let grown = self.take_more(state, climb, growing);
        if grown.is_err() {
            climb.tried(Rung::Growth, 0);
        }
        grown
    }

    /// Memory at an alias that is mapped already, or moved if that is preferred, or more.
    fn take_more<'a>(
        &'a self,
        mut state: Locked<'a>,
        climb: &mut Climb<'_>,
        growing: &mut Growing<'_, B::Held>,
    ) -> Result<Slot, Miss> {
        let ceiling = self.ceiling;
        while climb.may_resume() {
            let plan = state.asking(climb, ceiling, |space, aliases, ask| {
                self.supply.resume(space, aliases, ask.need, ask.usable)
            });
            let Some(plan) = plan else { break };
            match self.carry_out(state, climb, growing, plan) {
                Err(Miss::Skip(lane)) => climb.avoid(lane),
                placed => return placed,
            }
            state = self.lock();
        }
        let footprint = self.config.footprint;
        let moving = state.asking(climb, ceiling, |space, _, ask| {
            self.supply.prefers_moving(space, ask, footprint)
        });
        if moving {
            drop(state);
            match self.gather(climb, growing) {
                // Short of addresses or of memory: growth at home may need neither.
                Err(Miss::Refused(_) | Miss::Addresses) => {}
                moved => return moved,
            }
            state = self.lock();
        }
        let (needed, reserved) = (climb.need.size, state.counters.reserved);
        let policy = self.config.growth.unwrap_or_else(|| self.supply.default_growth());
        let target = policy.target(needed, reserved, ceiling.saturating_sub(reserved).min(MOST));
        // There may be an odd number of bytes where there is no ceiling; ranges lie on the grain.
        match self.extend(state, climb, growing, target / GRAIN * GRAIN) {
            Err(Miss::Ceiling | Miss::Refused(_) | Miss::Addresses) if target > needed => {
                self.extend(self.lock(), climb, growing, needed)
            }
            extended => extended,
        }
    }

    /// Takes memory until `size` bytes lie together, of which the request gets what it needs. A lane
    /// that cannot be waited for now is done without.
    fn extend<'a>(
        &'a self,
        mut state: Locked<'a>,
        climb: &mut Climb<'_>,
        growing: &mut Growing<'_, B::Held>,
        size: u64,
    ) -> Result<Slot, Miss> {
        loop {
            let plan = state.asking(climb, self.ceiling, |space, _, ask| {
                self.supply.extend(growing, space, ask, size)
            })?;
            match self.carry_out(state, climb, growing, plan) {
                Err(Miss::Skip(lane)) => climb.avoid(lane),
                extended => return extended,
            }
            state = self.lock();
        }
    }

    /// Moves memory to where the request can be placed and takes what is missing. Gives up aliases
    /// where addresses are short or aliases too many.
    fn gather(
        &self,
        climb: &mut Climb<'_>,
        growing: &mut Growing<'_, B::Held>,
    ) -> Result<Slot, Miss> {
        self.make_addresses(climb, growing)?;
        loop {
            let mut state = self.lock();
            let plan = state.asking(climb, self.ceiling, |space, _, ask| {
                self.supply.gather(growing, space, ask)
            })?;
            match self.carry_out(state, climb, growing, plan) {
                Err(Miss::Skip(lane)) => climb.avoid(lane),
                Err(miss) => return Err(miss),
                Ok(slot) => {
                    if let Err(error) = self.limit_aliases(growing) {
                        tracing::warn!(%error, "unused addresses could not be unmapped");
                    }
                    return Ok(slot);
                }
            }
        }
    }

    /// Orders the request's stream after the last uses of what a plan claimed, makes its driver calls,
    /// and gives the request its memory; or puts everything back.
    fn carry_out(
        &self,
        state: Locked<'_>,
        climb: &mut Climb<'_>,
        growing: &mut Growing<'_, B::Held>,
        mut plan: Plan<B::Work>,
    ) -> Result<Slot, Miss> {
        drop(state);
        let ordered = self.order_after(&plan.claim, climb.lane, climb.request.stream);
        let done = ordered.and_then(|waited| {
            self.supply.carry_out(growing, &mut plan, climb.request).map(|()| waited)
        });
        let mut state = self.lock();
        growing.note_held(&mut state, self.supply.held());
        let way = plan.way;
        let placed = match done {
            Ok(waited) => {
                let rest = match way {
                    Way::Growth if climb.lane == CLEAN.lane => CLEAN,
                    // The supply's memory is the request's stream's to use; others wait for that.
                    Way::Growth if self.is_stream_ordered() => state.lanes.open_tag(climb.lane),
                    Way::Growth => state.rest_of(&plan.claim, climb.lane, waited),
                    Way::Move(_) | Way::Resumption => CLEAN,
                };
                let State { space, aliases, .. } = &mut *state;
                Ok(self.supply.finish(space, aliases, plan, climb.need, rest))
            }
            Err(miss) => {
                let State { space, aliases, .. } = &mut *state;
                self.supply.give_up(space, aliases, plan);
                climb.made_progress(1);
                Err(miss)
            }
        };
        if placed.is_ok() {
            state.note_way(way);
            growing.note_way(way);
        }
        state.counters.aliased = state.aliases.bytes();
        placed
    }

    fn is_stream_ordered(&self) -> bool {
        self.supply.capabilities().has(Features::STREAM_ORDERED)
    }

    /// Unmaps as many unused aliases as it takes to place a new one. If work through them is pending,
    /// that is left to a later try, after a wait.
    fn make_addresses(
        &self,
        climb: &mut Climb<'_>,
        growing: &mut Growing<'_, B::Held>,
    ) -> Result<(), Miss> {
        let need = climb.need;
        let has_some = |state: &State| self.supply.has_addresses(&state.space, need);
        let state = self.lock();
        if has_some(&state) {
            return Ok(());
        }
        if state.aliases.bytes() == 0 {
            return Err(Miss::Addresses);
        }
        drop(state);
        let unmapped = self.observe().map_err(BoxedError::from);
        if let Err(error) = unmapped.and_then(|()| self.unmap_aliases(growing, has_some)) {
            tracing::warn!(%error, "addresses could not be unmapped");
        }
        if !has_some(&self.lock()) {
            climb.lacks_addresses();
            return Err(Miss::Addresses);
        }
        Ok(())
    }

    /// Unmaps aliases beyond the supply's cap, as far as the work through them has completed.
    fn limit_aliases(&self, growing: &mut Growing<'_, B::Held>) -> Result<(), BoxedError> {
        let Some(few) = self.supply.too_many(&self.lock().aliases) else { return Ok(()) };
        self.observe()?;
        self.unmap_aliases(growing, |state| state.aliases.bytes() <= few)
    }

    /// Unmaps aliases that nothing uses, the longest unused first, until there is enough, as far as the
    /// host has observed that the work through them completed. Goes on past failures; the first is
    /// returned.
    fn unmap_aliases(
        &self,
        growing: &mut Growing<'_, B::Held>,
        is_enough: impl Fn(&State) -> bool,
    ) -> Result<(), BoxedError> {
        let longest_unused = self.lock().aliases.longest_unused();
        let mut result = Ok(());
        for start in longest_unused {
            let mut state = self.lock();
            if is_enough(&state) {
                break;
            }
            let State { space, aliases, lanes, .. } = &mut *state;
            let hidden = aliases.hide(space, start, |tag| lanes.is_complete(tag));
            drop(state);
            if let Some(hidden) = hidden {
                result = result.and(self.carry_back(growing, Return::of_alias(hidden)));
            }
        }
        result
    }

    /// Makes the driver calls of a return, and notes how far they came.
    fn carry_back(
        &self,
        growing: &mut Growing<'_, B::Held>,
        mut going: Return,
    ) -> Result<(), BoxedError> {
        let result = self.supply.give_back(growing, &mut going);
        let mut state = self.lock();
        let State { space, aliases, .. } = &mut *state;
        self.supply.note_gone(space, aliases, going);
        state.counters.aliased = state.aliases.bytes();
        growing.note_held(&mut state, self.supply.held());
        result
    }

    /// Returns unused memory that has completed until at most `keep` bytes are held, or nothing more
    /// can be returned. Returns the bytes returned, and the first error that kept it from returning
    /// more.
    pub(crate) fn give_back(
        &self,
        keep: u64,
        growing: &mut Growing<'_, B::Held>,
    ) -> (u64, Option<BoxedError>) {
        let before = self.supply.held();
        self.supply.let_go_of_spares(growing);
        let mut error = None;
        while error.is_none() {
            let mut state = self.lock();
            growing.note_held(&mut state, self.supply.held());
            state.settle();
            let State { space, aliases, .. } = &mut *state;
            let Some(going) = self.supply.surplus(space, aliases, keep) else { break };
            drop(state);
            error = self.carry_back(growing, going).err();
        }
        (before - self.supply.held(), error)
    }

    /// Returns unused memory, as much as the request is large, then all there is, and grows again. For
    /// supplies that cannot move memory.
    fn trim_and_grow(&self, climb: &mut Climb<'_>, growing: &mut Growing<'_, B::Held>) -> Step {
        self.observe()?;
        // Twice a granule covers what rounding to granules at both ends adds.
        let wanted = climb.need.size.saturating_add(2 * self.supply.granule());
        let enough = self.supply.held().saturating_sub(wanted);
        let mut total = 0;
        let mut found = Ok(None);
        // Chunks go whole: should the exact amount not do, all that is unused goes.
        for keep in [enough, 0] {
            let (returned, error) = self.give_back(keep, growing);
            total += returned;
            found = match error {
                Some(error) => Err(error.into()),
                None if returned > 0 => {
                    let grown = self.grow_locked(self.lock(), climb, growing).map(Some);
                    climb.unless_refused(grown)
                }
                // What has completed may be enough, although none of it could go.
                None => Ok(self.lock().hit(climb.lane, climb.need)),
            };
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        climb.tried(Rung::Trim, total);
        found
    }

    /// Waits for what may make memory usable. False if there is nothing to wait for.
    pub(super) fn wait(&self, climb: &mut Climb<'_>, wait: Wait) -> Result<bool, DriverError> {
        match wait {
            Wait::No => Ok(true),
            Wait::ForMarkers => self.wait_on_host(climb),
            // What a thread could not mark then, its owner may have marked since.
            Wait::Again => Ok(climb.reconsider()),
            Wait::ForOthers => {
                let state = self.lock();
                Ok(state.progress() != climb.seen || state.has_completed_since(climb))
            }
        }
    }

    /// Waits on the host until pending frees are complete, if the request could not wait for all of
    /// them on the device, or a lane was set aside because its markers could not be queried. No lock is
    /// held meanwhile. True also if more was found complete since the request looked: by others, who left
    /// it no marker to wait for.
    fn wait_on_host(&self, climb: &mut Climb<'_>) -> Result<bool, DriverError> {
        let stays = self.reuse == Reuse::Observed || !self.supply.moves();
        let set_aside = self.lock().lanes.any_poisoned();
        if !stays && !set_aside && !climb.has_passed_by() && !climb.short_of_addresses {
            return Ok(self.lock().has_completed_since(climb));
        }
        self.close_all()?;
        if !set_aside && !self.lock().has_markers_to_wait_for() {
            return Ok(self.lock().has_completed_since(climb));
        }
        let before = self.lock().pending_bytes();
        match self.config.host_wait {
            None => self.wait_for_markers()?,
            Some(limit) => self.poll_markers(limit)?,
        }
        let completed = before - self.lock().pending_bytes().min(before);
        climb.tried(Rung::HostWait, completed);
        Ok(completed > 0 || self.lock().has_completed_since(climb))
    }

    /// Asks for the markers until all have completed or the time is over.
    fn poll_markers(&self, limit: Duration) -> Result<(), DriverError> {
        let deadline = self.config.clock.now().saturating_add(limit);
        while self.lock().has_markers_to_wait_for() && self.config.clock.now() < deadline {
            self.refresh()?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Memory at an alias that is mapped already, all of it free for the request's stream at once. Makes
    /// no driver call.
    pub(super) fn resume(&self, climb: &Climb<'_>) -> Option<Slot> {
        if !climb.may_resume() {
            return None;
        }
        let mut state = self.lock();
        let plan = state.asking(climb, self.ceiling, |space, aliases, ask| {
            self.supply.resume(space, aliases, ask.need, ask.ready)
        })?;
        state.note_way(plan.way);
        let State { space, aliases, .. } = &mut *state;
        Some(self.supply.finish(space, aliases, plan, climb.need, CLEAN))
    }
}

impl State {
    /// Hands a supply what it is told of a request, and the parts of the pool that it may change.
    fn asking<R>(
        &mut self,
        climb: &Climb<'_>,
        ceiling: u64,
        plan: impl FnOnce(&mut Space, &mut Aliases, &Ask<'_>) -> R,
    ) -> R {
        let Self { space, lanes, aliases, counters, .. } = self;
        let ready = |tag| matches!(lanes.access(tag, climb.lane), Access::Now);
        let usable = |tag| climb.may_use(lanes, tag);
        let room = ceiling.saturating_sub(counters.reserved);
        plan(space, aliases, &Ask { need: climb.need, room, ready: &ready, usable: &usable })
    }

    /// Counts a request that was served this way.
    fn note_way(&mut self, way: Way) {
        match way {
            Way::Growth => {}
            Way::Move(bytes) => {
                self.counters.moves += 1;
                self.counters.bytes_moved += bytes;
            }
            Way::Resumption => self.counters.returns += 1,
        }
    }

    /// Bytes that nobody holds and that pending work may still touch: free memory, and addresses that
    /// memory was used at.
    pub(super) fn pending_bytes(&self) -> u64 {
        let pending = self.unheld().filter(|(_, tag)| !self.lanes.is_complete(*tag));
        pending.map(|(size, _)| size).sum()
    }

    /// Whether more is known to be complete than when the request looked for that.
    fn has_completed_since(&self, climb: &Climb<'_>) -> bool {
        self.lanes.completions() != climb.completions
    }

    /// Whether some of them are covered by a marker.
    fn has_markers_to_wait_for(&self) -> bool {
        let access = |tag| self.lanes.access(tag, CLEAN.lane);
        self.unheld().any(|(_, tag)| matches!(access(tag), Access::After { .. }))
    }

    /// The sizes and last uses of what nobody holds.
    fn unheld(&self) -> impl Iterator<Item = (u64, Tag)> {
        self.space.iter().filter_map(|(_, range)| match range.state() {
            RangeState::Free(tag) | RangeState::Dormant(tag) => Some((range.size(), tag)),
            _ => None,
        })
    }
}
