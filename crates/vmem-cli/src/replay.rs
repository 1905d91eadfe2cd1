//! `vmem replay`: recorded traces.

use crate::Error;
use crate::args::Replay;
use crate::measure::{Job, Place, Question, Run};

/// Each trace on each tier.
///
/// # Errors
/// Usage, if a file cannot be read as a trace.
pub(crate) fn jobs(args: &Replay, place: &Place) -> Result<Vec<Box<dyn Job>>, Error> {
    if args.min_device && !place.target.is_simulated() {
        let message = "--min-device looks for the smallest device, which hardware cannot be";
        return Err(Error::usage(message));
    }
    let question = if args.min_device { Question::CostAndMinDevice } else { Question::Cost };
    let mut jobs = Vec::new();
    for path in &args.traces {
        let trace = vmem_trace::read_path(path).map_err(|error| Error::usage(error.to_string()))?;
        jobs.extend(Run::on_each_tier(trace, None, &args.common.tier, place, question));
    }
    Ok(jobs)
}
