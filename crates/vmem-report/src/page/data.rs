//! What the script of the page is given.

use serde_json::{Value, json};

use super::pack::{Blob, unit};
use crate::axis::Axis;
use crate::report::Report;
use crate::stack::StackView;

/// The description of the data, and the data.
pub(crate) fn of(report: &Report) -> (Value, Blob) {
    let timeline = &report.timeline;
    let mut blob = Blob::default();
    let groupings: Vec<_> = timeline
        .groupings
        .iter()
        .map(|grouping| {
            let at = blob.numbers(grouping.bytes.iter().copied());
            json!({"title": grouping.title, "names": grouping.names, "at": at})
        })
        .collect();
    let most = blob.numbers(timeline.most.iter().copied());
    let least = blob.numbers(timeline.least.iter().copied());
    let stacks: Vec<_> = report.stacks.iter().map(|stack| of_stack(stack, &mut blob)).collect();
    let failures = timeline.failures.iter().map(|failure| failure.live.index);
    let description = json!({
        "trace": timeline.name,
        "moment": report.moment,
        "events": timeline.buckets.events(),
        "buckets": timeline.buckets.count(),
        "groupings": groupings,
        "telling": timeline.telling(),
        "most": most,
        "least": least,
        "peak": timeline.peak.index,
        "failures": failures.collect::<Vec<_>>(),
        "stacks": stacks,
    });
    (description, blob)
}

fn of_stack(stack: &StackView, blob: &mut Blob) -> Value {
    let frames = &stack.frames;
    let axis = Axis::of(frames);
    let unit = unit(frames, &axis);
    let index = frames.iter().map(|frame| u64::try_from(frame.index).unwrap_or(u64::MAX));
    let pieces: Vec<_> =
        axis.pieces().map(|(place, address)| json!([place, format!("{address:#x}")])).collect();
    json!({
        "name": stack.name,
        "reserved": stack.series.reserved.as_ref().map(|it| blob.numbers(it.iter().copied())),
        "calls": blob.numbers(stack.series.calls.iter().copied()),
        "moved": blob.numbers(stack.series.moved.iter().copied()),
        "refused": stack.refusal.as_ref().map(|refusal| refusal.index),
        "frames": frames.len(),
        "index": blob.numbers(index),
        "bytes": blob.numbers(frames.iter().flat_map(|frame| frame.bytes)),
        "largest": blob.numbers(frames.iter().map(|frame| frame.largest_free)),
        "served": frames.first().is_some_and(|frame| frame.largest_request.is_some()).then(|| {
            blob.numbers(frames.iter().map(|frame| frame.largest_request.unwrap_or(0)))
        }),
        "ranges": blob.ranges(frames, &axis, unit),
        "unit": unit,
        "length": axis.length,
        "pieces": pieces,
    })
}
