//! Ordering a stream after the last use of what it gets.

use vmem_core::author::StreamExt;
use vmem_core::{Event, Stream};

use super::markers::{Reached, stands_for_nothing};
use super::{Access, Reuse, Streams};
use crate::space::{Claim, StreamIx, Tag};
use crate::supply::Miss;

impl Streams {
    /// Orders the lane's stream after the last use of every part of a claim.
    ///
    /// # Errors
    /// [`Miss::Skip`] with a lane that it cannot be ordered after, and what the driver says.
    pub(crate) fn order_after(
        &self,
        claim: &mut Claim,
        lane: StreamIx,
        stream: &Stream,
    ) -> Result<(), Miss> {
        for tag in claim.tags() {
            claim.waited |= self.order_after_tag(tag, lane, stream)?;
        }
        Ok(())
    }

    /// The same for one last use. Returns whether the stream was made to wait.
    pub(crate) fn order_after_tag(
        &self,
        tag: Tag,
        lane: StreamIx,
        stream: &Stream,
    ) -> Result<bool, Miss> {
        while let Some((freed_on, epoch, marker)) = self.ahead(tag, lane)? {
            // A wait asked of another thread's stream would be queued too late for work that its own
            // thread queues by the raw handle.
            if self.reuse == Reuse::Observed || !stream.is_callable_here() {
                return Err(Miss::Skip(freed_on));
            }
            match stream.wait(&marker) {
                Ok(()) => return Ok(true),
                // The marker may stand for nothing. Or the error is about another event that the
                // stream has to wait for.
                Err(error) if stands_for_nothing(&error) => {
                    match self.query(freed_on, epoch, marker)? {
                        Reached::Lost => {}
                        _ => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// The marker that a lane's stream has to be ordered after for a last use, with its lane and epoch. `None`
    /// if no work is ahead of it any more, as far as that may be asked.
    pub(crate) fn ahead(
        &self,
        tag: Tag,
        lane: StreamIx,
    ) -> Result<Option<(StreamIx, u64, Event)>, Miss> {
        // A marker may be lost to a capture. One that is recorded instead is the last.
        let mut closings = 0;
        loop {
            let state = self.lock();
            let freed_on = state.lanes.away.freed_on(tag.lane);
            let (epoch, marker) = match state.lanes.access(tag, lane) {
                Access::Now => return Ok(None),
                Access::Close if closings < 2 => {
                    drop(state);
                    self.close(freed_on)?;
                    closings += 1;
                    continue;
                }
                Access::Close | Access::Never => return Err(Miss::Skip(freed_on)),
                Access::After { epoch, marker, .. } => (epoch, marker.clone()),
            };
            drop(state);
            if !self.may_ask {
                return Ok(Some((freed_on, epoch, marker)));
            }
            match self.query(freed_on, epoch, marker)? {
                Reached::Yes => return Ok(None),
                Reached::NotYet(marker) => return Ok(Some((freed_on, epoch, marker))),
                Reached::Lost => {}
            }
        }
    }
}
