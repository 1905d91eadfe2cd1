//! Which streams are at work, by their requests that found nothing at hand.

use super::lane::Lane;
use crate::space::StreamIx;

/// A stream that has not missed during so many misses of all is idle.
const IDLE: u64 = 64;

/// So is one of which less than this part is live of what was at most.
const AT_WORK: u64 = 4;

/// The misses of all lanes: requests that found nothing at hand.
#[derive(Debug, Default)]
pub(crate) struct Misses {
    count: u64,
    /// Whose the last was.
    last: StreamIx,
    /// How many there had been when another lane had one last.
    before: u64,
}

impl Misses {
    /// A lane found nothing at hand for a request of so many bytes.
    pub(super) fn note(&mut self, number: StreamIx, lane: &mut Lane, bytes: u64) {
        self.count += 1;
        lane.missed = self.count;
        lane.most_live = lane.most_live.max(lane.front.live() + bytes);
        if number != self.last {
            (self.last, self.before) = (number, self.count - 1);
        }
    }

    /// Whether lanes other than the one that has just missed are at work too.
    pub(crate) fn others_are_active(&self) -> bool {
        self.is_recent(self.before)
    }

    /// Whether a lane's stream is likely to need again what it frees.
    pub(super) fn is_at_work(&self, lane: &Lane) -> bool {
        let is_busy = lane.front.live() >= lane.most_live / AT_WORK;
        self.is_recent(lane.missed) && is_busy && !lane.has_ended()
    }

    /// Whether the miss with this number, if it is one, was not long ago.
    fn is_recent(&self, miss: u64) -> bool {
        miss > 0 && miss + IDLE > self.count
    }
}
