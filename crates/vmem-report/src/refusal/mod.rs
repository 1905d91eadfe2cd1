//! Why a request was refused, and what would have helped.

mod elsewhere;
mod remedy;
mod room;

use std::fmt;

use vmem_core::{Attempt, ExhaustionReport};
use vmem_trace::Trace;

pub use elsewhere::Need;
pub(crate) use elsewhere::{fresh, until};
pub(crate) use remedy::{Remedy, events};
pub(crate) use room::{Missing, Window};

use crate::bytes::{blocks, show};
use crate::composition::{Composition, Held, held_before};
use crate::space::Frame;

/// A request that was refused, and everything that is known of it: what was live by label, what would
/// have had to go, what was tried, what it would have needed on other stacks, and what is cheapest to do.
///
/// Its `Display` is the same in a few lines.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub(crate) case: Case,
    pub(crate) missing: Missing,
    pub(crate) needs: Vec<Need>,
    pub(crate) remedies: Vec<Remedy>,
}

/// The circumstances of a refusal.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The stack that refused; `None` for whatever the program ran on when the trace was taken.
    pub(crate) stack: Option<String>,
    /// What it said.
    pub(crate) text: Option<String>,
    /// The event of the trace.
    pub(crate) index: Option<usize>,
    /// How often the same was refused.
    pub(crate) times: u64,
    pub(crate) asked: u64,
    pub(crate) label: Option<String>,
    pub(crate) stream: Option<u32>,
    /// The most that the stack could hold, where that is known.
    pub(crate) most: Option<u64>,
    pub(crate) report: Option<ExhaustionReport>,
    /// The address space then, where that is known.
    pub(crate) frame: Option<Frame>,
    /// What was live.
    pub(crate) held: Vec<Held>,
    pub(crate) live: Composition,
    /// After how many more events of the trace there was room, if the trace goes on until then.
    pub(crate) room_after: Option<usize>,
}

impl Case {
    /// The request of `asked` bytes at `index` of a trace.
    pub(crate) fn in_trace(trace: &Trace, index: usize, asked: u64, most: Option<u64>) -> Self {
        let held = held_before(trace, index);
        let live = Composition::of(index, held.iter());
        let room_after = most.and_then(|most| room::after(trace, index, asked, most));
        Self {
            stack: None,
            text: None,
            index: Some(index),
            times: 1,
            asked,
            label: None,
            stream: None,
            most,
            report: None,
            frame: None,
            held,
            live,
            room_after,
        }
    }

    /// The size that the request rounded up to.
    pub(crate) fn rounded(&self) -> u64 {
        self.report.as_ref().map_or(self.asked, |report| report.rounded.max(self.asked))
    }

    /// What was tried, in order, with the bytes it made available.
    pub(crate) fn attempts(&self) -> &[Attempt] {
        self.report.as_ref().map_or(&[], |report| &report.attempts)
    }

    /// Works out what would have helped.
    pub(crate) fn explained(self, needs: Vec<Need>) -> Refusal {
        let missing = Missing::of(&self);
        let remedies = remedy::cheapest(&self, &missing, &needs);
        Refusal { case: self, missing, needs, remedies }
    }
}

impl Refusal {
    /// The size asked for, in bytes.
    pub fn requested(&self) -> u64 {
        self.case.asked
    }

    /// The requested sizes of all blocks live then, in bytes.
    pub fn live(&self) -> u64 {
        self.case.live.live
    }

    /// What the same request would have needed on other stacks.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The cheapest things to do, cheapest first, in words; three at most.
    pub fn remedies(&self) -> impl Iterator<Item = &str> {
        self.remedies.iter().map(|remedy| remedy.text.as_str())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { live, asked, .. } = &self.case;
        write!(f, "{} asked for", show(*asked))?;
        if let Some(index) = self.case.index {
            write!(f, " at event {index}")?;
        }
        if let Some(stack) = &self.case.stack {
            write!(f, " on {stack}")?;
        }
        write!(f, ", with {} live in {}", show(live.live), blocks(live.blocks))?;
        for share in live.labels.iter().take(3) {
            write!(f, "\n  {}: {} in {}", share.name, show(share.bytes), blocks(share.blocks))?;
        }
        write!(f, "\n{}", self.missing)?;
        for attempt in self.case.attempts() {
            write!(f, "\ntried {}: {}", attempt.what, show(attempt.freed))?;
        }
        for need in &self.needs {
            write!(f, "\n{need}")?;
        }
        for (at, remedy) in (1..).zip(&self.remedies) {
            write!(f, "\n{at}. {}", remedy.text)?;
        }
        Ok(())
    }
}
