//! Traces replayed with every block written, and every byte verified after it was freed.

use vmem_cli::parts::{Bounds, KEPT_FREE, Opened, bytes};
use vmem_core::{BlockLayout, BoxedError, MemoryResource, Request, Stream};
use vmem_testkit::TrackedBlock;
use vmem_trace::{Event, ReplayOptions, Scale, Trace, Workload, WorkloadOptions, replay};

use super::cell::Outcome;
use super::context::{CheckContext, ROOM};
use super::evidence::Evidence;

/// A generated workload, with bytes.
pub(super) fn generated(
    workload: Workload,
    scale: u64,
    seed: u64,
    context: &CheckContext,
) -> Result<Outcome, BoxedError> {
    let trace = trace(workload, scale, seed)?;
    let built = context.build(ROOM)?;
    let streams = (0..trace.streams())
        .map(|_| Stream::new(context.opened.device.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut evidence = Evidence::new(&context.opened.device)?;
    verified(&trace, &*built.resource, &streams, &mut evidence)?;
    Ok(Outcome::Passed(Some(evidence.summary())))
}

/// Two passes: the second reuses what the first left.
pub(super) fn trace(workload: Workload, scale: u64, seed: u64) -> Result<Trace, BoxedError> {
    let scale = Scale::new(scale).ok_or("a scale of zero")?;
    let options = WorkloadOptions { scale, passes: 2, seed, ..workload.defaults() };
    Ok(workload.generate(&options)?)
}

/// Carries out a trace: every block is written when it is allocated, and its bytes are taken down on
/// the freeing stream when it is freed.
///
/// # Errors
/// A request that was refused, a wrong byte, the driver's.
pub(super) fn verified(
    trace: &Trace,
    resource: &dyn MemoryResource,
    streams: &[Stream],
    evidence: &mut Evidence,
) -> Result<(), BoxedError> {
    let mut live: Vec<Option<(TrackedBlock, usize)>> = Vec::new();
    for event in trace.events() {
        match *event {
            Event::Allocate { slot, size, origin, label } => {
                let (slot, home) = (index(slot)?, index(origin.stream)?);
                let stream = &streams[home];
                let request = Request::new(BlockLayout::new(size)?, stream).with_label(label);
                let mut block = TrackedBlock::allocate(resource, &request)?;
                block.write(stream)?;
                if live.len() <= slot {
                    live.resize_with(slot + 1, || None);
                }
                live[slot] = Some((block, home));
            }
            Event::Free { slot, origin } => {
                let held = live.get_mut(index(slot)?).and_then(Option::take);
                let (block, _) = held.ok_or("the trace frees what is not live")?;
                free(block, resource, &streams[index(origin.stream)?], evidence)?;
            }
            _ => {}
        }
    }
    for (block, home) in live.into_iter().flatten() {
        free(block, resource, &streams[home], evidence)?;
    }
    evidence.settle()
}

/// Takes down what a block holds, and frees it.
pub(super) fn free(
    mut block: TrackedBlock,
    resource: &dyn MemoryResource,
    stream: &Stream,
    evidence: &mut Evidence,
) -> Result<(), BoxedError> {
    evidence.take(&mut block, stream)?;
    Ok(block.free(resource, stream)?)
}

/// A recorded trace, without bytes, if there is room for it.
pub(super) fn recorded(trace: &Trace, context: &CheckContext) -> Result<Outcome, BoxedError> {
    let free = context.opened.gauge.free()?.saturating_sub(KEPT_FREE);
    let wanted = trace.peak_live().saturating_mul(2);
    if context.tier.is_managed() || wanted > free {
        let (live, free) = (bytes::show(trace.peak_live()), bytes::show(free));
        let room = if context.tier.is_managed() { "256 MiB of managed memory" } else { &free };
        let reason = format!("{live} are live at its peak, for which {room} is too little");
        return Ok(Outcome::Skipped(reason));
    }
    let bounds = Bounds { device: Some(free), ..context.opened.bounds };
    let built = context.tier.build_over(&Opened { bounds, ..context.opened.clone() })?;
    let report = replay(trace, &built, &ReplayOptions::default())?;
    Ok(match report.failure {
        Some(failure) => Outcome::Failed(failure.to_string()),
        None => Outcome::Passed(Some(format!(
            "{} blocks, {} reserved at the peak for {} live",
            report.allocations,
            bytes::show(report.peak_reserved),
            bytes::show(report.peak_live)
        ))),
    })
}

fn index(number: u32) -> Result<usize, BoxedError> {
    Ok(usize::try_from(number)?)
}
