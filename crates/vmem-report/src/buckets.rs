//! Events of a trace in as many buckets as a page carries.

/// The most buckets that a series has: several for each pixel of a wide screen, so that a few steps of
/// zoom still show more.
const MOST: usize = 8192;

/// How many events go into which bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buckets {
    events: usize,
    count: usize,
}

impl Buckets {
    /// One bucket an event, as far as that goes.
    pub(crate) fn of(events: usize) -> Self {
        Self { events, count: events.clamp(1, MOST) }
    }

    /// The number of events.
    pub(crate) fn events(self) -> usize {
        self.events
    }

    /// The number of buckets, at least one.
    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// The bucket of the event at `index`.
    pub(crate) fn of_event(self, index: usize) -> usize {
        (index * self.count).checked_div(self.events).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_bucket_and_no_bucket_is_empty() {
        for events in [1, 2, 8191, 8192, 8193, 100_000] {
            let buckets = Buckets::of(events);
            let mut seen = vec![0_usize; buckets.count()];
            for index in 0..events {
                seen[buckets.of_event(index)] += 1;
            }
            assert!(seen.iter().all(|&n| n > 0), "{events}");
            assert_eq!(seen.iter().sum::<usize>(), events);
        }
        assert_eq!(Buckets::of(0).of_event(0), 0);
    }
}
