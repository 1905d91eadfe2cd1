//! One stack under a trace: what it held, where, and what it called.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use vmem_core::{AllocError, ExhaustionReport};
use vmem_pool::{Counters, PoolHandle};
use vmem_trace::{Event, Moment, ReplayReport, ReplayStack, Watch};

use crate::frames::Frames;
use crate::space::Frame;
use crate::timeline::Timeline;

/// A stack that a report can look into while a trace is replayed on it.
pub trait Observed: ReplayStack {
    /// The pool, which knows what is at each address; `None` where there is none.
    fn pool(&self) -> Option<&PoolHandle>;

    /// The most bytes that it may hold; `None` if nobody says.
    fn most(&self) -> Option<u64>;

    /// Whether what it holds of the device is known. Not of managed memory: that takes room where kernels
    /// touch it, and a replay has none.
    fn knows_reserved(&self) -> bool;

    /// The addresses with memory behind them, by address, as start and size in bytes; none where nobody
    /// says. Asked only where there is no pool.
    fn backed(&self) -> Vec<(u64, u64)>;
}

/// What a stack made of the trace.
pub(crate) struct StackView {
    /// What it is called on the page.
    pub(crate) name: String,
    pub(crate) figures: Figures,
    pub(crate) series: Series,
    pub(crate) frames: Vec<Frame>,
    pub(crate) refusal: Option<Refused>,
}

/// What a stack came to.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// The stack in words.
    pub(crate) stack: String,
    pub(crate) peak_live: u64,
    /// `None` where nobody knows, as of `moved`.
    pub(crate) peak_reserved: Option<u64>,
    pub(crate) driver_calls: Option<u64>,
    /// Bytes moved to other addresses.
    pub(crate) moved: Option<u64>,
    /// What has to do with the host's memory, if anything has.
    pub(crate) resting: Option<Resting>,
    /// The event and the size of the request that was refused.
    pub(crate) failure: Option<(usize, u64)>,
}

/// What blocks that sleep or spill come to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resting {
    /// Live, without room on the device.
    pub(crate) away: u64,
    /// The host's memory in use, and what of it is kept ready.
    pub(crate) on_host: u64,
    pub(crate) host_reserve: u64,
    /// What left the device so far, and what came back.
    pub(crate) demoted: u64,
    pub(crate) promoted: u64,
}

impl Resting {
    /// `None` if nothing ever had to do with the host's memory.
    pub(crate) fn of(counters: &Counters) -> Option<Self> {
        let resting = Self {
            away: counters.away,
            on_host: counters.on_host,
            host_reserve: counters.host_reserve,
            demoted: counters.bytes_demoted,
            promoted: counters.bytes_promoted,
        };
        let Self { away, on_host, host_reserve, demoted, promoted } = resting;
        ([away, on_host, host_reserve, demoted, promoted] != [0; 5]).then_some(resting)
    }
}

/// A request that the stack refused.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) index: usize,
    pub(crate) text: String,
    pub(crate) report: Option<ExhaustionReport>,
    /// The address space then.
    pub(crate) frame: Frame,
    /// The most that the stack could hold.
    pub(crate) most: Option<u64>,
}

/// Figures for each bucket of the trace.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// The most bytes held from the device; `None` where nobody knows.
    pub(crate) reserved: Option<Vec<u64>>,
    /// Driver calls in the bucket.
    pub(crate) calls: Vec<u64>,
    /// Bytes of memory moved to other addresses in the bucket.
    pub(crate) moved: Vec<u64>,
}

impl Series {
    /// Those of one moment.
    pub(crate) fn constant(buckets: usize, reserved: u64) -> Self {
        let (calls, moved) = (vec![0; buckets], vec![0; buckets]);
        Self { reserved: Some(vec![reserved; buckets]), calls, moved }
    }
}

/// Writes down what happens to a stack.
pub(crate) struct Observer<'a> {
    stack: &'a dyn Observed,
    timeline: &'a Timeline,
    progress: &'a mut dyn FnMut(u64),
    series: Series,
    frames: Frames,
    /// Live blocks by address, with size and group: where no pool knows them.
    live: BTreeMap<u64, (u64, u8)>,
    calls: u64,
    moved: u64,
    refusal: Option<Refused>,
}

