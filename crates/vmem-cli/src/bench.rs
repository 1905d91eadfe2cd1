//! `vmem bench`: generated workloads.

use vmem_trace::WorkloadOptions;

use crate::Error;
use crate::args::Bench;
use crate::measure::{Question, Run};

/// Each workload on each tier.
///
/// # Errors
/// Usage, if a workload cannot be generated at this scale.
pub(crate) fn runs(args: &Bench) -> Result<Vec<Run>, Error> {
    let mut runs = Vec::new();
    for workload in &args.workload {
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
        runs.extend(Run::on_each_tier(trace, scale, &args.common, Question::Cost));
    }
    Ok(runs)
}
