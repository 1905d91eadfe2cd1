//! One trace on one stack.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use vmem_core::BoxedError;
use vmem_trace::{ReplayOptions, ReplayReport, Scale, Trace, min_device, replay};

use crate::target::{Target, Wish};
use crate::tier::Tier;
use crate::{Row, bytes};

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
    pub(crate) place: Place,
    pub(crate) question: Question,
}

/// Where stacks run, for all jobs of a command.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) target: Target,
    /// What a stack may hold there, in bytes: the whole of a simulated device.
    pub(crate) capacity: u64,
    pub(crate) seed: u64,
    /// Whether no hardware is behind it, as the device says of itself.
    pub(crate) simulated: bool,
}

impl Place {
    /// A row of which nothing is known but what was asked for.
    pub(crate) fn blank(&self, workload: &str, tier: Tier, capacity: u64) -> Row {
        let simulated = self.simulated;
        Row { simulated, ..Row::blank(workload, tier.name, capacity, self.seed) }
    }

    pub(crate) fn wish(&self, capacity: u64) -> Wish {
        Wish::measuring(Some(capacity), self.seed)
    }
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
        tiers: &[Tier],
        place: &Place,
        question: Question,
    ) -> impl Iterator<Item = Box<dyn Job>> {
        let trace = Rc::new(trace);
        tiers.iter().map(move |&tier| -> Box<dyn Job> {
            let (trace, place) = (trace.clone(), place.clone());
            Box::new(Self { trace, scale, tier, place, question })
        })
    }

    /// On hardware, what no bound of the stack's own would stop.
    ///
    /// # Errors
    /// If the trace could ask for more than there is.
    fn check_room(&self) -> Result<(), BoxedError> {
        let Place { capacity, ref target, .. } = self.place;
        // What the models of peers hold beyond what is live is up to them.
        let most = self.trace.peak_live().saturating_mul(2);
        if target.is_simulated() || self.tier.is_ours() || most <= capacity {
            return Ok(());
        }
        let (live, room) = (bytes::show(self.trace.peak_live()), bytes::show(capacity));
        Err(format!("{live} are live at the peak, which is over half of the {room} there are")
            .into())
    }

    fn cost(&self) -> Result<ReplayReport, BoxedError> {
        self.check_room()?;
        let place = &self.place;
        let built = self.tier.build_on(&place.target, &place.wish(place.capacity))?;
        let stack = built.for_replay();
        let timing = Some(TIMING);
        Ok(replay(&self.trace, &stack, &ReplayOptions { timing })?)
    }

    /// What was asked for.
    fn blank(&self) -> Row {
        Row {
            scale: self.scale.map(Scale::get),
            passes: self.trace.passes().max(1),
            ..self.place.blank(self.trace.name(), self.tier, self.place.capacity)
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
            let place = &self.place;
            let build = |capacity| {
                let built = self.tier.build_on(&place.target, &place.wish(capacity))?;
                Ok(built.for_replay())
            };
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
