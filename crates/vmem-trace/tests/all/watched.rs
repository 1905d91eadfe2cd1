//! Replays that somebody is told of.

use vmem_core::{AllocError, AllocErrorKind};
use vmem_sim::Checker;
use vmem_trace::{Event, Moment, ReplayOptions, Trace, Watch, Workload, replay, replay_watched};

use crate::support::{device, generate, plain};

/// What it was told.
#[derive(Default)]
struct Notes {
    live: u64,
    peak: u64,
    events: usize,
    calls: Option<u64>,
    refused: Option<(usize, AllocErrorKind)>,
}

impl Watch for Notes {
    fn after(&mut self, moment: &Moment) {
        assert_eq!(moment.index, self.events, "every event, in order");
        self.events += 1;
        match (moment.event, moment.block) {
            (Event::Allocate { size, label, .. }, Some(block)) => {
                assert_eq!((block.layout().size(), block.label()), (size, label));
                self.live += size;
            }
            (Event::Free { .. }, Some(block)) => self.live -= block.layout().size(),
            (_, block) => assert!(block.is_none()),
        }
        self.peak = self.peak.max(self.live);
        assert!(self.calls <= moment.driver_calls);
        self.calls = moment.driver_calls;
    }

    fn refused(&mut self, index: usize, error: &AllocError) {
        assert_eq!(self.refused, None);
        self.refused = Some((index, error.kind()));
    }
}

fn watched(trace: &Trace, bytes: u64) -> (Notes, vmem_trace::ReplayReport) {
    let mut notes = Notes::default();
    let report = replay_watched(trace, &plain(&device(bytes, Checker::Off)), &mut notes).unwrap();
    (notes, report)
}

#[test]
fn a_watch_is_told_of_every_event_with_its_block_and_changes_nothing() {
    let trace = generate(Workload::OverlayTwoStreams, "1k");
    let (notes, report) = watched(&trace, 4 << 30);
    assert_eq!(notes.events, trace.events().len());
    assert_eq!((notes.peak, notes.refused), (trace.peak_live(), None));
    assert_eq!(notes.calls, report.driver_calls);
    let unwatched =
        replay(&trace, &plain(&device(4 << 30, Checker::Off)), &ReplayOptions::default()).unwrap();
    assert_eq!(report, unwatched);
}

#[test]
fn a_watch_is_told_of_the_request_that_ends_the_replay_while_everything_is_live() {
    let trace = generate(Workload::Overlay, "1k");
    let (notes, report) = watched(&trace, trace.peak_live() / 2);
    let failure = report.failure.unwrap();
    assert_eq!(notes.refused, Some((failure.index, AllocErrorKind::OutOfMemory)));
    assert_eq!((notes.events, notes.live), (failure.index, failure.live_bytes));
}
