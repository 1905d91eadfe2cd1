//! One trace on one stack.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use vmem_core::BoxedError;
use vmem_trace::{ReplayOptions, ReplayReport, Scale, Trace, min_device, replay};

use crate::target::{DeviceRequest, Target};
use crate::tier::Tier;
use crate::{Error, Row, bytes};

/// How long the trace is repeated at least to time it.
const TIMING: Duration = Duration::from_millis(100);

/// Something to be measured that comes to one row.
pub trait Job: fmt::Display {
    /// Carries it out. What goes wrong is in the row.
    fn measure(&self) -> Row;
}

/// A trace, a stack, and what is asked about them.
#[derive(Debug)]
pub struct Run {
    trace: Rc<Trace>,
    scale: Option<Scale>,
    tier: Tier,
    place: Place,
}

/// Where stacks run, for all jobs of a command.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) target: Target,
    /// What a stack may hold there, in bytes: the whole of a simulated device.
    pub(crate) capacity: u64,
    pub(crate) seed: u64,
    /// Whether no hardware is behind it, as the device says of itself.
    pub(crate) simulated: bool,
    /// What is asked of each stack.
    pub(crate) question: Question,
}

impl Place {
    /// The same, asked for the smallest device as well.
    ///
    /// # Errors
    /// Usage, on hardware.
    pub fn with_min_device(self) -> Result<Self, Error> {
        if !self.target.is_simulated() {
            let message = "the smallest device is looked for among simulated ones, not on hardware";
            return Err(Error::usage(message));
        }
        Ok(Self { question: Question::CostAndMinDevice, ..self })
    }

    /// A row of which nothing is known but what was asked for.
    pub(crate) fn blank(&self, workload: &str, tier: Tier, capacity: u64) -> Row {
        let simulated = self.simulated;
        Row { simulated, ..Row::blank(workload, tier.name, capacity, self.seed) }
    }

    pub(crate) fn request(&self, capacity: u64) -> DeviceRequest {
        DeviceRequest::measuring(Some(capacity), self.seed)
    }
}

/// What runs are to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// What a trace costs on the device given.
    Cost,
    /// That, and the smallest device it passes on.
    CostAndMinDevice,
}

impl Run {
    /// One run for each of the tiers asked for.
    pub fn on_each_tier(
        trace: Trace,
        scale: Option<Scale>,
        tiers: &[Tier],
        place: &Place,
    ) -> impl Iterator<Item = Box<dyn Job>> {
        let trace = Rc::new(trace);
        tiers.iter().map(move |&tier| -> Box<dyn Job> {
            let (trace, place) = (trace.clone(), place.clone());
            Box::new(Self { trace, scale, tier, place })
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
        let stack = self.tier.build_on(&place.target, &place.request(place.capacity))?;
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
        let place = &self.place;
        if place.question == Question::CostAndMinDevice && !self.tier.is_managed() {
            let build = |capacity| self.tier.build_on(&place.target, &place.request(capacity));
            match min_device(&self.trace, build) {
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
