//! The smallest device that a trace runs on.

use vmem_core::BoxedError;

use super::run::{Run, Unobserved};
use super::{ReplayError, ReplayStack};
use crate::Trace;

/// What capacities are multiples of, in bytes.
const STEP: u64 = 2 << 20;

/// How many larger capacities must pass as well.
const CONFIRMED: u64 = 8;

/// The smallest capacity, in bytes, of a device on which `trace` runs without a failing request: a
/// multiple of 2 MiB that passes, whose predecessor fails, and whose eight successors pass.
///
/// Bisects: `build` makes a fresh stack on a fresh device for every capacity tried, in bytes; one
/// that cannot be built counts as failing. Where one of the successors fails, because with more
/// memory the stack places blocks otherwise, the search goes on above it. O(log(peak live)) replays.
///
/// # Errors
/// [`ReplayError`] as of [`replay`](super::replay()), or with the last failure if the trace still
/// fails on a device of 64 times its peak live bytes plus 16 GiB.
pub fn min_device<S: ReplayStack>(
    trace: &Trace,
    build: impl Fn(u64) -> Result<S, BoxedError>,
) -> Result<u64, ReplayError> {
    let most = (trace.peak_live() / STEP)
        .saturating_mul(64)
        .saturating_add((16 << 30) / STEP)
        .min(u64::MAX / STEP - CONFIRMED);
    // In steps: the largest capacity known to fail, and one to try. No bytes are never enough.
    let mut fails = 0;
    let mut tried = trace.peak_live().div_ceil(STEP).clamp(1, most);
    loop {
        let mut growth = 1;
        while let Some(refusal) = refusal(trace, &build, tried)? {
            if tried == most {
                return Err(refusal);
            }
            fails = tried;
            tried = (tried + growth).min(most);
            growth *= 2;
        }
        let mut passes = tried;
        while passes - fails > 1 {
            let middle = fails + (passes - fails) / 2;
            match refusal(trace, &build, middle)? {
                None => passes = middle,
                Some(_) => fails = middle,
            }
        }
        let mut larger = passes + 1..=passes + CONFIRMED;
        let failing = larger.find_map(|steps| match refusal(trace, &build, steps) {
            Ok(None) => None,
            Ok(Some(_)) => Some(Ok(steps)),
            Err(error) => Some(Err(error)),
        });
        match failing.transpose()? {
            None => return Ok(passes * STEP),
            Some(steps) => fails = steps,
        }
        tried = (fails + 1).min(most);
    }
}

/// Why the trace does not run on a device of so many steps; `None` if it does.
fn refusal<S: ReplayStack>(
    trace: &Trace,
    build: &impl Fn(u64) -> Result<S, BoxedError>,
    steps: u64,
) -> Result<Option<ReplayError>, ReplayError> {
    let capacity = steps * STEP;
    let what = format!("on a device of {capacity} B");
    let stack = match build(capacity) {
        Ok(stack) => stack,
        Err(error) => return Ok(Some(ReplayError::new(what, error))),
    };
    let failure = Run::new(trace, &stack)?.once(&mut Unobserved)?;
    Ok(failure.map(|failure| ReplayError::new(what, failure.to_string())))
}
