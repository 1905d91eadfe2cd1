//! The driver fails while a runtime builds its stack.

use std::fmt;

use vmem_core::{BoxedError, DriverCode};
use vmem_runtime::{Runtime, RuntimeConfig, Size, Status};
use vmem_sim::CallKind;
use vmem_trace::{GenerateError, ReplayOptions, Scale, Trace, Workload, WorkloadOptions, replay};

use crate::Row;
use crate::measure::{Job, Place};
use crate::stack::BuiltStack;
use crate::tier::Tier;

/// An overlay on a runtime whose address range the driver refuses with a fault: it runs on the
/// fallback, which the row's stack shows.
#[derive(Debug)]
pub(crate) struct SetUpFailure {
    tier: Tier,
    scale: Scale,
    place: Place,
    trace: Trace,
}

impl SetUpFailure {
    /// # Errors
    /// If the overlay cannot be generated at this scale.
    pub(crate) fn new(tier: Tier, scale: Scale, place: Place) -> Result<Self, GenerateError> {
        let seed = place.seed;
        let options = WorkloadOptions { scale, seed, ..Workload::OverlayCore.defaults() };
        Ok(Self { tier, scale, place, trace: Workload::OverlayCore.generate(&options)? })
    }

    /// Room for what powers of two waste.
    fn capacity(&self) -> u64 {
        (self.trace.peak_live() * 4).next_multiple_of(2 << 20)
    }

    fn run(&self, row: Row) -> Result<Row, BoxedError> {
        let opened = self.place.target.open(&self.place.request(self.capacity()))?;
        let device = opened.simulated()?.clone();
        for nth in 1..=4 {
            // The arena tries smaller ranges; each of its attempts fails.
            device.fail_call(Some(CallKind::Reserve), nth, DriverCode::UNKNOWN);
        }
        let config = RuntimeConfig::default()
            .with_oom_safety(self.tier.name == "b")
            .with_memory_reserve(Size::Bytes(0));
        let runtime = Runtime::new(config, move || Ok(device.clone()));
        let resource = runtime.resource()?;
        let Status::Ready { tier: vmem_runtime::Tier::Fallback, description, .. } =
            runtime.status()
        else {
            return Err(format!("it did not fall back: {}", runtime.status()).into());
        };
        let stack = BuiltStack::new(&opened, resource, description);
        let report = replay(&self.trace, &stack, &ReplayOptions::default())?;
        Ok(row.with_report(report))
    }
}

impl Job for SetUpFailure {
    fn measure(&self) -> Row {
        let row = Row {
            scale: Some(self.scale.get()),
            passes: self.trace.passes().max(1),
            ..self.place.blank("set-up-failure", self.tier, self.capacity())
        };
        self.run(row.clone()).unwrap_or_else(|error| Row {
            failures: 1,
            failure: Some(error.to_string()),
            ..row
        })
    }
}

impl fmt::Display for SetUpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set-up-failure on {}", self.tier)
    }
}
