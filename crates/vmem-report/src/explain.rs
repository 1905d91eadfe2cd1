//! Reports on refusals: of a replay, of a log, of a program.

use std::fs;
use std::io;
use std::path::Path;

use vmem_core::{AllocError, AllocErrorKind, chain};
use vmem_pool::{Counters, PoolHandle, RangeState, Snapshot};
use vmem_trace::{Event, Origin, ReplayReport, Trace, TraceBuilder};

use crate::composition::{Composition, Held};
use crate::refusal::{Case, Need, Refusal, fresh, until};
use crate::report::Report;
use crate::space::Frame;
use crate::stack::{Figures, Resting, Series, StackView};
use crate::timeline::Timeline;

/// The most logged refusals that are looked into, each of another size.
const MOST: usize = 5;

impl Report {
    /// Looks into the requests of the trace, which is the one the report is of, that stacks refused and
    /// that failed where it was taken; of several of one size into the first. `most` bytes could be held
    /// where it was taken, if that is known. `needs` says what a trace needs on other stacks, by
    /// [`Need::of`]. O(events) a refusal, and what `needs` takes.
    pub fn explain(
        &mut self,
        trace: &Trace,
        most: Option<u64>,
        needs: &mut dyn FnMut(&Trace) -> Vec<Need>,
    ) {
        let mut cases: Vec<_> =
            self.stacks.iter().filter_map(|stack| of_replay(trace, stack)).collect();
        cases.extend(of_log(trace, &self.timeline, most));
        for case in cases {
            let index = case.index.unwrap_or(0);
            let needed = match until(trace, index, case.asked, case.stream.unwrap_or(0)) {
                Ok(until) => needs(&until),
                Err(_) => Vec::new(),
            };
            self.refusals.push(case.explained(needed));
        }
    }

    /// The refusals that were looked into.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// A report on what lies in a pool at this moment; `None` once the pool is gone. O(n log n) in the
    /// ranges of the pool.
    pub fn of_pool(name: &str, pool: &PoolHandle) -> Option<Self> {
        let snapshot = pool.snapshot()?;
        let trace = live_in(name, &snapshot);
        let mut timeline = Timeline::of(&trace);
        timeline.peak.streams.clear();
        let last = timeline.buckets.events().saturating_sub(1);
        let mut frame = Frame::of_pool(last, &snapshot, &timeline);
        frame.largest_request = pool.capacity().map(|capacity| capacity.largest_now);
        let counters = snapshot.counters;
        let stack = StackView {
            name: name.to_owned(),
            figures: Figures {
                stack: String::new(),
                peak_live: counters.peak_live,
                peak_reserved: Some(counters.peak_reserved),
                driver_calls: None,
                moved: Some(counters.bytes_moved),
                resting: Resting::of(&counters),
                failure: None,
            },
            series: Series::constant(timeline.buckets.count(), counters.reserved),
            frames: vec![frame],
            refusal: None,
        };
        let (stacks, refusals) = (vec![stack], Vec::new());
        Some(Self { timeline, stacks, refusals, place: None, moment: true })
    }
}

impl Refusal {
    /// Explains the error of a request that a stack over `pool` refused, from the error and from what
    /// lies in the pool now: to be called before anything is freed. What it would have needed on other
    /// stacks is found by allocating anew, on simulated devices, what is live.
    ///
    /// ```
    /// use vmem_core::{DeviceMemory, ResourceExt, Stream, label};
    /// use vmem_pool::{Pool, PoolConfig, VirtualArena};
    /// use vmem_report::Refusal;
    /// use vmem_sim::SimDevice;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let device = SimDevice::new(64 << 20);
    /// let stream = Stream::new(device.clone())?;
    /// let pool = Pool::new(VirtualArena::new(device)?, PoolConfig::default())?;
    /// let _label = label("edges");
    /// let edges = pool.buffer(40 << 20, &stream)?;
    ///
    /// let error = pool.buffer(30 << 20, &stream).expect_err("24 MiB are left");
    /// let refusal = Refusal::of_error(&error, &pool.handle()).expect("the pool exists");
    /// assert_eq!((refusal.requested(), refusal.live()), (30 << 20, 40 << 20));
    /// assert!(refusal.to_string().contains("edges: 40.00 MiB in 1 block"));
    /// # drop(edges);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Returns `None` once the pool is gone, and for an error of a layout that is none.
    pub fn of_error(error: &AllocError, pool: &PoolHandle) -> Option<Self> {
        let snapshot = pool.snapshot()?;
        Some(Self::of_snapshot(error, pool, &snapshot)?.0)
    }

