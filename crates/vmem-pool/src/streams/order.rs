//! Ordering a stream after the last use of what it gets.

use vmem_core::Stream;
use vmem_core::author::StreamExt;

use super::markers::{Reached, stands_for_nothing};
use super::{Access, Reuse, Streams};
use crate::space::{Claim, Tag};
use crate::supply::Miss;

impl Streams {
    /// Orders the lane's stream after the last use of every part of a claim.
    ///
    /// # Errors
    /// [`Miss::Skip`] with a lane that it cannot be ordered after, and what the driver says.
    pub(crate) fn order_after(
        &self,
        claim: &mut Claim,
        lane: u32,
        stream: &Stream,
    ) -> Result<(), Miss> {
        for tag in claim.tags() {
            claim.waited |= self.order_after_tag(tag, lane, stream)?;
        }
        Ok(())
    }

    /// Returns whether the stream was made to wait.
    fn order_after_tag(&self, tag: Tag, lane: u32, stream: &Stream) -> Result<bool, Miss> {
        // A marker may be lost to a capture. One that is recorded instead is the last.
        let mut closings = 0;
        loop {
            let access = self.lock().lanes.access(tag, lane);
            let (epoch, marker) = match access {
                Access::Now => return Ok(false),
                Access::Close if closings < 2 => {
                    self.close(tag.lane)?;
                    closings += 1;
                    continue;
                }
                Access::Close | Access::Never => return Err(Miss::Skip(tag.lane)),
                Access::After { epoch, marker, .. } => (epoch, marker),
            };
            let marker = match self.may_ask {
                true => match self.query(tag.lane, epoch, marker)? {
                    Reached::Yes => return Ok(false),
                    Reached::NotYet(marker) => marker,
                    Reached::Lost => continue,
                },
                false => marker,
            };
            // A wait asked of another thread's stream would be queued too late for work that its own
            // thread queues by the raw handle.
            if self.reuse == Reuse::Observed || !stream.is_callable_here() {
                return Err(Miss::Skip(tag.lane));
            }
            match stream.wait(&marker) {
                Ok(()) => return Ok(true),
                // The marker may stand for nothing. Or the error is about another event that the
                // stream has to wait for.
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
