//! What is known of all lanes. Nothing here makes a driver call.

use std::collections::BTreeSet;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{Event, ResourceId, Stream};

use super::away::Away;
use super::bound::Bound;
use super::departed::Departed;
use super::front::{Closer, Front};
use super::lane::{Access, Lane};
use super::misses::Misses;
use super::table::Table;
use crate::Batch;
use crate::space::{CLEAN, Claim, StreamIx, Tag};

/// When a freed range may be reused by the stream that freed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reuse {
    /// At once: the stream's own order protects it.
    #[default]
    StreamOrdered,
    /// After the host observed that the work before the free completed, because the host may touch
    /// the memory.
    Observed,
}

/// All lanes of a pool, and what is known of them together.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) reuse: Reuse,
    pub(super) batch: Batch,
    pub(crate) table: Table,
    pub(crate) bound: Bound,
    pub(crate) away: Away,
    pub(crate) misses: Misses,
    pub(crate) departed: Departed,
    /// Lanes with markers that are not known to be complete.
    pub(super) marked: BTreeSet<StreamIx>,
    /// Lanes of which nothing may cover what they freed.
    pub(super) uncovered: BTreeSet<StreamIx>,
    /// Events to record again.
    pub(crate) idle: Vec<IdleEvent>,
    /// Orders markers by when they were recorded.
    pub(super) recorded: u64,
    /// How often a lane that others could not close was marked, or a lane ended: changes whenever others may
    /// use what they could not before although it was free.
    pub(crate) opened: u64,
    /// How often more was found to be complete.
    pub(crate) completions: u64,
    /// What is to be dropped without the lock.
    pub(super) garbage: Vec<Garbage>,
}

/// Handles whose end may call the driver.
#[derive(Debug)]
#[expect(dead_code, reason = "they are only dropped")]
pub(crate) enum Garbage {
    Stream(Stream),
    Event(Event),
    Lane(Lane),
}

impl Lanes {
    pub(crate) fn new(reuse: Reuse, batch: Batch) -> Self {
        let front = Front::new(CLEAN.lane, u64::MAX, batch, false, Closer::Anybody);
        Self { reuse, batch, table: Table::new(Lane::clean(front)), ..Self::default() }
    }

    /// The lane of a stream that is known, which may have ended.
    #[inline]
    pub(super) fn known(&mut self, pool: ResourceId, stream: &Stream) -> Option<StreamIx> {
        let noted = stream.noted(pool).map(StreamIx);
        // Another stream may have its number by now.
        let own = |&number: &StreamIx| {
            self.table.get(number).is_some_and(|lane| lane.stream() == Some(stream.id()))
        };
        noted.filter(own).or_else(|| self.look_up(pool, stream))
    }

    #[cold]
    fn look_up(&mut self, pool: ResourceId, stream: &Stream) -> Option<StreamIx> {
        let lane = self.table.find(stream.id())?;
        self.note_owner(lane, stream);
        self.bound.note_on(pool, stream, lane);
        Some(lane)
    }

    /// The open lane of a stream that is known. `None` says only that it takes more to find it.
    #[inline(always)]
    pub(super) fn open(
        &mut self,
        pool: ResourceId,
        stream: &Stream,
    ) -> Option<(StreamIx, &mut Front)> {
        let number = match stream.noted(pool).map(StreamIx) {
            Some(number) => number,
            None => self.look_up(pool, stream)?,
        };
        Some((number, self.table.open(number, stream.id())?))
    }

    /// The lane that freed what is tagged with this number.
    pub(crate) fn lane_that_freed(&self, number: StreamIx) -> Option<&Lane> {
        self.table.get(self.away.freed_on(number))
    }

    /// What `thief` must do before it uses a range with this tag.
    pub(crate) fn access(&self, tag: Tag, thief: StreamIx) -> Access<'_> {
        let freed_on = self.away.freed_on(tag.lane);
        let own = freed_on == thief && self.reuse == Reuse::StreamOrdered;
        match self.table.get(freed_on) {
            _ if own => Access::Now,
            Some(lane) => lane.access(tag.epoch),
            None => Access::Never,
        }
    }

    /// Whether a range with this tag is known to be free of pending work.
    pub(crate) fn is_complete(&self, tag: Tag) -> bool {
        self.lane_that_freed(tag.lane).is_some_and(|lane| lane.is_complete(tag.epoch))
    }

    /// Whether a lane that left nothing to cover this tag is why others cannot have memory with it.
    pub(crate) fn is_out_of_reach(&self, tag: Tag) -> bool {
        let never = matches!(self.access(tag, CLEAN.lane), Access::Never);
        never && self.uncovered.contains(&self.away.freed_on(tag.lane))
    }

    /// The tag of memory that is at home on a lane and was last used before this tag of any lane.
    pub(crate) fn tag_at(&mut self, home: StreamIx, tag: Tag) -> Tag {
        let lives = self.table.get(home).is_some_and(|home| !home.has_ended());
        if !lives || home == tag.lane || self.reuse == Reuse::Observed {
            return tag;
        }
        if tag.epoch == 0 {
            return Tag { lane: home, epoch: 0 };
        }
        let number = self.away.stock((tag.lane, home), || self.table.vacant_number());
        Tag { lane: number, ..tag }
    }

    /// The tag of what a request leaves of the memory it claimed.
    pub(crate) fn rest_of(&mut self, claim: &Claim, lane: StreamIx) -> Tag {
        // What the stream waited for is covered by the lane's next marker, not by earlier ones.
        let own = claim.free_tags().filter(|tag| self.away.freed_on(tag.lane) == lane);
        let own = own.map(|tag| Tag { lane, ..tag }).max_by_key(|tag| tag.epoch);
        match (self.reuse, own) {
            (Reuse::Observed, _) => CLEAN,
            _ if claim.waited => self.table.open_tag(lane),
            (_, Some(tag)) => tag,
            (_, None) => Tag { lane, epoch: 0 },
        }
    }

    /// The lane that lends memory with this tag to another one: it is at home there, and likely to be needed
    /// there because that lane is at work.
    pub(crate) fn lender(&self, tag: Tag, to: StreamIx) -> Option<StreamIx> {
        let home = self.away.home_of(tag.lane);
        let is_at_work = |home: &Lane| self.misses.is_at_work(home);
        (home != to && self.table.get(home).is_some_and(is_at_work)).then_some(home)
    }

    /// A lane found nothing at hand for a request of so many bytes.
    pub(crate) fn note_miss(&mut self, number: StreamIx, bytes: u64) {
        if let Some(lane) = self.table.get_mut(number) {
            self.misses.note(number, lane, bytes);
        }
    }

    /// Another lane takes memory of this one, for which it had to close it or not.
    pub(crate) fn note_theft(&mut self, number: StreamIx, closes: bool) {
        if let Some(lane) = self.table.get_mut(self.away.freed_on(number)) {
            lane.front.note_theft(if closes { 8 } else { 2 });
        }
    }

    /// Another lane looked at what this one freed.
    pub(crate) fn contend(&mut self, number: StreamIx) {
        if let Some(lane) = self.table.get_mut(self.away.freed_on(number)) {
            lane.front.contend();
        }
    }

    /// Asks threads to mark what they freed on their default streams when they next call the pool, and
    /// what they free from then on.
    pub(crate) fn contend_bound(&mut self) {
        for &number in &self.bound.open {
            let lane = self.table.get_mut(number).filter(|lane| lane.has_unmarked_frees());
            lane.into_iter().for_each(|lane| lane.front.contend());
        }
    }
}
