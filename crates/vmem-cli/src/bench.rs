//! `vmem bench`: workloads.

use vmem_trace::{Log, Scale, Trace, TraceError, Workload, WorkloadOptions};

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
        if let Item::Scenario(scenario) = item {
            jobs.extend(scenario.jobs(args, place)?);
        } else if let Some((trace, scale)) = trace(*item, args)? {
            jobs.extend(on_each_tier(trace, scale, &args.common.tier, place));
        }
    }
    Ok(jobs)
}

/// The trace of a workload, and the scale of one that is generated; `None` for a scenario.
///
/// # Errors
/// Usage, if it cannot be generated at the scale asked for, or repeated that often.
pub fn trace(item: Item, args: &Bench) -> Result<Option<(Trace, Option<Scale>)>, Error> {
    match item {
        Item::Workload(workload) => generate(workload, args).map(Some),
        Item::Log(log) => Ok(Some((repeat(log, args)?, None))),
        Item::Scenario(_) => Ok(None),
    }
}

/// What a real program asked for, as often as is asked.
fn repeat(log: Log, args: &Bench) -> Result<Trace, Error> {
    let Some(passes) = args.passes else { return Ok(log.trace()) };
    log.trace().repeated(passes).map_err(|error: TraceError| {
        Error::usage(format!("--passes {passes} is too much for {log}, accepted is less: {error}"))
    })
}

/// The workload at the scale asked for.
///
/// # Errors
/// Usage, if it cannot be generated at this scale.
fn generate(workload: Workload, args: &Bench) -> Result<(Trace, Option<Scale>), Error> {
    let defaults = workload.defaults();
    let options = WorkloadOptions {
        scale: args.scale.unwrap_or(defaults.scale),
        passes: args.passes.unwrap_or(defaults.passes),
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
