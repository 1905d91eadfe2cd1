//! Aliases: addresses at which memory that is at home elsewhere is mapped side by side. Bookkeeping
//! only: it makes no driver call.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cuts::Cuts;
use crate::WindowInfo;
use crate::space::{Need, Span, Tag, pointer};

/// An alias that is larger than a request by at most this part of it may serve it.
const SLACK: u64 = 16;

/// How many idle aliases of one size are looked at for a request, so that a search takes less than a
/// driver call for each granule of a new alias would.
const LOOKS: usize = 4096;

/// Addresses, and the memory that is mapped there as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    /// Its addresses.
    pub(super) span: Span,
    /// Where what is for use begins and how many bytes it has. Of the first and the last handle that are
    /// mapped there more may be in use elsewhere.
    pub(super) start: u64,
    pub(super) size: u64,
    /// Where the memory that is for use is at home, in the order of the alias.
    pub(super) homes: Arc<[Span]>,
    /// How many were made before it, and itself.
    age: u64,
    /// When it was last given to a request or taken back.
    used: u64,
}

/// Where a pool's memory is mapped: all its aliases, the handles at home, and what of live blocks is away.
///
/// A program that repeats itself meets the same free memory again. A request is given the oldest
/// alias that can serve it: what could not serve it the last time cannot now, so it finds the alias
/// that it was given or that was made for it then, and a repeated pattern settles.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    /// All addresses from this one on are for aliases.
    pub(super) from: u64,
    by_start: BTreeMap<u64, Alias>,
    /// The starts of those that nothing uses, by size and age: only they are given to requests.
    idle: BTreeMap<(u64, u64), u64>,
    /// The starts of what is left of aliases that the driver would not unmap. It can only be unmapped.
    broken: BTreeSet<u64>,
    made: u64,
    now: u64,
    /// How many bytes of addresses all aliases take.
    pub(crate) bytes: u64,
    /// Where the memory is cut into handles.
    pub(crate) cuts: Cuts,
    /// The handles whose memory is not the device's.
    pub(crate) away: Cuts,
    /// The starts of what is away and belongs to no block any more.
    pub(super) leaving: BTreeSet<u64>,
    /// The starts of blocks that are being moved, with the tag of those that were freed meanwhile.
    pub(crate) moving: BTreeMap<u64, Option<Tag>>,
}

