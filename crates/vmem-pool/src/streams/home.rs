//! Memory that is free [away](super::away) from home, and how it gets there and back.

use std::collections::HashSet;

use super::State;
use crate::space::{CLEAN, Need, Slot, StreamIx, Tag};

/// Away from one home, ranges that a request looks at for one that fits.
const LOOKS: usize = 16;

impl State {
    /// The tag of a block that a lane frees and that is at home elsewhere; and whether to close the lane's
    /// batch.
    pub(crate) fn tag_away(&mut self, tag: Tag, home: StreamIx, bytes: u64) -> (Tag, bool) {
        // It was counted as a free of the lane's own.
        self.lanes.table.note_taken(tag.lane, bytes);
        self.lanes.table.note_freed(home, bytes);
        if home == CLEAN.lane {
            return (tag, false);
        }
        if self.lanes.away.is_sweep_due() && self.may_forget() {
            self.lanes.table.vacate(self.lanes.away.forget_unused(&self.space));
        }
        let tag = self.lanes.tag_at(home, tag);
        (tag, self.lanes.away.is_marked_at_once(tag.lane))
    }

    /// Brings home what other lanes freed of a lane's memory and have finished with, as far as that is known.
    /// Returns whether there is more that is away, or was.
    pub(crate) fn bring_home(&mut self, home: StreamIx) -> bool {
        let numbers = self.lanes.away.stocked_at(home, &self.space);
        let at_home = Tag { lane: home, epoch: 0 };
        for &number in &numbers {
            let lanes = &self.lanes;
            let complete =
                |slot: &Slot| self.space[*slot].tag().is_some_and(|t| lanes.is_complete(t));
            let slots: Vec<Slot> = self.space.indexes.free_of(number).filter(complete).collect();
            self.memory().retag(slots, at_home);
        }
        !numbers.is_empty()
    }

    /// For each lane that freed some of this one's memory, the last of those frees.
    pub(crate) fn latest_away(&mut self, home: StreamIx) -> Vec<Tag> {
        let numbers = self.lanes.away.stocked_at(home, &self.space);
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
        let mut numbers = self.lanes.away.stocked_at(home, &self.space);
        numbers.retain(|&number| !skipped.contains(&self.lanes.away.freed_on(number)));
        let fits = numbers.iter().flat_map(|&number| self.space.fits(number, need).take(LOOKS));
        let tag = match self.least_wait(fits, home) {
            Some(slot) => self.space[slot].tag()?,
            None => self.first_of_run(home, need, &numbers)?,
        };
        Some(Tag { lane: self.lanes.away.freed_on(tag.lane), ..tag })
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
        let Some(number) = self.lanes.away.number((tag.lane, home)) else { return };
        let now = match waited {
            true => self.lanes.table.open_tag(home),
            false => Tag { lane: home, epoch: 0 },
        };
        if waited {
            self.lanes.away.mark_at_once(number);
        }
        let covered =
            |slot: &Slot| self.space[*slot].tag().is_some_and(|free| free.epoch <= tag.epoch);
        let slots: Vec<Slot> = self.space.indexes.free_of(number).filter(covered).collect();
        self.memory().retag(slots, now);
    }

    /// Of what ended lanes had away from home, those that freed it are the heirs. Nobody holds a tag.
    pub(super) fn inherit(&mut self, ended: &[StreamIx]) {
        let ended: HashSet<StreamIx> = ended.iter().copied().collect();
        for (number, (freed_on, home)) in self.lanes.away.concerning(&ended) {
            if ended.contains(&home) {
                let slots: Vec<Slot> = self.space.indexes.free_of(number).collect();
                for slot in slots {
                    let epoch = self.space[slot].tag().map_or(u64::MAX, |tag| tag.epoch);
                    self.memory().retag(vec![slot], Tag { lane: freed_on, epoch });
                }
            }
            if self.space.indexes.owns_nothing(number) {
                self.lanes.away.forget(number);
                self.lanes.table.vacate([number]);
            }
        }
    }
}
