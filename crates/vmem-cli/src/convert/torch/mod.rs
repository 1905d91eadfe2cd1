//! Snapshots as PyTorch's tools read them: what a stack makes of a trace, taken at a moment of a replay.

mod camera;
mod document;
mod pickle;

use std::fmt;
use std::sync::Arc;

use camera::{Camera, Picture};
use vmem_core::chain;
use vmem_sim::MeasuredCosts;
use vmem_trace::{Failure, Record, ReplayOptions, ReplayStack, Trace, replay};

use crate::args::Convert;
use crate::stack::BuiltStack;
use crate::target::{DeviceRequest, Target};
use crate::{Error, bytes, place};

/// What was written.
#[derive(Debug)]
pub(super) struct Taken {
    stack: String,
    /// After how many events.
    events: usize,
    reserved: u64,
    live: u64,
    peak_live: u64,
    /// The request that the stack refused before the moment came.
    refused: Option<Failure>,
}

/// Replays a trace on a stack, and writes what memory is like at the moment that was asked for, and how it
/// came to that.
///
/// # Errors
/// Usage: a stack without a pool, an event that is not in the trace; what failed otherwise.
pub(super) fn write(trace: &Trace, args: &Convert, to: &mut Vec<u8>) -> Result<Taken, Error> {
    let events = args.at.events(trace).map_err(|reason| Error::usage(format!("--at: {reason}")))?;
    let request = DeviceRequest::measuring(args.capacity, 0);
    let target = Target::Simulated(Box::new(MeasuredCosts::h100()));
    place::open_simulated(&target, &request)?;
    let stack = args
        .tier
        .build_on(&target, &request)
        .map_err(|error| Error::failed(chain(&*error).to_string()))?;
    let Some(pool) = stack.pool.clone() else {
        let tier = args.tier;
        return Err(Error::usage(format!(
            "--tier {tier} has no pool, whose memory a snapshot could show; accepted: a, b, \
             fallback, a-bare, a-tight, a-chunks"
        )));
    };
    let camera = Arc::new(Camera::new(pool, trace, events));
    let resource = Arc::new(Record::new(stack.resource.clone(), camera.clone()));
    let stack = BuiltStack { resource, ..stack };
    let report = replay(trace, &stack, &ReplayOptions::default())
        .map_err(|error| Error::failed(error.to_string()))?;
    let refused = report.failure.filter(|failure| failure.index < events);
    let picture = camera.picture().ok_or_else(|| Error::failed("the pool was gone"))?;
    let events = refused.as_ref().map_or(events, |failure| failure.index + 1);
    let capacity = stack.opened.capacity();
    let document = document::Document::new(trace, events, refused.as_ref(), &picture, capacity);
    let Picture { reserved, .. } = picture;
    // A picture that is not what the stack holds is worse than none.
    let (shown, outside) = (document.reserved(), document.outside());
    if shown != reserved || outside > 0 {
        return Err(Error::failed(format!(
            "the pool maps {shown} B and holds {reserved} B, and {outside} B live are elsewhere; such a \
             stack has no snapshot"
        )));
    }
    document.write(to);
    Ok(Taken {
        stack: stack.description(),
        events,
        reserved,
        live: document.live(),
        peak_live: document.peak_live(),
        refused,
    })
}

impl Taken {
    /// Whether the replay came to the moment.
    pub(super) fn passed(&self) -> bool {
        self.refused.is_none()
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, events, reserved, live, peak_live, .. } = self;
        if let Some(failure) = &self.refused {
            writeln!(f, "FAILED: {failure}")?;
        }
        write!(
            f,
            "taken on {stack} after {events} events: {reserved} B ({}) reserved, {live} B ({}) live, \
             {peak_live} B ({}) at most",
            bytes::show(*reserved),
            bytes::show(*live),
            bytes::show(*peak_live)
        )
    }
}