impl Aliases {
    /// No aliases, for which there are the addresses from `from` on.
    pub(crate) fn new(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// Whether there are addresses for aliases. Otherwise addresses come and go with the memory.
    pub(super) fn are_possible(&self) -> bool {
        self.from < u64::MAX
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
        let size = homes.iter().map(|home| home.size).sum();
        let (homes, age, used) = (homes.into(), self.made, self.now);
        self.by_start.insert(start, Alias { span, start, size, homes, age, used });
        self.bytes += span.size;
    }

    /// Of an alias that showed `homes` from `start` on, the driver kept a span mapped.
    pub(super) fn add_broken(&mut self, start: u64, homes: &[Span], kept: Span) {
        let first = start.max(kept.start);
        self.add(kept, first, shown_in(kept, start, homes));
        self.broken.insert(first);
    }

    /// The oldest alias that serves the need, that nothing uses, whose memory is free by `is_free` and of
    /// which at most so many bytes are in a handle that it does not have whole.
    pub(super) fn oldest(
        &self,
        need: Need,
        shared: u64,
        mut is_free: impl FnMut(Span) -> bool,
    ) -> Option<&Alias> {
        let Need { size, alignment } = need;
        let mut oldest: Option<&Alias> = None;
        let mut from = size;
        let largest = size + size / SLACK;
        let mut serves = |alias: &&Alias| {
            alias.start.is_multiple_of(alignment)
                && (shared == u64::MAX || self.shares(alias) <= shared)
                && alias.homes.iter().all(|&home| is_free(home))
        };
        // Size by size, as long as an older one than the oldest so far could be found: of each size only
        // those before it are looked at, so that the search ends with the oldest of all.
        while from <= largest
            && let Some((&(this, _), _)) = self.idle.range((from, 0)..=(largest, u64::MAX)).next()
        {
            let upto = oldest.map_or(u64::MAX, |alias| alias.age);
            let idle = self.idle.range((this, 0)..(this, upto)).take(LOOKS);
            let mut idle = idle.filter_map(|(_, start)| self.by_start.get(start));
            oldest = idle.find(&mut serves).or(oldest);
            from = this + 1;
        }
        oldest
    }

    /// Bytes of an alias in a handle that it does not have whole.
    fn shares(&self, alias: &Alias) -> u64 {
        let whole = |&home: &Span| self.cuts.whole(home).map(|handle| handle.size).sum::<u64>();
        alias.size - alias.homes.iter().map(whole).sum::<u64>()
    }

    /// The alias that begins at an address.
    pub(super) fn at(&self, start: u64) -> Option<&Alias> {
        self.by_start.get(&start)
    }

    /// From now on something uses the alias at `start`: a block, or who is about to unmap it.
    pub(super) fn take(&mut self, start: u64) {
        if let Some(key) = self.touch(start) {
            self.idle.remove(&key);
        }
    }

    /// Nothing uses the alias at `start` any more. A broken one serves nobody all the same: not all of it can
    /// be accessed.
    pub(super) fn put(&mut self, start: u64) {
        if let Some(key) = self.touch(start)
            && !self.broken.contains(&start)
        {
            self.idle.insert(key, start);
        }
    }

    /// Notes a use. Returns the alias's size and age.
    fn touch(&mut self, start: u64) -> Option<(u64, u64)> {
        self.now += 1;
        let alias = self.by_start.get_mut(&start)?;
        alias.used = self.now;
        Some((alias.size, alias.age))
    }

    /// The starts of the aliases that nothing uses, the longest unused first.
    pub(crate) fn longest_unused(&self) -> Vec<u64> {
        let mut starts: Vec<u64> = self.idle.values().chain(&self.broken).copied().collect();
        starts.sort_unstable_by_key(|start| self.at(*start).map(|alias| alias.used));
        starts
    }

    /// Where the aliases are that show some of this memory, in the order in which they were made.
    pub(super) fn showing(&self, memory: &[Span]) -> Vec<u64> {
        let goes = |home: &Span| memory.iter().any(|gone| home.touches(*gone));
        let showing = self.by_start.values().filter(|alias| alias.homes.iter().any(goes));
        let mut showing: Vec<&Alias> = showing.collect();
        showing.sort_unstable_by_key(|alias| alias.age);
        showing.into_iter().map(|alias| alias.start).collect()
    }

    /// The aliases in a span, as far as they are for use, lowest first.
    pub(super) fn lent_in(&self, span: Span) -> impl Iterator<Item = Span> {
        let aliases = self.by_start.range(span.start..span.end());
        aliases.map(|(&start, alias)| Span::new(start, alias.size))
    }

    /// The whole handles that the alias at `start` shows, beside each other: where each is at home, and
    /// where it is shown.
    pub(super) fn whole_handles(&self, start: u64) -> Vec<(Span, u64)> {
        let mut handles = Vec::new();
        let mut at = start;
        for home in self.at(start).map_or(&[][..], |alias| &alias.homes) {
            let mut upto = home.start;
            for handle in self.cuts.whole(*home) {
                handles.push((handle, at + (handle.start - home.start)));
                upto = handle.end();
            }
            if upto < home.end() && at > start {
                // Of the last handle the lower end only; of the first it may be the upper.
                break;
            }
            at += home.size;
        }
        handles
    }

    pub(super) fn remove(&mut self, start: u64) {
        if let Some(alias) = self.by_start.remove(&start) {
            self.idle.remove(&(alias.size, alias.age));
            self.broken.remove(&start);
            self.bytes -= alias.span.size;
        }
    }

    /// So many bytes of the alias at `start`, from an address on at which the first whole handle of it is,
    /// are none of it any more. The rest of it goes on, for its user.
    pub(super) fn shorten(&mut self, start: u64, first: u64, bytes: u64) {
        let Some(Alias { span, homes, .. }) = self.at(start).cloned() else { return };
        self.remove(start);
        let parts = [(span.start, first), (first + bytes, span.end())];
        for (from, upto) in parts {
            let part = Span::between(from, upto);
            let shown = shown_in(part, start, &homes);
            if !shown.is_empty() {
                self.add(part, start.max(from), shown);
            }
        }
    }

    /// All aliases, by address.
    pub(crate) fn info(&self) -> Vec<WindowInfo> {
        let homes = |alias: &Alias| {
            alias.homes.iter().map(|home| (pointer(home.start), home.size)).collect()
        };
        let info = |alias: &Alias| WindowInfo {
            start: pointer(alias.start),
            size: alias.size,
            homes: homes(alias),
        };
        self.by_start.values().map(info).collect()
    }
}

/// What of these homes, which are shown from `start` on, is shown in a part of the addresses.
fn shown_in(part: Span, start: u64, homes: &[Span]) -> Vec<Span> {
    let mut at = start;
    let shown = homes.iter().map(|home| {
        let shown = Span::new(at, home.size).common(part);
        let below = shown.start - at;
        at += home.size;
        Span::new(home.start + below, shown.size)
    });
    shown.filter(|shown| shown.size > 0).collect()
}