    /// The same, written as a page to `path`: one call.
    ///
    /// # Errors
    /// If the file cannot be written, or the pool is gone.
    pub fn write(
        error: &AllocError,
        pool: &PoolHandle,
        path: impl AsRef<Path>,
    ) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "there is no pool to look into");
        let refusal = Self::of_error(error, pool).ok_or_else(gone)?;
        let mut report = Report::of_pool(error.resource(), pool).ok_or_else(gone)?;
        report.refusals.push(refusal.clone());
        let mut page = Vec::new();
        report.write_html(&mut page)?;
        fs::write(path, page)?;
        Ok(refusal)
    }

    fn of_snapshot(
        error: &AllocError,
        pool: &PoolHandle,
        snapshot: &Snapshot,
    ) -> Option<(Self, Trace)> {
        let trace = live_in(error.resource(), snapshot);
        let timeline = Timeline::of(&trace);
        let held = held_in(&trace);
        let asked = error.layout()?.size();
        let report = error.report().cloned();
        let ceiling = report.as_ref().and_then(|report| report.ceiling);
        // Without a ceiling it is the device that gave no more than what is held.
        let full = error.kind() == AllocErrorKind::OutOfMemory;
        let held_now = full.then_some(snapshot.counters.reserved);
        let most = ceiling.or_else(|| pool.capacity()?.ceiling).or(held_now);
        let needs = fresh(&held, asked);
        let case = Case {
            stack: Some(error.resource().to_owned()),
            text: Some(chain(error).to_string()),
            index: None,
            times: 1,
            asked,
            label: None,
            stream: None,
            most,
            report,
            frame: Some(Frame::of_pool(0, snapshot, &timeline)),
            live: Composition { streams: Vec::new(), ..Composition::of(0, held.iter()) },
            held,
            room_after: None,
        };
        Some((case.explained(needs), trace))
    }
}

/// The request that ended a replay.
fn of_replay(trace: &Trace, stack: &StackView) -> Option<Case> {
    let refused = stack.refusal.as_ref()?;
    let Event::Allocate { size, origin, label, .. } = trace.events()[refused.index] else {
        return None;
    };
    let ceiling = refused.report.as_ref().and_then(|report| report.ceiling);
    let case = Case::in_trace(trace, refused.index, size, ceiling.or(refused.most));
    Some(Case {
        stack: Some(stack.name.clone()),
        text: Some(refused.text.clone()),
        label: Some(label.as_str()).filter(|label| !label.is_empty()).map(ToOwned::to_owned),
        stream: Some(origin.stream),
        report: refused.report.clone(),
        frame: Some(refused.frame.clone()),
        ..case
    })
}

/// The requests that failed where the trace was taken, one of each size.
fn of_log(trace: &Trace, timeline: &Timeline, most: Option<u64>) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for failure in &timeline.failures {
        if let Some(same) = cases.iter_mut().find(|case| case.asked == failure.size) {
            same.times += 1;
        } else if cases.len() < MOST {
            let case = Case::in_trace(trace, failure.live.index, failure.size, most);
            cases.push(Case { stream: Some(failure.stream), ..case });
        }
    }
    cases
}

/// A trace that allocates what is live in a pool, by address.
fn live_in(name: &str, snapshot: &Snapshot) -> Trace {
    let mut builder = TraceBuilder::new();
    for range in snapshot.segments.iter().flat_map(|segment| &segment.ranges) {
        if let RangeState::Live { layout, label } = range.state {
            // A pool hands out only what a trace takes.
            let _ = builder.allocate(layout.size(), Origin::default(), label);
        }
    }
    builder.finish(name)
}

fn held_in(trace: &Trace) -> Vec<Held> {
    crate::composition::held_before(trace, trace.events().len())
}

impl Figures {
    /// Of a replay, with what its pool counted, if there is one.
    pub(crate) fn of(report: &ReplayReport, series: &Series, pool: Option<Counters>) -> Self {
        Self {
            stack: report.stack.clone(),
            peak_live: report.peak_live,
            peak_reserved: series.reserved.as_ref().map(|_| report.peak_reserved),
            driver_calls: report.driver_calls,
            moved: pool.map(|_| series.moved.iter().sum()),
            resting: pool.as_ref().and_then(Resting::of),
            failure: report.failure.as_ref().map(|failure| (failure.index, failure.size)),
        }
    }
}
