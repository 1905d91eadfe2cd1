//! What is measured, one row each.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use vmem_core::{AllocError, BoxedError, chain};
use vmem_trace::{LoggedFailures, ReplayOptions, ReplayReport, Scale, Trace, min_device, replay};

use crate::target::{DeviceRequest, Target};
use crate::tier::Tier;
use crate::{Error, Row, bytes};

/// How long the trace is repeated at least to time it.
const TIMING: Duration = Duration::from_millis(100);

/// Something to be measured that comes to one row.
pub struct Job {
    /// The row of which nothing is known but what is asked for.
    blank: Row,
    run: Box<dyn Fn(Row) -> Result<Row, BoxedError>>,
}

impl Job {
    /// Fills in what is known of a row, by `run`.
    pub(crate) fn new(blank: Row, run: impl Fn(Row) -> Result<Row, BoxedError> + 'static) -> Self {
        Self { blank, run: Box::new(run) }
    }

    /// Carries it out. What goes wrong is in the row.
    pub(crate) fn measure(&self) -> Row {
        (self.run)(self.blank.clone()).unwrap_or_else(|error| Row {
            failures: u64::from(error.is::<AllocError>()),
            // Not the failure that a scenario is about.
            meant_to_fail: false,
            failure: Some(chain(&*error).to_string()),
            ..self.blank.clone()
        })
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.blank.workload, self.blank.tier)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.blank).finish()
    }
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
    /// What becomes of requests that failed where a trace was taken.
    pub(crate) failures: LoggedFailures,
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

/// A trace on each of these stacks.
pub fn on_each_tier(
    trace: Trace,
    scale: Option<Scale>,
    tiers: &[Tier],
    place: &Place,
) -> impl Iterator<Item = Job> {
    let trace = Rc::new(trace);
    tiers.iter().map(move |&tier| {
        let blank = Row {
            scale: scale.map(Scale::get),
            passes: trace.passes().max(1),
            ..place.blank(trace.name(), tier, place.capacity)
        };
        let (trace, place) = (trace.clone(), place.clone());
        Job::new(blank, move |row| measure(&trace, tier, &place, row))
    })
}

fn measure(trace: &Trace, tier: Tier, place: &Place, row: Row) -> Result<Row, BoxedError> {
    let cost = cost(trace, tier, place);
    if place.question == Question::Cost || tier.is_managed() {
        return Ok(row.with_report(cost?));
    }
    let mut row = match cost {
        Ok(report) => row.with_report(report),
        Err(error) => Row { failure: Some(chain(&*error).to_string()), ..row },
    };
    match min_device(trace, |capacity| tier.build_on(&place.target, &place.request(capacity))) {
        Ok(bytes) => row.min_device_bytes = Some(bytes),
        Err(error) => {
            row.passed = false;
            row.failure.get_or_insert(error.to_string());
        }
    }
    Ok(row)
}

fn cost(trace: &Trace, tier: Tier, place: &Place) -> Result<ReplayReport, BoxedError> {
    // What the models of peers hold beyond what is live is up to them, and nothing bounds them on
    // hardware.
    let most = trace.peak_live().saturating_mul(2);
    if !place.target.is_simulated() && !tier.is_ours() && most > place.capacity {
        let (live, room) = (bytes::show(trace.peak_live()), bytes::show(place.capacity));
        return Err(format!(
            "{live} are live at the peak, which is over half of the {room} there are"
        )
        .into());
    }
    let stack = tier.build_on(&place.target, &place.request(place.capacity))?;
    let options = ReplayOptions { timing: Some(TIMING), failures: place.failures };
    Ok(replay(trace, &stack, &options)?)
}
