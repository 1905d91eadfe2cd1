//! Aliases: addresses at which memory that is at home elsewhere is mapped side by side. Bookkeeping
//! only: it makes no driver call.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cuts::Cuts;
use super::resting::Resting;
use crate::WindowInfo;
use crate::space::{Need, Span, pointer};

/// An alias that is larger than a request by at most this part of it may serve it.
const SLACK: u64 = 16;

/// How many idle aliases of one size are looked at for a request, so that a search takes less than a
/// driver call for each granule of a new alias would.
const LOOKS: usize = 4096;

/// Addresses, and the memory that is mapped there as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alias {
    /// Its addresses.
    pub(super) span: Span,
    /// How many bytes of them, from the start, are for use. Of the last handle that is mapped there
    /// more may be in use elsewhere.
    pub(super) size: u64,
    /// Where the memory that is for use is at home, in the order of the alias.
    pub(super) homes: Arc<[Span]>,
    /// When it was last given to a request or taken back.
    used: u64,
}

/// All aliases of a pool, in the order in which they were made.
///
/// A program that repeats itself meets the same free memory again. A request is given the oldest
/// alias that can serve it: what could not serve it the last time cannot now, so it finds the alias
/// that it was given or that was made for it then, and a repeated pattern settles.
#[derive(Debug, Default)]
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
    pub(crate) cuts: Cuts,
    /// Which addresses have no memory of the device.
    pub(crate) resting: Resting,
}

/// An alias that is about to be unmapped, with its addresses claimed.
#[derive(Debug)]
pub(crate) struct Hidden {
    pub(super) span: Span,
    pub(super) homes: Arc<[Span]>,
    /// How many bytes the driver unmapped, from the start; `None` if it was not asked.
    pub(super) unmapped: Option<u64>,
}

impl Aliases {
    /// No aliases, for which there are the addresses from `from` on.
    pub(crate) fn new(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// The first address that an alias can have.
    pub(super) fn from(&self) -> u64 {
        self.from
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

    /// An alias was mapped that shows these homes, for a request that uses it.
    pub(super) fn add(&mut self, span: Span, homes: Vec<Span>) {
        self.made += 1;
        self.now += 1;
        self.by_start.insert(span.start, self.made);
        let size = homes.iter().map(|home| home.size).sum();
        self.by_age.insert(self.made, Alias { span, size, homes: homes.into(), used: self.now });
        self.bytes += span.size;
    }

    /// Of an alias at `start` that showed `homes`, the driver kept a span mapped.
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
        self.add(kept, shown);
        self.broken.insert(self.made);
    }

    /// The oldest alias that serves the need, that nothing uses, whose memory is free by `is_free` and of
    /// which at most so many bytes are in a handle that it does not have whole: the addresses for use, and
    /// what they show.
    pub(super) fn oldest(
        &self,
        need: Need,
        shared: u64,
        mut is_free: impl FnMut(Span) -> bool,
    ) -> Option<(Span, &[Span])> {
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
                    alias.span.start.is_multiple_of(alignment)
                        && (shared == u64::MAX || self.shares(alias) <= shared)
                        && alias.homes.iter().all(|&home| is_free(home))
                })
            };
            oldest = ages.into_iter().find(serves).or(oldest);
            from = this + 1;
        }
        let Alias { span, size, homes, .. } = self.by_age.get(&oldest?)?;
        Some((Span::new(span.start, *size), homes))
    }

    /// Bytes of an alias in a handle that it does not have whole.
    fn shares(&self, alias: &Alias) -> u64 {
        let whole = |&home: &Span| self.cuts.whole(home).map(|handle| handle.size).sum::<u64>();
        alias.size - alias.homes.iter().map(whole).sum::<u64>()
    }

    /// The alias that begins at an address.
    pub(super) fn at(&self, start: u64) -> Option<&Alias> {
        self.by_age.get(self.by_start.get(&start)?)
    }

    /// From now on something uses the alias at `start`: a block, or who is about to unmap it.
    pub(super) fn take(&mut self, start: u64) {
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

    /// The starts of the aliases that nothing uses, the longest unused first.
    pub(crate) fn longest_unused(&self) -> Vec<u64> {
        let ages = self.idle.iter().map(|(_, age)| age).chain(&self.broken);
        let mut aliases: Vec<&Alias> = ages.filter_map(|age| self.by_age.get(age)).collect();
        aliases.sort_unstable_by_key(|alias| alias.used);
        aliases.into_iter().map(|alias| alias.span.start).collect()
    }

    /// Where the aliases are that show some of this memory.
    pub(super) fn showing(&self, memory: &[Span]) -> Vec<Span> {
        let goes = |home: &Span| memory.iter().any(|gone| home.touches(*gone));
        let showing = self.by_age.values().filter(|alias| alias.homes.iter().any(goes));
        showing.map(|alias| alias.span).collect()
    }

    /// The aliases in a span, as far as they are for use, lowest first.
    pub(super) fn lent_in(&self, span: Span) -> impl Iterator<Item = Span> {
        let aliases = self.by_start.range(span.start..span.end());
        let aliases = aliases.filter_map(|(_, age)| self.by_age.get(age));
        aliases.map(|alias| Span::new(alias.span.start, alias.size))
    }

    /// The whole handles that the alias at `start` shows, from its first on: where each is at home, and
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
            if upto < home.end() {
                // Of the last handle the lower end only.
                break;
            }
            at += home.size;
        }
        handles
    }

    pub(super) fn remove(&mut self, start: u64) {
        let age = self.by_start.remove(&start);
        if let Some((age, alias)) = age.and_then(|age| self.by_age.remove_entry(&age)) {
            self.idle.remove(&(alias.size, age));
            self.broken.remove(&age);
            self.bytes -= alias.span.size;
        }
    }

    /// So many bytes of the alias at `start`, from its first on, are none of it any more. The rest of it
    /// goes on, for its user.
    pub(super) fn shorten(&mut self, start: u64, mut bytes: u64) {
        let Some(Alias { span, homes, .. }) = self.at(start).cloned() else { return };
        self.remove(start);
        let rest = Span::between(start + bytes, span.end());
        let mut left = Vec::new();
        for home in homes.iter() {
            let gone = bytes.min(home.size);
            bytes -= gone;
            if gone < home.size {
                left.push(Span::between(home.start + gone, home.end()));
            }
        }
        if !left.is_empty() {
            self.add(rest, left);
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
        WindowInfo { start: pointer(self.span.start), size: self.size, homes }
    }
}
