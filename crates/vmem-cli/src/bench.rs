//! `vmem bench`: generated workloads.

use vmem_trace::{Scale, Trace, Workload, WorkloadOptions};

use crate::Error;
use crate::args::Bench;
use crate::measure::{Job, Place, on_each_tier};
use crate::scenario::Item;

/// Each workload on each tier.
///
/// # Errors
/// Usage, if a workload cannot be generated at this scale.
pub fn jobs(args: &Bench, place: &Place) -> Result<Vec<Job>, Error> {
    let mut jobs = Vec::new();
    for item in &args.workload {
        match item {
            Item::Workload(workload) => {
                let (trace, scale) = generate(*workload, args)?;
                jobs.extend(on_each_tier(trace, scale, &args.common.tier, place));
            }
            Item::Scenario(scenario) => jobs.extend(scenario.jobs(args, place)?),
        }
    }
    Ok(jobs)
}

/// The workload at the scale asked for.
///
/// # Errors
/// Usage, if it cannot be generated at this scale.
pub fn generate(workload: Workload, args: &Bench) -> Result<(Trace, Option<Scale>), Error> {
    let defaults = workload.defaults();
    let options = WorkloadOptions {
        scale: args.scale.unwrap_or(defaults.scale),
        passes: args.passes,
        seed: args.common.seed,
        page_pairs: args.page_pairs.unwrap_or(defaults.page_pairs),
    };
    let trace = workload.generate(&options).map_err(|error| {
        let WorkloadOptions { scale, passes, .. } = options;
        Error::usage(format!(
            "--scale {scale} with --passes {passes} is too much, accepted is less: {error}"
        ))
    })?;
    let scale = Some(options.scale);
    Ok((trace, scale))
}
