//! `vmem replay`: recorded traces.

use std::io::Write;

use crate::args::Replay;
use crate::measure::{Job, Place, on_each_tier};
use crate::{Error, traces};

/// Each trace on each tier.
///
/// # Errors
/// Usage, if a file cannot be read as a trace.
pub fn jobs(args: &Replay, place: &Place, notes: &mut dyn Write) -> Result<Vec<Job>, Error> {
    let options = args.reading.options();
    let mut jobs = Vec::new();
    for path in &args.traces {
        let trace = traces::read(path, &options, notes)?;
        jobs.extend(on_each_tier(trace, None, &args.common.tier, place));
    }
    Ok(jobs)
}
