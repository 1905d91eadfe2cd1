//! Memory that is free away from home.
//!
//! A block's *home* is the lane that it was taken for, and most are freed there. What another lane frees is
//! behind that one's work, and tagged so; but it is kept apart from the rest of what that lane freed, and
//! joins with none of it, so that it can go home. For that the two lanes together have a number, which
//! ranges are tagged with like those of a lane: everybody but the home lane takes them for memory of the
//! lane that freed them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Lane, Lanes, Reuse, State};
use crate::space::{CLEAN, Need, RangeState, Slot, StreamIx, Tag};

/// Numbers of one home that a request looks at.
const PAIRS: usize = 16;

/// Away from one home, ranges that a request looks at for one that fits.
const LOOKS: usize = 16;

/// So many frees away from home are marked at once after the home lane had to wait for more than them.
const MARKED: u32 = 8;

/// A stream that has not missed during so many misses of all is idle.
const IDLE: u64 = 64;

/// So is one of which less than this part is live of what was at most.
const AT_WORK: u64 = 4;

/// Of which lanes a range is that is free away from home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) freed_on: StreamIx,
    pub(super) home: StreamIx,
}

/// The numbers of pairs of lanes.
#[derive(Debug, Default)]
pub(super) struct Away {
    pairs: BTreeMap<StreamIx, Pair>,
    numbers: HashMap<Pair, StreamIx>,
    /// By home, the numbers with which there may be free ranges.
    stocked: BTreeSet<(StreamIx, StreamIx)>,
    /// How many more frees with a number are marked at once.
    marked: HashMap<StreamIx, u32>,
    /// With more numbers it is time to look which of them nothing has.
    sweep_above: usize,
}

impl Lanes {
    /// The lane that freed what is tagged with this number.
    pub(crate) fn freed_on(&self, number: StreamIx) -> StreamIx {
        self.away.pairs.get(&number).map_or(number, |pair| pair.freed_on)
    }

    /// The lane at which what is tagged with this number is at home.
    pub(crate) fn home_of(&self, number: StreamIx) -> StreamIx {
        self.away.pairs.get(&number).map_or(number, |pair| pair.home)
    }

    /// The numbers of what a lane freed away from home.
    pub(crate) fn freed_away_on(&self, lane: StreamIx) -> impl Iterator<Item = StreamIx> {
        let pairs = self.away.pairs.iter();
        pairs.filter(move |(_, pair)| pair.freed_on == lane).map(|(&number, _)| number)
    }

    /// The number for what one lane frees of another's memory.
    fn number_of(&mut self, pair: Pair) -> StreamIx {
        if let Some(&number) = self.away.numbers.get(&pair) {
            return number;
        }
        let number = self.vacant_number();
        self.away.pairs.insert(number, pair);
        self.away.numbers.insert(pair, number);
        number
    }

    /// The tag of memory that is at home on a lane and was last used before this tag of any lane.
    pub(crate) fn away(&mut self, tag: Tag, home: StreamIx) -> Tag {
        let lives = self.get(home).is_some_and(|home| !home.has_ended());
        if !lives || home == tag.lane || self.reuse == Reuse::Observed {
            return tag;
        }
        if tag.epoch == 0 {
            return Tag { lane: home, epoch: 0 };
        }
        let number = self.number_of(Pair { freed_on: tag.lane, home });
        self.away.stocked.insert((home, number));
        Tag { lane: number, ..tag }
    }

    /// The lane that lends memory with this tag to another one: at home there, and likely to be needed there.
    pub(crate) fn lender(&self, tag: Tag, to: StreamIx) -> Option<StreamIx> {
        self.is_needed_elsewhere(tag, to).then(|| self.home_of(tag.lane))
    }

    /// Whether a free with this number is to be marked at once. Counts it.
    fn is_marked_at_once(&mut self, number: StreamIx) -> bool {
        let Some(left) = self.away.marked.get_mut(&number) else { return false };
        *left -= 1;
        if *left == 0 {
            self.away.marked.remove(&number);
        }
        true
    }

    /// Forgets a number that nothing has.
    fn forget_pair(&mut self, number: StreamIx) {
        let Some(pair) = self.away.pairs.remove(&number) else { return };
        self.away.numbers.remove(&pair);
        self.away.stocked.remove(&(pair.home, number));
        self.away.marked.remove(&number);
        self.vacant.push(number);
    }

    /// A lane found nothing at hand for a request of so many bytes.
    pub(crate) fn note_miss(&mut self, lane: StreamIx, bytes: u64) {
        self.misses += 1;
        let now = self.misses;
        self.get_mut(lane).into_iter().for_each(|lane| {
            lane.missed = now;
            lane.most_live = lane.most_live.max(lane.front().live() + bytes);
        });
        if lane != self.missed_last {
            self.missed_last = lane;
            self.missed_before = now - 1;
        }
    }

