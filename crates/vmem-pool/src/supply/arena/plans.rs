//! Where memory for a request is to come from: mapped beside free neighbours at home, or gathered
//! from several places at an alias. Nothing is copied: the physical memory is mapped a second time. And
//! which of it goes back.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmem_core::{BoxedError, Capabilities, Device, Features, Request};

use super::gathering::Gathered;
use super::handles;
use super::{Ask, Growth, Handles, Memory, Miss, Plan, Return, Supply, VirtualArena, Way};
use crate::space::{CLEAN, MOST, Need, Span, StreamIx};

impl Supply for VirtualArena {
    type Held = Handles;

    fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::empty())
    }

    fn granule(&self) -> u64 {
        self.granule
    }

    fn addresses(&self) -> Option<(Span, u64)> {
        Some((self.range, self.aliases_from))
    }

    fn most(&self) -> u64 {
        self.device.facts().total_memory.min(MOST)
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn default_growth(&self) -> Growth {
        Growth::Exact
    }

    fn arena(&self) -> Option<&Self> {
        Some(self)
    }

    fn mapped<'a>(&'a self, held: &'a mut Handles) -> Option<(&'a Self, &'a mut Handles)> {
        Some((self, held))
    }

    /// Plans to map memory at home until `size` bytes, free neighbours included, lie together.
    fn extend(&self, held: &Handles, ask: &Ask<'_>, size: u64) -> Result<Plan, Miss> {
        let (stretch, missing) = self.cheapest_growth(ask, size).ok_or(Miss::Addresses)?;
        self.check_room(held, ask, missing)?;
        let fresh = ask.memory.space.ranges.unmapped_in(stretch);
        Ok(self.plan(ask, Way::Growth, vec![stretch], fresh))
    }

    /// Whether an alias needs less new memory than growth at home.
    fn gathering_saves(&self, ask: &Ask<'_>) -> bool {
        let at_home = self.cheapest_growth(ask, ask.need.size);
        let missing = self.gatherable(ask, true).missing;
        at_home.is_none_or(|(_, fresh)| missing < fresh)
    }

    /// Plans with an alias of free memory from wherever it is, and new memory only for what is missing.
    fn gather(&self, held: &Handles, ask: &Ask<'_>) -> Result<Plan, Miss> {
        let gathered = self.gatherable(ask, true);
        let begins_inside = gathered.first.is_some();
        match self.plan_alias(held, ask, gathered) {
            // A handle of which only an end is used takes addresses for all of it.
            Err(Miss::Addresses) if begins_inside => {
                let plain = self.gatherable(ask, false);
                self.plan_alias(held, ask, plain).map_err(|_| Miss::Addresses)
            }
            plan => plan,
        }
    }

    /// Maps what is missing at home, and everything at a new alias; or nothing, if a call fails.
    fn carry_out(&self, held: &mut Handles, plan: &mut Plan, _: &Request<'_>) -> Result<(), Miss> {
        self.map_all(held, plan)?;
        let Way::Move { alias, .. } = plan.way else { return Ok(()) };
        self.show(held, alias.start, &plan.homes).map_err(|(error, kept)| {
            // What an alias shows cannot be given back.
            if kept.is_none() {
                plan.fresh.iter().for_each(|&home| self.undo(held, home));
                plan.handles.clear();
            }
            plan.left = kept;
            error.into()
        })
    }

    /// Whole handles without a live or pending byte, the highest first, no more than what is held above
    /// `keep`.
    fn surplus(&self, memory: &Memory<'_>, keep: u64) -> Vec<Span> {
        let mut surplus = self.held().saturating_sub(keep);
        let free = memory.space.indexes.free_of(CLEAN.lane).map(|slot| memory.space[slot].span());
        let mut free: Vec<Span> = free.collect();
        free.sort_unstable_by_key(|free| Reverse(free.start));
        let mut going = Vec::new();
        for free in free {
            let Some(run) = highest(memory.aliases.cuts.whole(free), surplus) else { continue };
            surplus -= run.size;
            going.push(run);
        }
        going
    }

    /// Unmaps the aliases, then returns the memory, as far as the driver agrees.
    fn give_back(&self, held: &mut Handles, going: &mut Return) -> Result<(), BoxedError> {
        for alias in &going.aliases {
            let (unmapped, done) = self.hide(held, alias.span, &alias.homes);
            going.unmapped.push(unmapped);
            done?;
        }
        for &run in &going.memory {
            let (unmapped, done) = self.unmap(held, run, going.is_kept);
            going.gone += unmapped;
            done?;
        }
        Ok(())
    }

    fn returnable(&self, memory: &Memory<'_>, free: &[Span]) -> u64 {
        // What is held and not at home is spare.
        let Memory { space, aliases } = memory;
        let home = self.aliases_from - self.range.start;
        let away = aliases.away.in_whole(&[Span::between(self.range.start, self.aliases_from)]);
        let above = Span::between(self.aliases_from, self.range.end());
        let settled = aliases.cuts.in_whole(&[above]);
        let at_home = home - space.unmapped_below(self.aliases_from) - away + settled;
        let spare = self.held().saturating_sub(at_home);
        aliases.cuts.in_whole(free) + spare
    }
}

