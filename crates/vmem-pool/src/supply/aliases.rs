//! Aliases: addresses at which memory that is at home elsewhere is mapped side by side. Bookkeeping
//! only: it makes no driver call.

mod lent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cuts::Cuts;
use super::resting::Resting;
use crate::WindowInfo;
use crate::space::{CLEAN, Claim, Need, RangeState, Slot, Space, Span, StreamIx, Tag, pointer};

/// An alias that is larger than a request by at most this part of it may serve it.
const SLACK: u64 = 16;

/// How many idle aliases of one size are looked at for a request, so that a search takes less than a
/// driver call for each granule of a new alias would.
const LOOKS: usize = 4096;

/// Addresses, and the memory that is mapped there as well.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Alias {
    /// Its addresses.
    span: Span,
    /// Where what is for use begins and how many bytes it has. Of the first and the last handle that are
    /// mapped there more may be in use elsewhere.
    start: u64,
    size: u64,
    /// Where the memory that is for use is at home, in the order of the alias.
    homes: Arc<[Span]>,
    /// When it was last given to a request or taken back.
    used: u64,
}

/// All aliases of a pool, in the order in which they were made.
///
/// A program that repeats itself meets the same free memory again. A request is given the oldest
/// alias that can serve it: what could not serve it the last time cannot now, so it finds the alias
/// that it was given or that was made for it then, and a repeated pattern settles.
#[derive(Debug)]
pub(crate) struct Aliases {
    /// All addresses from this one on are for aliases.
    from: u64,
    by_age: BTreeMap<u64, Alias>,
    by_start: BTreeMap<u64, u64>,
    /// Size and age of those that nothing uses: only they are given to requests.
    idle: BTreeSet<(u64, u64)>,
    /// Ages of what is left of aliases that the driver would not unmap. It can only be unmapped.
    broken: BTreeSet<u64>,
    made: u64,
    now: u64,
    bytes: u64,
    /// Where the memory is cut into handles.
    pub(super) cuts: Cuts,
    /// Which addresses have no memory of the device.
    pub(crate) resting: Resting,
}

/// An alias that is about to be unmapped, with its addresses claimed.
#[derive(Debug)]
pub(crate) struct Hidden {
    pub(super) span: Span,
    /// Where what was for use began.
    start: u64,
    pub(super) homes: Arc<[Span]>,
    parts: Vec<Slot>,
    /// How many bytes the driver unmapped, from the start; `None` if it was not asked.
    pub(super) unmapped: Option<u64>,
}

impl Aliases {
    /// No aliases, for which there are the addresses from `from` on.
    pub(crate) fn new(from: u64) -> Self {
        Self {
            from,
            by_age: BTreeMap::new(),
            by_start: BTreeMap::new(),
            idle: BTreeSet::new(),
            broken: BTreeSet::new(),
            made: 0,
            now: 0,
            bytes: 0,
            cuts: Cuts::default(),
            resting: Resting::default(),
        }
    }

    /// Whether a block at this address uses memory that is at home elsewhere.
    #[inline]
    pub(crate) fn lend(&self, start: u64) -> bool {
        start >= self.from
    }

    /// An alias was mapped whose addresses show these homes from `start` on, for a request that uses it.
    pub(super) fn add(&mut self, span: Span, start: u64, homes: Vec<Span>) {
        self.made += 1;
        self.now += 1;
        self.by_start.insert(start, self.made);
        let size = homes.iter().map(|home| home.size).sum();
        let alias = Alias { span, start, size, homes: homes.into(), used: self.now };
        self.by_age.insert(self.made, alias);
        self.bytes += span.size;
    }

    /// Of an alias that showed `homes` from `start` on, the driver kept a span mapped.
    pub(super) fn add_broken(&mut self, start: u64, homes: &[Span], kept: Span) {
        let mut at = start;
        let mut shown = Vec::new();
        for home in homes {
            let low = kept.start.max(at);
            let high = kept.end().min(at + home.size);
            if low < high {
                shown.push(Span::new(home.start + (low - at), high - low));
            }
            at += home.size;
        }
        self.add(kept, start.max(kept.start), shown);
        self.broken.insert(self.made);
    }

