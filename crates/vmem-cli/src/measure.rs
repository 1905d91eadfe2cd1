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
    ) -> impl Iterator<Item = Self> {
        let trace = Rc::new(trace);
        let Common { capacity, seed, .. } = *common;
        common.tier.iter().map(move |&tier| Self {
            trace: trace.clone(),
            scale,
            tier,
            capacity,
            seed,
            question,
        })
    }

    /// Carries it out. What goes wrong is in the row.
    pub(crate) fn measure(&self) -> Row {
        let mut row = match self.cost() {
            Ok(report) => self.row(report),
            Err(error) => Row { failure: Some(error.to_string()), ..self.blank() },
        };
        if self.question == Question::CostAndMinDevice {
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

    fn cost(&self) -> Result<ReplayReport, BoxedError> {
        let stack = self.tier.build(self.capacity, self.seed)?;
        let timing = Some(TIMING);
        Ok(replay(&self.trace, &stack, &ReplayOptions { timing })?)
    }

    fn row(&self, report: ReplayReport) -> Row {
        let failed = report.failure.as_ref();
        Row {
            stack: Some(report.stack),
            passed: failed.is_none(),
            failed_index: failed.and_then(|failure| u64::try_from(failure.index).ok()),
            allocations: report.allocations,
            peak_live_bytes: report.peak_live,
            peak_reserved_bytes: Some(report.peak_reserved),
            driver_calls: report.driver_calls,
            driver_calls_steady: report.driver_calls_steady,
            ns_per_pair: report.ns_per_pair,
            failures: u64::from(failed.is_some()),
            retries: report.retries,
            migrated_bytes: report.migrated_bytes,
            virtual_ms: report.virtual_time.map(|time| time.as_secs_f64() * 1e3),
            failure: failed.map(ToString::to_string),
            ..self.blank()
        }
    }

    /// The row of a run of which nothing is known but what was asked for.
    fn blank(&self) -> Row {
        Row {
            workload: self.trace.name().to_owned(),
            scale: self.scale.map(Scale::get),
            passes: self.trace.passes().max(1),
            tier: self.tier.name,
            stack: None,
            capacity_bytes: self.capacity,
            seed: self.seed,
            simulated: true,
            passed: false,
            failed_index: None,
            allocations: 0,
            peak_live_bytes: 0,
            peak_reserved_bytes: None,
            min_device_bytes: None,
            driver_calls: None,
            driver_calls_steady: None,
            ns_per_pair: None,
            failures: 0,
            retries: None,
            migrated_bytes: None,
            virtual_ms: None,
            failure: None,
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.trace.name(), self.tier)
    }
}