impl VirtualArena {
    /// Where at home `size` bytes for the request need the least new memory, and how much that is.
    fn cheapest_growth(&self, ask: &Ask<'_>, size: u64) -> Option<(Span, u64)> {
        let need = Need { size, ..ask.need };
        // Free neighbours are in handles of others.
        let usable = |tag| !ask.own && (ask.usable)(tag);
        ask.memory.space.cheapest_growth(need, self.granule, self.home_of(ask.lane), usable)
    }

    /// Plans with an alias of this memory.
    fn plan_alias(&self, held: &Handles, ask: &Ask<'_>, from: Gathered) -> Result<Plan, Miss> {
        let Gathered { first, whole, missing, last } = from;
        let memory = &ask.memory;
        self.check_room(held, ask, missing)?;
        let fresh = memory.space.lowest_unmapped(self.home_of(ask.lane), missing);
        if fresh.iter().map(|span| span.size).sum::<u64>() < missing {
            return Err(Miss::Addresses);
        }
        let handle = |end: Option<Span>| memory.aliases.cuts.touching(end?).next();
        let (first_handle, last_handle) = (handle(first), handle(last));
        let ends = first_handle.iter().chain(&last_handle).map(|(handle, _)| handle);
        let mapped: u64 = whole.iter().chain(&fresh).chain(ends).map(|home| home.size).sum();
        let alias = memory.addresses(Need { size: mapped, ..ask.need }).ok_or(Miss::Addresses)?;
        // What the request gets of the first handle is its upper end.
        let above =
            first.zip(first_handle).map_or(0, |(end, (handle, _))| end.start - handle.start);
        let homes = first.into_iter().chain(whole).chain(fresh.iter().copied()).chain(last);
        let bytes = ask.need.size.saturating_sub(missing);
        let way = Way::Move { alias, begin: alias.start + above, bytes };
        Ok(self.plan(ask, way, homes.collect(), fresh))
    }

    /// A plan for a request with new memory at unmapped spans.
    fn plan(&self, ask: &Ask<'_>, way: Way, homes: Vec<Span>, fresh: Vec<Span>) -> Plan {
        let missing = fresh.iter().map(|span| span.size).sum();
        let largest = match ask.own {
            true => handles::largest_to_rest(self.held(), missing, self.granule),
            false => {
                let limit = ask.limit.min(self.most());
                handles::largest(limit, self.held(), missing, self.granule)
            }
        };
        // What the request does not fill is to be a handle that others can share.
        let apart = ask.own && !ask.need.size.is_multiple_of(self.granule);
        Plan { fresh, largest, apart, ..Plan::new(way, homes) }
    }

    /// Whether so many bytes of new memory may be had. Spare memory is held already.
    fn check_room(&self, held: &Handles, ask: &Ask<'_>, bytes: u64) -> Result<(), Miss> {
        let fresh = bytes.saturating_sub(held.spare_of(self.granule));
        if fresh <= ask.room { Ok(()) } else { Err(Miss::Ceiling) }
    }

    /// Where memory for a lane is mapped if nothing speaks for another place: lanes that grow apart have
    /// longer stretches of their own. Each part has room for all the memory there is.
    fn home_of(&self, lane: StreamIx) -> Span {
        let Span { start, size } = Span::between(self.range.start, self.aliases_from);
        let memory = self.device.facts().total_memory.next_multiple_of(self.granule);
        let parts = (size / memory).max(1);
        let part = start + memory * (u64::from(lane.0.saturating_sub(1)) % parts);
        Span::between(part, self.aliases_from)
    }
}

/// The highest neighbouring handles that are no more than `most` bytes together.
fn highest(handles: impl DoubleEndedIterator<Item = Span>, most: u64) -> Option<Span> {
    let mut run: Option<Span> = None;
    for handle in handles.rev() {
        let end = run.map_or(handle.end(), Span::end);
        if end - handle.start <= most {
            run = Some(Span::between(handle.start, end));
        } else if run.is_some() {
            break;
        }
    }
    run
}
