//! Returning memory and addresses: when asked, to make room, and without being asked what has not
//! been needed for a while.

use vmem_core::{BoxedError, MemoryEventKind};

use super::growth_lock::Growing;
use super::{Core, Found, Slow};
use crate::streams::{Locked, State};
use crate::supply::{Backing, Return};
use crate::{AutoTrim, Counters};

/// A pool keeps at least an eighth more than it needed, so that rounding and gaps do not make it
/// return what it takes again at once.
const SLACK: u64 = 8;

/// How many times the memory held may be mapped at aliases.
const ALIASES: u64 = 4;

impl<B: Backing> Core<B> {
    /// Returns unused memory that has completed, and tells the observer. Returns the bytes returned.
    pub(super) fn give_back(&self, keep: u64) -> Result<u64, BoxedError> {
        let mut growing = self.lock_growth()?;
        let (returned, error) = growing.give_back(keep);
        drop(growing);
        if returned > 0 {
            self.tell(MemoryEventKind::Trim { bytes: returned }, |event| event);
            tracing::debug!(returned, "the pool shrank");
        }
        error.map_or(Ok(returned), Err)
    }

    /// Returns what has not been needed for the configured time. Called before a free, without the
    /// lock; looks at the clock only if there is something to return.
    #[cold]
    pub(super) fn trim_unneeded(&self, policy: AutoTrim) {
        if !self.streams.lock().counters.holds_more_than(policy.threshold) {
            return;
        }
        let now = self.config.clock.now();
        let keep = {
            let mut state = self.streams.lock();
            if now.saturating_sub(state.needed_since) < policy.age {
                return;
            }
            let live = state.counters.live;
            let needed = if policy.age.is_zero() { live } else { state.most_needed };
            (state.most_needed, state.needed_since) = (live, now);
            policy.threshold.max(needed + needed / SLACK)
        };
        let asked = self.streams.ask();
        if let Err(error) = asked.map_err(BoxedError::from).and_then(|()| self.give_back(keep)) {
            tracing::debug!(%error, "unneeded memory could not be returned");
        }
    }
}

impl Counters {
    /// Whether there may be something to return.
    pub(super) fn holds_more_than(&self, threshold: u64) -> bool {
        self.reserved > threshold.max(self.live + self.live / SLACK)
    }
}

impl<'a, B: Backing> Growing<'a, B> {
    /// Returns unused memory that has completed until at most `keep` bytes are held, or nothing more
    /// can be returned. Returns the bytes returned, and the first error that kept it from returning
    /// more.
    pub(super) fn give_back(&mut self, keep: u64) -> (u64, Option<BoxedError>) {
        let Core { supply, streams, .. } = self.core;
        let before = supply.held();
        self.tidy();
        if let Some((arena, handles)) = self.mapped() {
            arena.release_spares(handles);
        }
        let mut error = None;
        while error.is_none() {
            let mut state = streams.lock();
            self.note_held(&mut state);
            state.settle();
            let mut memory = state.memory();
            let surplus = supply.surplus(&memory, keep);
            if surplus.is_empty() {
                break;
            }
            let going = memory.begin_return(surplus);
            drop(state);
            error = self.carry_back(going).err();
        }
        (before - supply.held(), error)
    }

    /// Makes the driver calls of a return, and notes how far they came.
    pub(super) fn carry_back(&mut self, mut going: Return) -> Result<(), BoxedError> {
        let Core { supply, streams, .. } = self.core;
        let result = supply.give_back(self, &mut going);
        let mut state = streams.lock();
        state.memory().note_gone(going);
        state.counters.aliased = state.aliases.bytes;
        self.note_held(&mut state);
        result
    }

    /// Returns unused memory, as much as the request is large, then all there is, and grows again. For
    /// supplies that cannot move memory.
    pub(super) fn trim_and_grow(&mut self, slow: &mut Slow<'_>) -> Found<'a> {
        let Core { supply, streams, .. } = self.core;
        streams.observe()?;
        // Twice a granule covers what rounding to granules at both ends adds.
        let wanted = slow.need.size.saturating_add(2 * supply.granule());
        let enough = supply.held().saturating_sub(wanted);
        let mut total = 0;
        let mut found = Ok(None);
        // Chunks go whole: should the exact amount not do, all that is unused goes.
        for keep in [enough, 0] {
            let (returned, error) = self.give_back(keep);
            total += returned;
            let mut state = streams.lock();
            found = match error {
                Some(error) => Err(error.into()),
                None if returned > 0 => {
                    let grown = self.grow(state, slow);
                    slow.unless_refused(grown)
                }
                // What has completed may be enough, although none of it could go.
                None => {
                    let hit = self.core.hit(&mut state, slow.lane, slow.need, slow.own);
                    Ok(hit.map(|slot| (state, slot)))
                }
            };
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        slow.tried("trimming", total);
        found
    }

    /// Unmaps as many unused aliases as it takes to place a new one, whatever handles it shows. If work
    /// through them is pending, that is left to a later try, after a wait. What is planned may need less.
    pub(super) fn make_addresses(&mut self, slow: &mut Slow<'_>) {
        let Core { supply, streams, .. } = self.core;
        let (need, granule) = (slow.need, supply.granule());
        let has_some = |state: &mut State, ends| state.memory().has_addresses(need, granule, ends);
        // Where no more memory is to be had it may begin and end inside of handles.
        let both = slow.refused.is_some() && !slow.own && need.alignment <= granule;
        let ends = if both { 2 } else { 1 };
        let mut state = streams.lock();
        if has_some(&mut state, ends) || state.aliases.bytes == 0 || slow.captures {
            return;
        }
        drop(state);
        self.unmap_aliases(|state| has_some(state, ends));
        slow.short_of_addresses = !has_some(&mut streams.lock(), ends);
    }

    /// Unmaps aliases beyond four times the memory held, as far as the work through them has completed.
    pub(super) fn limit_aliases(&mut self, state: Locked<'a>) -> Locked<'a> {
        let Core { supply, streams, .. } = self.core;
        let cap = supply.held().saturating_mul(ALIASES);
        if state.aliases.bytes <= cap {
            return state;
        }
        drop(state);
        // Fewer by a quarter, so that this is rare.
        self.unmap_aliases(|state| state.aliases.bytes <= cap / 4 * 3);
        streams.lock()
    }

    /// Unmaps aliases that nothing uses, the longest unused first, until there is enough, as far as the work
    /// through them is complete, which it finds out first. Goes on past failures, which are only logged.
    fn unmap_aliases(&mut self, is_enough: impl Fn(&mut State) -> bool) {
        let streams = &self.core.streams;
        if let Err(error) = streams.observe() {
            tracing::warn!(%error, "addresses are not unmapped: what is complete is not known");
            return;
        }
        let longest_unused = streams.lock().aliases.longest_unused();
        for start in longest_unused {
            let mut state = streams.lock();
            if is_enough(&mut state) {
                break;
            }
            let (mut memory, lanes) = state.parts();
            let hidden = memory.hide(start, |tag| lanes.is_complete(tag));
            drop(state);
            if let Some(hidden) = hidden
                && let Err(error) = self.carry_back(Return::new(Vec::new(), vec![hidden]))
            {
                tracing::warn!(%error, "addresses could not be unmapped");
            }
        }
    }
}
