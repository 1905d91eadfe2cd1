//! Ranges taken out for one request while the lock is not held.

use vmem_core::author::StreamExt;
use vmem_core::{DriverError, Stream};

use super::markers::{Reached, stands_for_nothing};
use super::{Core, State};
use crate::backing::Backing;
use crate::ladder::Climb;
use crate::lanes::{Access, CLEAN, Reuse};
use crate::space::{Need, RangeState, Slot, Tag};

/// Ranges with the state that each must get back if the claim is given up.
#[derive(Debug)]
#[must_use = "a claim is finished or given up"]
pub(crate) struct Claim {
    /// Where the memory is. Neighbours, lowest first, unless it is to be lent to a window.
    parts: Vec<(Slot, RangeState)>,
    /// Addresses at which the memory is to be used.
    window: Vec<(Slot, RangeState)>,
}

/// Whether a stream was made to wait for the last use of what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    No,
    Yes,
}

/// Why a range could not be ordered after its last use.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// This lane's marker cannot be recorded by this thread, or now.
    Unavailable(u32),
    /// The driver failed.
    Fault(DriverError),
}

impl From<DriverError> for Obstacle {
    fn from(error: DriverError) -> Self {
        Self::Fault(error)
    }
}

impl Claim {
    /// The tags of the free parts, one per lane: the latest.
    fn tags(&self) -> Vec<Tag> {
        let mut tags: Vec<Tag> = Vec::new();
        for tag in self.parts.iter().filter_map(|(_, state)| state.tag()) {
            match tags.iter_mut().find(|t| t.lane == tag.lane) {
                Some(known) => known.epoch = known.epoch.max(tag.epoch),
                None => tags.push(tag),
            }
        }
        tags
    }

    /// The parts that were in this state.
    pub(crate) fn parts_in(&self, state: RangeState) -> impl Iterator<Item = Slot> {
        self.parts.iter().filter(move |(_, before)| *before == state).map(|&(slot, _)| slot)
    }

    /// The first part.
    pub(crate) fn first(&self) -> Slot {
        self.parts[0].0
    }
}

impl State {
    /// Claims one free range.
    pub(crate) fn claim_one(&mut self, slot: Slot) -> Claim {
        let state = self.space[slot].state();
        self.space.claim(slot);
        self.claims += 1;
        Claim { parts: vec![(slot, state)], window: Vec::new() }
    }

    /// Claims all of `start..end`, none of which is live or claimed.
    pub(crate) fn claim_between(&mut self, start: u64, end: u64) -> Claim {
        let mut claim = self.claim_nothing();
        self.add_to(&mut claim, start, end);
        claim
    }

    /// A claim to add to.
    pub(crate) fn claim_nothing(&mut self) -> Claim {
        self.claims += 1;
        Claim { parts: Vec::new(), window: Vec::new() }
    }

    /// Adds all of `start..end`, none of which is live or claimed, to the memory of a claim.
    pub(crate) fn add_to(&mut self, claim: &mut Claim, start: u64, end: u64) {
        claim.parts.extend(self.space.claim_between(start, end));
    }

    /// Adds addresses at which the memory is to be used.
    pub(crate) fn add_window(&mut self, claim: &mut Claim, start: u64, end: u64) {
        claim.window.extend(self.space.claim_between(start, end));
    }

    /// What was claimed and is not kept is there for others again.
    fn end_claim(&mut self) {
        self.claims -= 1;
        self.claims_ended += 1;
    }

    /// Gives every part its state back.
    pub(crate) fn give_up(&mut self, claim: Claim, climb: &mut Climb<'_>) {
        self.end_claim();
        climb.made_progress(1);
        for (slot, state) in claim.parts.into_iter().chain(claim.window) {
            self.space.set_state(slot, state);
        }
    }

    /// Joins the parts, keeps what the request needs (claimed) and leaves the rest to the lane.
    pub(crate) fn finish(&mut self, claim: Claim, lane: u32, need: Need, waited: Waited) -> Slot {
        self.end_claim();
        // What the stream waited for is covered by the lane's next marker, not by earlier ones.
        let own = claim.tags().into_iter().find(|tag| tag.lane == lane);
        let rest = match (self.lanes.reuse(), own) {
            (Reuse::Observed, _) => CLEAN,
            _ if waited == Waited::Yes => self.lanes.open_tag(lane),
            (_, Some(tag)) => tag,
            (_, None) => Tag { lane, epoch: 0 },
        };
        let first = claim.first();
        let last = claim.parts[claim.parts.len() - 1].0;
        let whole = self.space.join_claimed(first, last);
        self.fit(whole, need, rest);
        whole
    }

