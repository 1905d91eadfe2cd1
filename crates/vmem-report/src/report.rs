//! A report: a trace, and what stacks made of it.

use std::fmt;
use std::io::{self, Write};

use vmem_core::BoxedError;
use vmem_trace::{ReplayError, ReplayReport, Trace, replay_watched};

use crate::page;
use crate::picture::{self, Theme};
use crate::refusal::Refusal;
use crate::stack::{Observed, Observer, StackView};
use crate::timeline::Timeline;

/// What a trace holds, and what one stack or several made of it.
pub struct Report {
    pub(crate) timeline: Timeline,
    pub(crate) stacks: Vec<StackView>,
    pub(crate) refusals: Vec<Refusal>,
    /// The device in words.
    pub(crate) place: Option<String>,
    /// Whether it is of one moment only: nothing is told of what was before.
    pub(crate) moment: bool,
}

impl Report {
    /// A report on a trace alone. O(events).
    pub fn of(trace: &Trace) -> Self {
        let timeline = Timeline::of(trace);
        let (stacks, refusals) = (Vec::new(), Vec::new());
        Self { timeline, stacks, refusals, place: None, moment: false }
    }

    /// Returns it with the device in words.
    #[must_use]
    pub fn on(self, place: impl Into<String>) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// Replays the trace, which is the one the report is of, on a stack and adds what comes of it, under
    /// a name. `progress` is told now and then how many events are done. O(events), and a look at the
    /// whole address space about a thousand times.
    ///
    /// # Errors
    /// As of [`replay`](vmem_trace::replay()); a request that fails is no error.
    pub fn replay(
        &mut self,
        name: impl Into<String>,
        trace: &Trace,
        stack: &dyn Observed,
        progress: &mut dyn FnMut(u64),
    ) -> Result<ReplayReport, ReplayError> {
        let mut observer = Observer::new(stack, &self.timeline, progress);
        let report = replay_watched(trace, stack, &mut observer)?;
        let view = observer.finish(name.into(), &report);
        self.stacks.push(view);
        Ok(report)
    }

    /// Writes the page: one file of HTML, which needs no other and no network.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_html(&self, out: &mut dyn Write) -> io::Result<()> {
        page::write(self, out)
    }

    /// Writes one page with the pages of several reports in it, one of them shown at a time.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_several(reports: &[Self], out: &mut dyn Write) -> io::Result<()> {
        match reports {
            [one] => one.write_html(out),
            several => page::write_several(several, out),
        }
    }

    /// The picture of live and reserved memory over the trace, as SVG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn svg(&self, theme: Theme) -> Result<String, BoxedError> {
        picture::svg(self, theme)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("trace", &self.timeline.name)
            .field("stacks", &self.stacks)
            .finish_non_exhaustive()
    }
}
