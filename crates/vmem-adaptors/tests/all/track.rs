//! Which blocks are out. RMM 64-67.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use vmem_adaptors::{AdaptorExt, Backtraces, Track};
use vmem_core::{DeviceMemory, Label, MemoryResource, Request, ResourceExt, Stream};
use vmem_sim::SimDevice;

use crate::fake::{Fake, free, layout, stream};

#[test]
fn nothing_is_out_at_first_and_after_everything_was_freed() {
    let stream = stream();
    let memory = Fake::new().tracked();
    let handle = memory.handle();
    assert!(handle.report().unwrap().is_empty());
    assert_eq!(handle.report().unwrap().to_string(), "0 blocks outstanding, 0 B");
    let blocks: Vec<_> =
        (1..10).map(|size| memory.allocate_on(layout(size), &stream).unwrap()).collect();
    assert_eq!(handle.outstanding().unwrap(), 9);
    for block in blocks {
        free(&memory, block, &stream).unwrap();
    }
    assert!(handle.report().unwrap().is_empty());
}

#[test]
fn leftovers_are_reported_with_label_size_and_stream_in_order() {
    let stream = stream();
    let memory = Fake::new().tracked();
    let request = Request::new(layout(4096), &stream);
    let first = memory.allocate(&request.clone().with_label(Label::intern("edges"))).unwrap();
    let second = memory.allocate_on(layout(100), &stream).unwrap();
    let third = memory.allocate(&request.with_label(Label::intern("edges"))).unwrap();
    let ptr = third.ptr();
    free(&memory, second, &stream).unwrap();

    let report = memory.handle().report().unwrap();
    let sequences: Vec<_> = report.blocks.iter().map(|block| block.sequence).collect();
    assert_eq!(sequences, [1, 3]);
    let last = &report.blocks[1];
    assert_eq!((last.ptr, last.layout, last.stream), (ptr, layout(4096), stream.id()));
    assert_eq!(last.backtrace, None);
    assert_eq!(report.by_label()["edges"], (2, 8192));
    let text = report.to_string();
    assert!(
        text.starts_with("2 blocks outstanding, 8192 B\n  edges: 2 blocks, 8192 B\n"),
        "{text}"
    );
    assert!(text.contains(&format!("#3 at {ptr}: 4096 B")), "{text}");
    free(&memory, first, &stream).unwrap();
    free(&memory, third, &stream).unwrap();
}

#[test]
fn a_block_freed_past_it_is_listed_until_another_lies_in_its_place() {
    let device = SimDevice::new(1 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = DeviceMemory::new(device).tracked();
    for round in 1..=100 {
        let block = memory.allocate_on(layout(1000), &stream).unwrap();
        free(memory.upstream(), block, &stream).unwrap();
        assert_eq!(memory.handle().outstanding().unwrap(), 1, "in round {round}");
    }
    let block = memory.allocate_on(layout(1000), &stream).unwrap();
    let report = memory.handle().report().unwrap();
    assert_eq!((report.blocks.len(), report.blocks[0].sequence), (1, 101));
    assert_eq!(format!("{report:?}"), "LeakReport { blocks: 1, bytes: 1000 }");
    free(&memory, block, &stream).unwrap();
    assert_eq!(memory.handle().outstanding().unwrap(), 0);
}

#[test]
fn backtraces_name_who_asked() {
    let stream = stream();
    let memory = Track::new(Fake::new(), Backtraces::Capture);
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    let report = memory.handle().report().unwrap();
    let backtrace = report.blocks[0].backtrace.as_deref().unwrap();
    assert!(backtrace.contains("backtraces_name_who_asked"), "{backtrace}");
    free(&memory, block, &stream).unwrap();
}

#[test]
fn stacked_trackers_track_what_passes_each() {
    let stream = stream();
    let memory = Fake::new().tracked().tracked();
    let (outer, inner) = (memory.handle(), memory.upstream().handle());
    let through_both = memory.allocate_on(layout(1), &stream).unwrap();
    let through_inner = memory.upstream().allocate_on(layout(2), &stream).unwrap();
    assert_eq!((outer.outstanding().unwrap(), inner.outstanding().unwrap()), (1, 2));
    // An untracked block passes, and what is tracked stays.
    free(&memory, through_inner, &stream).unwrap();
    assert_eq!((outer.outstanding().unwrap(), inner.outstanding().unwrap()), (1, 1));
    free(&memory, through_both, &stream).unwrap();
    assert_eq!((outer.outstanding().unwrap(), inner.outstanding().unwrap()), (0, 0));
}

#[test]
fn a_refused_free_stays_out() {
    let stream = stream();
    let memory = Fake::new().tracked();
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    memory.upstream().refuse_frees(true);
    let error = free(&memory, block, &stream).unwrap_err();
    assert_eq!(memory.handle().outstanding().unwrap(), 1);
    memory.upstream().refuse_frees(false);
    free(&memory, error.into_block(), &stream).unwrap();
    assert_eq!(memory.handle().outstanding().unwrap(), 0);
}

#[test]
fn a_drop_with_blocks_out_is_logged_once_with_each_block() {
    let (log, stream) = (Log::default(), stream());
    // While there is only one subscriber, tracing asks each thread's own whether anybody wants an event,
    // and keeps the answer for all: that of a thread of another test might be no.
    let _second = tracing::Dispatch::new(Log::default());
    let handle = tracing::subscriber::with_default(log.clone(), || {
        let memory = Fake::new().tracked();
        let _two = [1, 2].map(|size| memory.allocate_on(layout(size), &stream).unwrap());
        let handle = memory.handle();
        drop(memory);
        handle
    });
    let lines = log.0.lock().unwrap();
    let levels: Vec<_> = lines.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::WARN, Level::DEBUG, Level::DEBUG]);
    assert!(lines[0].1.contains("blocks=2") && lines[0].1.contains("bytes=3"), "{lines:?}");
    assert!(lines[2].1.contains("#2 at"), "{lines:?}");
    assert!(handle.report().is_none());
}

#[test]
fn unwrapping_and_dropping_without_blocks_log_nothing() {
    let (log, stream) = (Log::default(), stream());
    tracing::subscriber::with_default(log.clone(), || {
        let memory = Fake::new().tracked();
        let block = memory.allocate_on(layout(1), &stream).unwrap();
        let upstream = memory.into_inner();
        free(&upstream, block, &stream).unwrap();
        drop(upstream.tracked());
    });
    assert!(log.0.lock().unwrap().is_empty());
}

#[cfg(feature = "serde")]
#[test]
fn reports_serialise() {
    let stream = stream();
    let memory = Fake::new().tracked();
    let _leaked = memory.allocate_on(layout(300), &stream).unwrap();
    let report = serde_json::to_value(memory.handle().report().unwrap()).unwrap();
    assert_eq!(report["blocks"][0]["layout"]["size"], 300);
    assert_eq!(report["blocks"][0]["sequence"], 1);
}

/// A `tracing` subscriber that keeps events as level and text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}