    /// The oldest alias that serves the need, that nothing uses, whose memory is free by `is_free` and of
    /// which at most so many bytes are in a handle that it does not have whole.
    fn oldest(
        &self,
        need: Need,
        shared: u64,
        mut is_free: impl FnMut(Span) -> bool,
    ) -> Option<&Alias> {
        let Need { size, alignment } = need;
        let mut oldest: Option<u64> = None;
        let mut from = size;
        let largest = size + size / SLACK;
        // Size by size, as long as an older one than the oldest so far could be found: of each size only
        // those before it are looked at, so that the search ends with the oldest of all.
        while from <= largest
            && let Some(&(this, _)) = self.idle.range((from, 0)..=(largest, u64::MAX)).next()
        {
            let upto = oldest.unwrap_or(u64::MAX);
            let ages = self.idle.range((this, 0)..(this, upto)).map(|&(_, age)| age).take(LOOKS);
            let serves = |age: &u64| {
                self.by_age.get(age).is_some_and(|alias| {
                    alias.start.is_multiple_of(alignment)
                        && (shared == u64::MAX || self.shares(alias) <= shared)
                        && alias.homes.iter().all(|&home| is_free(home))
                })
            };
            oldest = ages.into_iter().find(serves).or(oldest);
            from = this + 1;
        }
        self.by_age.get(&oldest?)
    }

    /// Claims an alias that serves the need, and the memory it shows, all of it with a tag that is
    /// `allowed`, and no more than so many bytes of it in a handle that others may use as well. Returns
    /// where it begins, too.
    pub(super) fn claim(
        &mut self,
        space: &mut Space,
        need: Need,
        shared: u64,
        allowed: &dyn Fn(Tag) -> bool,
    ) -> Option<(u64, Claim)> {
        let alias = self.oldest(need, shared, |home| space.is_free(home, allowed))?;
        let Alias { start, size, homes, .. } = alias.clone();
        self.take(start);
        let mut claim = space.begin_claim();
        homes.iter().for_each(|&home| space.add_to(&mut claim, home));
        space.add_alias(&mut claim, Span::new(start, size));
        Some((start, claim))
    }

    /// Bytes of an alias in a handle that it does not have whole.
    fn shares(&self, alias: &Alias) -> u64 {
        let whole = |&home: &Span| self.cuts.whole(home).map(|handle| handle.size).sum::<u64>();
        alias.size - alias.homes.iter().map(whole).sum::<u64>()
    }

    fn at(&self, start: u64) -> Option<&Alias> {
        self.by_age.get(self.by_start.get(&start)?)
    }

    /// From now on something uses the alias at `start`: a block, or who is about to unmap it.
    fn take(&mut self, start: u64) {
        if let Some((age, size)) = self.touch(start) {
            self.idle.remove(&(size, age));
        }
    }

    /// Nothing uses the alias at `start` any more. A broken one serves nobody all the same: not all of it can
    /// be accessed.
    pub(super) fn put(&mut self, start: u64) {
        if let Some((age, size)) = self.touch(start)
            && !self.broken.contains(&age)
        {
            self.idle.insert((size, age));
        }
    }

    fn touch(&mut self, start: u64) -> Option<(u64, u64)> {
        self.now += 1;
        let age = *self.by_start.get(&start)?;
        let alias = self.by_age.get_mut(&age)?;
        alias.used = self.now;
        Some((age, alias.size))
    }

    /// A block is freed whose memory may not be at home at its address: it is free where it is at home, at
    /// once, with the tag that `free` says by the lane that lent it. What is not all of an alias's is the
    /// freeing lane's.
    pub(crate) fn take_back(
        &mut self,
        space: &mut Space,
        slot: Slot,
        tag: Tag,
        free: impl FnMut(StreamIx) -> Tag,
    ) {
        let block = space[slot].span();
        let lent = self.at(block.start).is_some_and(|alias| alias.size == block.size);
        if space[slot].is_resting() || !lent {
            return self.take_apart(space, slot, tag);
        }
        self.return_homes(space, block.start, free);
        space.set_state(slot, RangeState::Dormant(tag));
    }

    /// Nothing uses the alias at `start` any more: its memory is free at home.
    pub(super) fn return_homes(
        &mut self,
        space: &mut Space,
        start: u64,
        mut free: impl FnMut(StreamIx) -> Tag,
    ) {
        self.put(start);
        if let Some(alias) = self.at(start) {
            alias.homes.iter().for_each(|&home| space.wake(home, &mut free));
        }
    }

