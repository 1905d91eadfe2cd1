//! A stack that is built, used and dropped again and again.

use vmem_cli::parts::bytes;
use vmem_core::{BoxedError, Stream};
use vmem_trace::Workload;

use super::cell::Outcome;
use super::context::{CheckContext, ROOM};
use super::evidence::Evidence;
use super::workload;

/// How often.
const REPETITIONS: usize = 16;

/// Of those the first, after which a driver has what it keeps for itself, and the last.
const ENDS: usize = 2;

/// What may come on top during those, in bytes: less than a granule for each on most devices. What is
/// missing on a card wavers, so no less is certain.
const GROWTH: u64 = 24 << 20;

/// Of a stack that was built, used and dropped many times nothing stays behind: what the device has
/// less free does not grow with the repetitions. A check that ran once cannot tell a leak from what a
/// driver keeps.
pub(super) fn keeps_nothing(context: &CheckContext) -> Result<Outcome, BoxedError> {
    let trace = workload::trace(Workload::OverlayCore, 500, context.seed)?;
    let once = || -> Result<u64, BoxedError> {
        let built = context.build(ROOM)?;
        let streams = [Stream::new(context.opened.device.clone())?];
        let mut evidence = Evidence::new(&context.opened.device)?;
        workload::verified(&trace, &*built.resource, &streams, &mut evidence)?;
        drop((built, streams, evidence));
        context.opened.device.synchronize()?;
        Ok(context.opened.gauge.used())
    };
    let missing = (0..REPETITIONS).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
    let first = missing[..ENDS].iter().copied().fold(0, u64::max);
    // A leak is in all of the last ones.
    let last = missing[REPETITIONS - ENDS..].iter().copied().fold(u64::MAX, u64::min);
    let found = format!(
        "{} missing after {ENDS} repetitions, {} after {REPETITIONS}",
        bytes::show(first),
        bytes::show(last)
    );
    if last.saturating_sub(first) > GROWTH {
        return Ok(Outcome::Failed(found));
    }
    Ok(Outcome::Passed(Some(found)))
}