    /// Lends the memory of a claim to its window, which stays claimed and is returned.
    pub(crate) fn lend(&mut self, claim: Claim) -> Slot {
        self.end_claim();
        for (slot, _) in claim.parts {
            // Work at home is pending no longer than work in the window will be.
            self.space.set_state(slot, RangeState::Dormant(CLEAN));
        }
        let first = claim.window[0].0;
        let last = claim.window[claim.window.len() - 1].0;
        self.space.join_claimed(first, last)
    }

    /// The memory that is at home at `start..end` is free there again.
    pub(crate) fn wake(&mut self, start: u64, end: u64, tag: Tag) {
        let lent = |slot: &Slot| matches!(self.space[*slot].state(), RangeState::Dormant(_));
        let slots: Vec<Slot> = self.space.within(start, end).filter(lent).collect();
        for slot in slots {
            let (low, size) = self.space[slot].extent();
            let (at, upto) = (low.max(start), (low + size).min(end));
            self.space.claim(slot);
            self.space.cut(slot, at, upto - at, RangeState::Dormant(CLEAN));
            self.space.set_state(slot, RangeState::Free(tag));
        }
    }

    /// Nothing is to be placed at `start..end`, which the driver keeps mapped.
    pub(crate) fn retire_addresses(&mut self, start: u64, end: u64) {
        for (slot, _) in self.space.claim_between(start, end) {
            self.space.set_state(slot, RangeState::Dormant(CLEAN));
        }
    }

    /// Ranges, as start and size, were unmapped and hold free memory now.
    pub(crate) fn adopt(&mut self, ranges: &[(u64, u64)]) {
        for &(start, size) in ranges {
            for (slot, _) in self.space.claim_between(start, start + size) {
                self.space.set_state(slot, RangeState::Free(CLEAN));
            }
        }
    }
}

impl<B: Backing> Core<B> {
    /// Orders the lane's stream after the last use of every part. Returns whether it was made to wait.
    pub(crate) fn order_after(
        &self,
        claim: &Claim,
        lane: u32,
        stream: &Stream,
    ) -> Result<Waited, Obstacle> {
        let mut waited = Waited::No;
        for tag in claim.tags() {
            if self.order_after_tag(tag, lane, stream)? == Waited::Yes {
                waited = Waited::Yes;
            }
        }
        Ok(waited)
    }

    fn order_after_tag(&self, tag: Tag, lane: u32, stream: &Stream) -> Result<Waited, Obstacle> {
        // A marker may be lost to a capture. One that is recorded instead is the last.
        let mut closings = 0;
        loop {
            let access = self.lock().lanes.access(tag, lane);
            match access {
                Access::Now => return Ok(Waited::No),
                Access::Never => return Err(Obstacle::Unavailable(tag.lane)),
                Access::Close if closings == 2 => return Err(Obstacle::Unavailable(tag.lane)),
                Access::Close => {
                    self.close(tag.lane)?;
                    closings += 1;
                }
                Access::After { epoch, marker, .. } => {
                    let marker = match self.may_ask() {
                        true => match self.query(tag.lane, epoch, marker)? {
                            Reached::Yes => return Ok(Waited::No),
                            Reached::NotYet(marker) => marker,
                            Reached::Lost => continue,
                        },
                        false => marker,
                    };
                    // A wait asked of another thread's stream would be queued too late for work
                    // that its own thread queues by the raw handle.
                    if self.reuse == Reuse::Observed || !stream.is_callable_here() {
                        return Err(Obstacle::Unavailable(tag.lane));
                    }
                    match stream.wait(&marker) {
                        Ok(()) => return Ok(Waited::Yes),
                        // Or it is about another event that the stream has to wait for.
                        Err(error) if stands_for_nothing(&error) => {
                            match self.query(tag.lane, epoch, marker)? {
                                Reached::Lost => {}
                                _ => return Err(error.into()),
                            }
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
}