    /// The starts of the aliases that nothing uses, the longest unused first.
    pub(crate) fn longest_unused(&self) -> Vec<u64> {
        let ages = self.idle.iter().map(|(_, age)| age).chain(&self.broken);
        let mut aliases: Vec<&Alias> = ages.filter_map(|age| self.by_age.get(age)).collect();
        aliases.sort_unstable_by_key(|alias| alias.used);
        aliases.into_iter().map(|alias| alias.start).collect()
    }

    /// Begins to unmap the alias at `start`, unless it is in use or work through it may be pending.
    pub(crate) fn hide(
        &mut self,
        space: &mut Space,
        start: u64,
        is_complete: impl Fn(Tag) -> bool,
    ) -> Option<Hidden> {
        let span = self.at(start)?.span;
        let idle = |slot: Slot| match space[slot].state() {
            RangeState::Dormant(tag) => is_complete(tag),
            _ => false,
        };
        let is_idle = space.within(span).all(idle);
        if is_idle { self.begin_to_hide(space, start) } else { None }
    }

    /// Begins to unmap all aliases that show some of this memory, for a caller that has claimed it and
    /// knows that no work is pending on it: whoever used it last was ordered after every earlier use,
    /// through whatever alias.
    pub(crate) fn hide_showing(&mut self, space: &mut Space, memory: &[Span]) -> Vec<Hidden> {
        self.hide_showing_but(space, memory, None)
    }

    /// The same, without the one at an address, which a block uses.
    pub(super) fn hide_showing_but(
        &mut self,
        space: &mut Space,
        memory: &[Span],
        kept: Option<u64>,
    ) -> Vec<Hidden> {
        let goes = |home: &Span| memory.iter().any(|gone| home.touches(*gone));
        let shows = |alias: &&Alias| Some(alias.start) != kept && alias.homes.iter().any(goes);
        let showing: Vec<u64> =
            self.by_age.values().filter(shows).map(|alias| alias.start).collect();
        showing.into_iter().filter_map(|start| self.begin_to_hide(space, start)).collect()
    }

    fn begin_to_hide(&mut self, space: &mut Space, start: u64) -> Option<Hidden> {
        // Nobody may be given an alias that is being unmapped.
        self.take(start);
        let Alias { span, homes, .. } = self.at(start)?.clone();
        let parts = space.claim_span(span).into_iter().map(|(slot, _)| slot).collect();
        Some(Hidden { span, start, homes, parts, unmapped: None })
    }

    /// The driver unmapped some of an alias, or all of it, or was not asked.
    pub(super) fn hidden(&mut self, space: &mut Space, alias: Hidden) {
        let Hidden { span, start, homes, parts, unmapped } = alias;
        let done = span.start + unmapped.unwrap_or(0);
        for slot in parts {
            let Span { start, size } = space[slot].span();
            let unmapped = done.saturating_sub(start).min(size);
            if unmapped > 0 {
                space.cut(slot, Span::new(start, unmapped), RangeState::Dormant(CLEAN));
                space.set_state(slot, RangeState::Unmapped);
            } else {
                space.set_state(slot, RangeState::Dormant(CLEAN));
            }
        }
        if unmapped.is_none() {
            self.put(start);
            return;
        }
        self.remove(start);
        if done < span.end() {
            self.add_broken(start, &homes, Span::between(done, span.end()));
        }
    }

    fn remove(&mut self, start: u64) {
        let age = self.by_start.remove(&start);
        if let Some((age, alias)) = age.and_then(|age| self.by_age.remove_entry(&age)) {
            self.idle.remove(&(alias.size, age));
            self.broken.remove(&age);
            self.bytes -= alias.span.size;
        }
    }

    /// All aliases, by address.
    pub(crate) fn info(&self) -> Vec<WindowInfo> {
        let aliases = self.by_start.values().filter_map(|age| self.by_age.get(age));
        aliases.map(Alias::info).collect()
    }

    /// How many bytes of addresses all aliases take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Alias {
    fn info(&self) -> WindowInfo {
        let homes = self.homes.iter().map(|home| (pointer(home.start), home.size)).collect();
        WindowInfo { start: pointer(self.start), size: self.size, homes }
    }
}
