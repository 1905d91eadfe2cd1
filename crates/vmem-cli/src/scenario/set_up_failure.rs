//! The driver fails while a runtime builds its stack.

use vmem_core::DriverCode;
use vmem_runtime::{Runtime, RuntimeConfig, Size, Status};
use vmem_sim::CallKind;
use vmem_trace::{GenerateError, ReplayOptions, Scale, Workload, WorkloadOptions, replay};

use crate::Row;
use crate::measure::{Job, Place};
use crate::stack::BuiltStack;
use crate::tier::Tier;

/// An overlay on a runtime whose address range the driver refuses with a fault: it runs on the
/// fallback, which the row's stack shows.
///
/// # Errors
/// If the overlay cannot be generated at this scale.
pub(super) fn job(tier: Tier, scale: Scale, place: Place) -> Result<Job, GenerateError> {
    let options = WorkloadOptions { scale, seed: place.seed, ..Workload::OverlayCore.defaults() };
    let trace = Workload::OverlayCore.generate(&options)?;
    // Room for what powers of two waste.
    let capacity = (trace.peak_live() * 4).next_multiple_of(2 << 20);
    let blank = Row {
        scale: Some(scale.get()),
        passes: trace.passes().max(1),
        ..place.blank("set-up-failure", tier, capacity)
    };
    Ok(Job::new(blank, move |row| {
        let opened = place.target.open(&place.request(capacity))?;
        let device = opened.simulated()?.clone();
        for nth in 1..=4 {
            // The arena tries smaller ranges; each of its attempts fails.
            device.fail_call(Some(CallKind::Reserve), nth, DriverCode::UNKNOWN);
        }
        let config = RuntimeConfig::default()
            .with_oom_safety(tier.name == "b")
            .with_memory_reserve(Size::Bytes(0));
        let runtime = Runtime::new(config, move || Ok(device.clone()));
        let resource = runtime.resource()?;
        let Status::Ready { tier: vmem_runtime::Tier::Fallback, description, .. } =
            runtime.status()
        else {
            return Err(format!("it did not fall back: {}", runtime.status()).into());
        };
        let stack = BuiltStack::new(&opened, resource, description);
        Ok(row.with_report(replay(&trace, &stack, &ReplayOptions::default())?))
    }))
}
