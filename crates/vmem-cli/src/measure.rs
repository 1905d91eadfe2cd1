//! One trace on one stack.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use vmem_core::BoxedError;
use vmem_trace::{ReplayOptions, ReplayReport, Scale, Trace, min_device, replay};

use crate::Row;
use crate::args::Common;
use crate::tier::Tier;

/// How long the trace is repeated at least to time it.
const TIMING: Duration = Duration::from_millis(100);

/// Something to be measured that comes to one row.
pub(crate) trait Job: fmt::Display {
    /// Carries it out. What goes wrong is in the row.
    fn measure(&self) -> Row;
}

/// A trace, a stack, and what is asked about them.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) trace: Rc<Trace>,
    pub(crate) scale: Option<Scale>,
    pub(crate) tier: Tier,
    pub(crate) capacity: u64,
    pub(crate) seed: u64,
    pub(crate) question: Question,
}

/// What a run is to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// What the trace costs on the device given.
    Cost,
    /// That, and the smallest device it passes on.
    CostAndMinDevice,
}

impl Run {
    /// One run for each of the tiers asked for.
    pub(crate) fn on_each_tier(
        trace: Trace,
        scale: Option<Scale>,
        common: &Common,
        question: Question,
    ) -> impl Iterator<Item = Box<dyn Job>> {
        let trace = Rc::new(trace);
        let Common { capacity, seed, .. } = *common;
        common.tier.iter().map(move |&tier| -> Box<dyn Job> {
            Box::new(Self { trace: trace.clone(), scale, tier, capacity, seed, question })
        })
    }

    fn cost(&self) -> Result<ReplayReport, BoxedError> {
        let stack = self.tier.build(self.capacity, self.seed)?;
        let timing = Some(TIMING);
        Ok(replay(&self.trace, &stack, &ReplayOptions { timing })?)
    }

    /// What was asked for.
    fn blank(&self) -> Row {
        Row {
            scale: self.scale.map(Scale::get),
            passes: self.trace.passes().max(1),
            ..Row::blank(self.trace.name(), self.tier.name, self.capacity, self.seed)
        }
    }
}

impl Job for Run {
    fn measure(&self) -> Row {
        let mut row = match self.cost() {
            Ok(report) => self.blank().with_report(report),
            Err(error) => Row { failure: Some(error.to_string()), ..self.blank() },
        };
        if self.question == Question::CostAndMinDevice && self.tier.needs_room() {
            let build = |capacity| self.tier.build(capacity, self.seed);
            match min_device(&self.trace, &build) {
                Ok(bytes) => row.min_device_bytes = Some(bytes),
                Err(error) => {
                    row.passed = false;
                    row.failure.get_or_insert(error.to_string());
                }
            }
        }
        row
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.trace.name(), self.tier)
    }
}
