//! Returning what has not been needed for a while, without being asked.

use std::time::Duration;

use super::{Control, Core, State};
use crate::AutoTrim;
use crate::supply::Backing;

/// A pool keeps at least an eighth more than it needed, so that rounding and gaps do not make it
/// return what it takes again at once.
const SLACK: u64 = 8;

/// What was needed lately.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needed {
    /// The most that was live since `since`, in bytes.
    most: u64,
    since: Duration,
}

impl<B: Backing> Core<B> {
    /// Returns what has not been needed for the configured time. Called before a free, without the
    /// lock; looks at the clock only if there is something to return.
    #[cold]
    pub(super) fn trim_unneeded(&self, policy: AutoTrim) {
        if !self.lock().holds_more_than(policy.threshold) {
            return;
        }
        let now = self.config.clock.now();
        let keep = {
            let mut state = self.lock();
            if now.saturating_sub(state.needed.since) < policy.age {
                return;
            }
            let live = state.live();
            let needed = if policy.age.is_zero() { live } else { state.needed.most };
            state.needed = Needed { most: live, since: now };
            policy.threshold.max(needed + needed / SLACK)
        };
        if let Err(error) = self.try_trim(keep) {
            tracing::debug!(%error, "unneeded memory could not be returned");
        }
    }
}

impl State {
    /// Notes what is live.
    pub(super) fn note_need(&mut self, live: u64) {
        self.needed.most = self.needed.most.max(live);
    }

    /// Whether there may be something to return.
    pub(super) fn holds_more_than(&self, threshold: u64) -> bool {
        let live = self.live();
        self.counters.reserved > threshold.max(live + live / SLACK)
    }
}