/// How many events go by between two signs of progress.
const STEP: usize = 4096;

impl<'a> Observer<'a> {
    pub(crate) fn new(
        stack: &'a dyn Observed,
        timeline: &'a Timeline,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        let buckets = timeline.buckets;
        let mut kept = BTreeSet::from([timeline.peak.index, buckets.events().saturating_sub(1)]);
        kept.extend(timeline.failures.iter().take(20).map(|failure| failure.live.index));
        let empty = || vec![0; buckets.count()];
        Self {
            stack,
            timeline,
            progress,
            series: Series {
                reserved: stack.knows_reserved().then(empty),
                calls: empty(),
                moved: empty(),
            },
            frames: Frames::new(buckets.events(), kept),
            live: BTreeMap::new(),
            calls: 0,
            moved: stack.pool().and_then(PoolHandle::counters).map_or(0, |c| c.bytes_moved),
            refusal: None,
        }
    }

    pub(crate) fn finish(self, name: String, report: &ReplayReport) -> StackView {
        let Self { stack, series, frames, refusal, .. } = self;
        let figures = Figures::of(report, &series, stack.pool().and_then(PoolHandle::counters));
        StackView { name, figures, series, frames: frames.frames, refusal }
    }

    /// The address space now, and how many ranges it was made from.
    fn look(&self, index: usize) -> (Frame, usize) {
        if let Some(snapshot) = self.stack.pool().and_then(PoolHandle::snapshot) {
            let mut frame = Frame::of_pool(index, &snapshot, self.timeline);
            let capacity = self.stack.pool().and_then(PoolHandle::capacity);
            frame.largest_request = capacity.map(|capacity| capacity.largest_now);
            let ranges = snapshot.segments.iter().map(|segment| segment.ranges.len());
            return (frame, ranges.sum());
        }
        let backed = self.stack.backed();
        let live = self.live.iter().map(|(&start, &(size, group))| (start, size, group));
        (Frame::of_blocks(index, &backed, live), backed.len() + self.live.len())
    }

    fn note_reserved(&mut self, index: usize) {
        if let Some(reserved) = &mut self.series.reserved {
            let most = &mut reserved[self.timeline.buckets.of_event(index)];
            *most = (*most).max(self.stack.reserved());
        }
    }

    fn follow(&mut self, moment: &Moment) {
        let Some(block) = moment.block else { return };
        match moment.event {
            Event::Allocate { size, label, .. } => {
                let group = self.timeline.group_in_space(label, size);
                self.live.insert(block.ptr().get(), (size, group));
            }
            Event::Free { .. } => {
                self.live.remove(&block.ptr().get());
            }
            _ => {}
        }
    }
}

impl Watch for Observer<'_> {
    fn after(&mut self, moment: &Moment) {
        let bucket = self.timeline.buckets.of_event(moment.index);
        if self.stack.pool().is_none() {
            self.follow(moment);
        }
        self.note_reserved(moment.index);
        let calls = moment.driver_calls.unwrap_or(0);
        // Memory moves by driver calls only.
        if calls != self.calls {
            self.series.calls[bucket] += calls.saturating_sub(self.calls);
            self.calls = calls;
            if let Some(counters) = self.stack.pool().and_then(PoolHandle::counters) {
                self.series.moved[bucket] += counters.bytes_moved - self.moved;
                self.moved = counters.bytes_moved;
            }
        }
        if self.frames.wants(moment.index) {
            let (frame, looked_at) = self.look(moment.index);
            self.frames.push(frame, looked_at);
        }
        if moment.index.is_multiple_of(STEP) {
            (self.progress)(u64::try_from(moment.index).unwrap_or(u64::MAX));
        }
    }

    fn refused(&mut self, index: usize, error: &AllocError) {
        self.note_reserved(index);
        let (frame, looked_at) = self.look(index);
        self.frames.push(frame.clone(), looked_at);
        let text = vmem_core::chain(error).to_string();
        let (report, most) = (error.report().cloned(), self.stack.most());
        self.refusal = Some(Refused { index, text, report, frame, most });
    }
}

impl fmt::Debug for StackView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackView")
            .field("name", &self.name)
            .field("figures", &self.figures)
            .field("frames", &self.frames.len())
            .finish_non_exhaustive()
    }
}
