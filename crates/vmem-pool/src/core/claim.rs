//! Ranges taken out for one request while the lock is not held.

use vmem_core::{DriverError, Stream};

use super::{Core, State};
use crate::backing::Backing;
use crate::lanes::{Access, Reuse};
use crate::sabotage;
use crate::space::{Need, Slot, State as Range, Stretch, Tag};

/// Neighbouring ranges, lowest first, with the state that each must get back if the claim is given
/// up.
#[derive(Debug)]
#[must_use = "a claim is finished or given up"]
pub(crate) struct Claim {
    parts: Vec<(Slot, Range)>,
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

    /// The parts that are not mapped yet.
    pub(crate) fn holes(&self) -> impl Iterator<Item = Slot> {
        self.parts.iter().filter(|(_, state)| *state == Range::Hole).map(|&(slot, _)| slot)
    }

    /// The first part.
    pub(crate) fn first(&self) -> Slot {
        self.parts[0].0
    }
}

impl State {
    /// Claims one free range.
    pub(crate) fn claim_one(&mut self, slot: Slot) -> Claim {
        let state = self.space[slot].state;
        self.space.claim(slot);
        self.claims += 1;
        Claim { parts: vec![(slot, state)] }
    }

    /// Claims a stretch.
    pub(crate) fn claim_stretch(&mut self, stretch: Stretch) -> Claim {
        self.claims += 1;
        Claim { parts: self.space.claim_stretch(stretch) }
    }

    /// Gives every part its state back.
    pub(crate) fn give_up(&mut self, claim: Claim) {
        self.claims -= 1;
        for (slot, state) in claim.parts {
            self.space.release(slot, state);
        }
    }

    /// Joins the parts, keeps what the request needs (claimed) and leaves the rest to the lane.
    /// `waited` says that the lane's stream had to wait for some part.
    pub(crate) fn finish(&mut self, claim: Claim, lane: u32, need: Need, waited: bool) -> Slot {
        self.claims -= 1;
        // What the stream waited for is covered by the lane's next marker, not by earlier ones.
        let own = claim.tags().into_iter().find(|tag| tag.lane == lane);
        let rest = match (self.lanes.reuse(), own) {
            (Reuse::Observed, _) => crate::lanes::CLEAN,
            _ if waited => self.lanes.open_tag(lane),
            (_, Some(tag)) => tag,
            (_, None) => Tag { lane, epoch: 0 },
        };
        let first = claim.first();
        let last = claim.parts[claim.parts.len() - 1].0;
        self.space.join_claimed(first, last);
        self.fit(first, need, rest);
        first
    }
}

impl<B: Backing> Core<B> {
    /// Orders the lane's stream after the last use of every part. Returns whether it had to wait.
    pub(crate) fn order_after(
        &self,
        claim: &Claim,
        lane: u32,
        stream: &Stream,
    ) -> Result<bool, Obstacle> {
        let mut waited = false;
        for tag in claim.tags() {
            waited |= self.order_after_tag(tag, lane, stream)?;
        }
        Ok(waited)
    }

    fn order_after_tag(&self, tag: Tag, lane: u32, stream: &Stream) -> Result<bool, Obstacle> {
        let mut closed = false;
        loop {
            let access = self.lock().lanes.access(tag, lane);
            match access {
                Access::Now => return Ok(false),
                Access::Never => return Err(Obstacle::Unavailable(tag.lane)),
                Access::Close if closed => return Err(Obstacle::Unavailable(tag.lane)),
                Access::Close => {
                    self.close(tag.lane, true)?;
                    closed = true;
                }
                Access::After { epoch, marker, .. } => {
                    let Some(marker) = self.query(tag.lane, epoch, marker)? else {
                        return Ok(false);
                    };
                    // A wait asked of another thread's stream would be queued too late for work
                    // that its own thread queues by the raw handle.
                    if self.lock().lanes.reuse() == Reuse::Observed || !stream.is_callable_here() {
                        return Err(Obstacle::Unavailable(tag.lane));
                    }
                    if !sabotage::skip_wait() {
                        stream.wait(&marker)?;
                    }
                    return Ok(true);
                }
            }
        }
    }
}
