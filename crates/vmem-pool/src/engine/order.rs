//! Ordering a stream after the last use of what it gets.

use vmem_core::Stream;
use vmem_core::author::StreamExt;

use super::markers::{Reached, stands_for_nothing};
use super::{Core, State};
use crate::lanes::{Access, CLEAN, Reuse};
use crate::space::{Claim, Need, Slot, Tag};
use crate::supply::{Backing, Miss};

/// Whether a stream was made to wait for the last use of what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    No,
    Yes,
}

impl State {
    /// The tag of what a request leaves of the memory it claimed.
    pub(crate) fn rest_of(&mut self, claim: &Claim, lane: u32, waited: Waited) -> Tag {
        // What the stream waited for is covered by the lane's next marker, not by earlier ones.
        let own = claim.tags().into_iter().find(|tag| tag.lane == lane);
        match (self.lanes.reuse(), own) {
            (Reuse::Observed, _) => CLEAN,
            _ if waited == Waited::Yes => self.lanes.open_tag(lane),
            (_, Some(tag)) => tag,
            (_, None) => Tag { lane, epoch: 0 },
        }
    }

    /// Joins the parts of a claim, keeps what the request needs (claimed) and leaves the rest to the
    /// lane.
    pub(crate) fn finish(&mut self, claim: Claim, lane: u32, need: Need, waited: Waited) -> Slot {
        let rest = self.rest_of(&claim, lane, waited);
        self.space.finish(claim, need, rest)
    }
}

impl<B: Backing> Core<B> {
    /// Orders the lane's stream after the last use of every part. Returns whether it was made to wait.
    ///
    /// # Errors
    /// [`Miss::Skip`] with a lane that it cannot be ordered after, and what the driver says.
    pub(crate) fn order_after(
        &self,
        claim: &Claim,
        lane: u32,
        stream: &Stream,
    ) -> Result<Waited, Miss> {
        let mut waited = Waited::No;
        for tag in claim.tags() {
            if self.order_after_tag(tag, lane, stream)? == Waited::Yes {
                waited = Waited::Yes;
            }
        }
        Ok(waited)
    }

    fn order_after_tag(&self, tag: Tag, lane: u32, stream: &Stream) -> Result<Waited, Miss> {
        // A marker may be lost to a capture. One that is recorded instead is the last.
        let mut closings = 0;
        loop {
            let access = self.lock().lanes.access(tag, lane);
            match access {
                Access::Now => return Ok(Waited::No),
                Access::Never => return Err(Miss::Skip(tag.lane)),
                Access::Close if closings == 2 => return Err(Miss::Skip(tag.lane)),
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
                        return Err(Miss::Skip(tag.lane));
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