    /// Whether lanes other than this one, which has just missed, are at work too.
    pub(crate) fn others_are_active(&self) -> bool {
        self.missed_before > 0 && self.is_recent(self.missed_before)
    }

    fn is_recent(&self, missed: u64) -> bool {
        missed + IDLE > self.misses
    }

    /// Whether free memory with this tag is likely to be needed by another lane than this one: it is at
    /// home there, and that lane is at work.
    pub(crate) fn is_needed_elsewhere(&self, tag: Tag, lane: StreamIx) -> bool {
        let home = self.home_of(tag.lane);
        home != lane && self.get(home).is_some_and(|home| self.is_at_work(home))
    }

    /// Whether a lane's stream is likely to need again what it frees.
    fn is_at_work(&self, lane: &Lane) -> bool {
        let is_recent = lane.missed > 0 && self.is_recent(lane.missed);
        is_recent && lane.front().live() >= lane.most_live / AT_WORK && !lane.has_ended()
    }

    /// A block of this size is at home on a lane from now on.
    #[inline]
    pub(crate) fn note_taken(&mut self, home: StreamIx, bytes: u64) {
        if let Some(Some(lane)) = self.lanes.get_mut(home.index()) {
            lane.front_mut().note_taken(bytes);
        }
    }

    /// It is free.
    pub(crate) fn note_freed(&mut self, home: StreamIx, bytes: u64) {
        self.note_taken(home, bytes.wrapping_neg());
    }
}

impl State {
    /// The tag of a block that a lane frees and that is at home elsewhere; and whether to close the lane's
    /// batch.
    pub(crate) fn tag_away(&mut self, tag: Tag, home: StreamIx, bytes: u64) -> (Tag, bool) {
        // It was counted as a free of the lane's own.
        self.lanes.note_taken(tag.lane, bytes);
        self.lanes.note_freed(home, bytes);
        if home == CLEAN.lane {
            return (tag, false);
        }
        if self.lanes.away.pairs.len() > self.lanes.away.sweep_above {
            self.forget_unused_pairs();
        }
        let tag = self.lanes.away(tag, home);
        (tag, self.lanes.is_marked_at_once(tag.lane))
    }

    /// Some numbers with which there are free ranges that are at home on this lane.
    fn away_from(&mut self, home: StreamIx) -> Vec<StreamIx> {
        let Self { lanes, space, .. } = self;
        let mut numbers = Vec::new();
        let mut from = StreamIx::LEAST;
        while numbers.len() < PAIRS
            && let Some(&(_, number)) =
                lanes.away.stocked.range((home, from)..=(home, StreamIx::MOST)).next()
        {
            // What is claimed may be put back.
            if space.indexes.owns_nothing(number) && space.claims == 0 {
                lanes.away.stocked.remove(&(home, number));
            } else if !space.indexes.owns_nothing(number) {
                numbers.push(number);
            }
            from = number.next();
        }
        numbers
    }

    /// Brings home what other lanes freed of a lane's memory and have finished with, as far as that is known.
    /// Returns whether there is more that is away, or was.
    pub(crate) fn bring_home(&mut self, home: StreamIx) -> bool {
        let numbers = self.away_from(home);
        let at_home = Tag { lane: home, epoch: 0 };
        for &number in &numbers {
            let lanes = &self.lanes;
            let complete =
                |slot: &Slot| self.space[*slot].tag().is_some_and(|t| lanes.is_complete(t));
            let slots: Vec<Slot> = self.space.indexes.free_of(number).filter(complete).collect();
            self.retag(slots, at_home);
        }
        !numbers.is_empty()
    }

    /// For each lane that freed some of this one's memory, the last of those frees.
    pub(crate) fn latest_away(&mut self, home: StreamIx) -> Vec<Tag> {
        let numbers = self.away_from(home);
        let latest = |number: &StreamIx| {
            let free =
                self.space.indexes.free_of(*number).filter_map(|slot| self.space[slot].tag());
            free.max_by_key(|tag| tag.epoch)
        };
        numbers.iter().filter_map(latest).collect()
    }

