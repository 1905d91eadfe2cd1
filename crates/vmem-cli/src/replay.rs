//! `vmem replay`: recorded traces.

use crate::Error;
use crate::args::Replay;
use crate::measure::{Question, Run};

/// Each trace on each tier.
///
/// # Errors
/// Usage, if a file cannot be read as a trace.
pub(crate) fn runs(args: &Replay) -> Result<Vec<Run>, Error> {
    let question = if args.min_device { Question::CostAndMinDevice } else { Question::Cost };
    let mut runs = Vec::new();
    for path in &args.traces {
        let trace = vmem_trace::read_path(path).map_err(|error| Error::usage(error.to_string()))?;
        runs.extend(Run::on_each_tier(trace, None, &args.common, question));
    }
    Ok(runs)
}
