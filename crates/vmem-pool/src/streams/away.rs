//! The numbers of memory that is free away from home.
//!
//! A block's *home* is the lane that it was taken for, and most are freed there. What another lane frees is
//! behind that one's work, and tagged so; but it is kept apart from the rest of what that lane freed, and
//! joins with none of it, so that it can go home. For that the two lanes together have a number, which
//! ranges are tagged with like those of a lane: everybody but the home lane takes them for memory of the
//! lane that freed them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::space::{Space, StreamIx};

/// Numbers of one home that a request looks at.
const PAIRS: usize = 16;

/// So many frees away from home are marked at once after the home lane had to wait for more than them.
const MARKED: u32 = 8;

/// Of which lanes a range is that is free away from home: of that which freed it, and of that where it is at
/// home.
type Pair = (StreamIx, StreamIx);

/// The numbers of pairs of lanes.
#[derive(Debug, Default)]
pub(crate) struct Away {
    pairs: BTreeMap<StreamIx, Pair>,
    numbers: HashMap<Pair, StreamIx>,
    /// By home, the numbers with which there may be free ranges.
    stocked: BTreeSet<(StreamIx, StreamIx)>,
    /// How many more frees with a number are marked at once.
    marked: HashMap<StreamIx, u32>,
    /// With more numbers it is time to look which of them nothing has.
    sweep_above: usize,
}

impl Away {
    /// The lane that freed what is tagged with this number.
    pub(crate) fn freed_on(&self, number: StreamIx) -> StreamIx {
        self.pairs.get(&number).map_or(number, |&(freed_on, _)| freed_on)
    }

    /// The lane at which what is tagged with this number is at home.
    pub(super) fn home_of(&self, number: StreamIx) -> StreamIx {
        self.pairs.get(&number).map_or(number, |&(_, home)| home)
    }

    /// The numbers of what a lane freed away from home.
    pub(super) fn freed_by(&self, lane: StreamIx) -> impl Iterator<Item = StreamIx> {
        let pairs = self.pairs.iter();
        pairs.filter(move |(_, (freed_on, _))| *freed_on == lane).map(|(&number, _)| number)
    }

    /// The number of a pair that has one.
    pub(super) fn number(&self, pair: Pair) -> Option<StreamIx> {
        self.numbers.get(&pair).copied()
    }

    /// The number of a pair of which there may be free ranges from now on: a new one if it has none.
    pub(super) fn stock(&mut self, pair: Pair, vacant: impl FnOnce() -> StreamIx) -> StreamIx {
        let Self { numbers, pairs, stocked, .. } = self;
        let number = *numbers.entry(pair).or_insert_with(|| {
            let number = vacant();
            pairs.insert(number, pair);
            number
        });
        stocked.insert((pair.1, number));
        number
    }

    /// Some numbers with which there are free ranges that are at home on this lane.
    pub(super) fn stocked_at(&mut self, home: StreamIx, space: &Space) -> Vec<StreamIx> {
        let mut numbers = Vec::new();
        let mut from = StreamIx::LEAST;
        while numbers.len() < PAIRS
            && let Some(&(_, number)) =
                self.stocked.range((home, from)..=(home, StreamIx::MOST)).next()
        {
            if !space.indexes.owns_nothing(number) {
                numbers.push(number);
            } else if space.claims == 0 {
                // What is claimed may be put back.
                self.stocked.remove(&(home, number));
            }
            from = number.next();
        }
        numbers
    }

    /// The home lane had to wait: the next frees with this number are marked at once.
    pub(super) fn mark_at_once(&mut self, number: StreamIx) {
        self.marked.insert(number, MARKED);
    }

    /// Whether a free with this number is to be marked at once. Counts it.
    pub(super) fn is_marked_at_once(&mut self, number: StreamIx) -> bool {
        let Some(left) = self.marked.get_mut(&number) else { return false };
        *left -= 1;
        if *left == 0 {
            self.marked.remove(&number);
        }
        true
    }

    /// The numbers of pairs with one of these lanes.
    pub(super) fn concerning(&self, lanes: &HashSet<StreamIx>) -> Vec<(StreamIx, Pair)> {
        let pairs = self.pairs.iter().map(|(&number, &pair)| (number, pair));
        pairs.filter(|(_, (one, other))| lanes.contains(one) || lanes.contains(other)).collect()
    }

    /// Whether it is time to look which numbers nothing has.
    pub(super) fn is_sweep_due(&self) -> bool {
        self.pairs.len() > self.sweep_above
    }

    /// Forgets the numbers that no range has, and returns them. The caller knows that nobody holds one.
    pub(super) fn forget_unused(&mut self, space: &Space) -> Vec<StreamIx> {
        let mut unused: Vec<StreamIx> = self.pairs.keys().copied().collect();
        unused.retain(|&number| space.indexes.owns_nothing(number));
        unused.iter().for_each(|&number| self.forget(number));
        self.sweep_above = 64 + 2 * self.pairs.len();
        unused
    }

    /// Forgets a number that nothing has.
    pub(super) fn forget(&mut self, number: StreamIx) {
        let Some(pair) = self.pairs.remove(&number) else { return };
        self.numbers.remove(&pair);
        self.stocked.remove(&(pair.1, number));
        self.marked.remove(&number);
    }
}