    /// The tag of what a lane is to be ordered after so that more of its memory comes home, if that then
    /// serves the need: of one range that fits, that which waits the least; else of all that fit together.
    /// The tag is one of the lane that freed it.
    pub(crate) fn next_to_fetch(
        &mut self,
        home: StreamIx,
        need: Need,
        skipped: &[StreamIx],
    ) -> Option<Tag> {
        let mut numbers = self.away_from(home);
        numbers.retain(|&number| !skipped.contains(&self.lanes.freed_on(number)));
        let fits = numbers.iter().flat_map(|&number| self.space.fits(number, need).take(LOOKS));
        let tag = match self.least_wait(fits, home) {
            Some(slot) => self.space[slot].tag()?,
            None => self.first_of_run(home, need, &numbers)?,
        };
        Some(Tag { lane: self.lanes.freed_on(tag.lane), ..tag })
    }

    /// The free range among these that a lane waits the least for; of equals the smallest, and the lowest.
    pub(crate) fn least_wait(
        &self,
        ranges: impl Iterator<Item = Slot>,
        lane: StreamIx,
    ) -> Option<Slot> {
        let cost = |slot: Slot| {
            let range = self.space[slot];
            let order = self.lanes.access(range.tag()?, lane).order()?;
            Some(((order, range.size(), range.start), slot))
        };
        ranges.filter_map(cost).min_by_key(|(cost, _)| *cost).map(|(_, slot)| slot)
    }

    /// The latest tag of those ranges of one lane in the shortest run of memory that is at home here, some of
    /// it away.
    fn first_of_run(&self, home: StreamIx, need: Need, numbers: &[StreamIx]) -> Option<Tag> {
        if numbers.is_empty() {
            return None;
        }
        let own = |tag: Tag| tag.lane == home || numbers.contains(&tag.lane);
        let run = self.space.best_run(need, own)?;
        let tags = self.space.ranges.within(run).filter_map(|slot| self.space[slot].tag());
        let away: Vec<Tag> = tags.filter(|tag| tag.lane != home).collect();
        let first = away.first()?.lane;
        away.into_iter().filter(|tag| tag.lane == first).max_by_key(|tag| tag.epoch)
    }

    /// A lane's stream is ordered after all that another one freed up to the tag's epoch. What that is of its
    /// memory comes home. If the stream had to wait, it is behind the lane's work from now on.
    pub(crate) fn fetch(&mut self, home: StreamIx, tag: Tag, waited: bool) {
        let number = self.lanes.away.numbers.get(&Pair { freed_on: tag.lane, home }).copied();
        let Some(number) = number else { return };
        let now = match waited {
            true => self.lanes.open_tag(home),
            false => Tag { lane: home, epoch: 0 },
        };
        if waited {
            self.lanes.away.marked.insert(number, MARKED);
        }
        let covered =
            |slot: &Slot| self.space[*slot].tag().is_some_and(|free| free.epoch <= tag.epoch);
        let slots: Vec<Slot> = self.space.indexes.free_of(number).filter(covered).collect();
        self.retag(slots, now);
    }

    /// Gives free ranges another tag, which is of a lane that none of them had.
    pub(super) fn retag(&mut self, slots: Vec<Slot>, tag: Tag) {
        for slot in slots {
            self.space.claim(slot);
            self.space.set_state(slot, RangeState::Free(tag));
        }
    }

    /// Of what ended lanes had away from home, those that freed it are the heirs. Nobody holds a tag.
    pub(super) fn inherit(&mut self, ended: &[StreamIx]) {
        let ended: HashSet<StreamIx> = ended.iter().copied().collect();
        let pairs = self.lanes.away.pairs.iter().map(|(&number, &pair)| (number, pair));
        let concerned = |(_, pair): &(StreamIx, Pair)| {
            ended.contains(&pair.home) || ended.contains(&pair.freed_on)
        };
        let pairs: Vec<(StreamIx, Pair)> = pairs.filter(concerned).collect();
        for (number, pair) in pairs {
            if ended.contains(&pair.home) {
                let slots: Vec<Slot> = self.space.indexes.free_of(number).collect();
                for slot in slots {
                    let epoch = self.space[slot].tag().map_or(u64::MAX, |tag| tag.epoch);
                    self.retag(vec![slot], Tag { lane: pair.freed_on, epoch });
                }
            }
            if self.space.indexes.owns_nothing(number) {
                self.lanes.forget_pair(number);
            }
        }
    }

    /// Forgets the numbers that no range has, unless somebody may hold a tag with one.
    fn forget_unused_pairs(&mut self) {
        if self.pins > 0 || self.space.claims > 0 {
            return;
        }
        let Self { lanes, space, .. } = self;
        let unused: Vec<StreamIx> = lanes.away.pairs.keys().copied().collect();
        let unused = unused.into_iter().filter(|&number| space.indexes.owns_nothing(number));
        unused.for_each(|number| lanes.forget_pair(number));
        lanes.away.sweep_above = 64 + 2 * lanes.away.pairs.len();
    }
}
