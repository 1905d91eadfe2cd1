use vmem_core::Label;
use vmem_trace::{
    Event, Origin, TraceBuilder, Workload, WorkloadOptions, write_lifetimes, write_rmm_log,
};

use crate::support::strictly;

fn small(workload: Workload) -> WorkloadOptions {
    WorkloadOptions { scale: "100".parse().unwrap(), ..workload.defaults() }
}

#[test]
fn an_rmm_log_reads_back_as_the_same_events_without_labels_and_marks() {
    let workload = Workload::OverlayTwoStreams;
    let trace = workload.generate(&small(workload)).unwrap();
    let mut log = Vec::new();
    write_rmm_log(&trace, &mut log).unwrap();
    let back = strictly("overlay-2s", &log).unwrap();
    let plain: Vec<_> = trace
        .events()
        .iter()
        .filter(|event| !matches!(event, Event::Mark(_)))
        .map(|&event| match event {
            Event::Allocate { slot, size, origin, .. } => {
                Event::Allocate { slot, size, origin, label: Label::NONE }
            }
            other => other,
        })
        .collect();
    assert_eq!(back.events(), plain);
    assert_eq!(back.peak_live(), trace.peak_live());
}

#[test]
fn noted_failures_are_written() {
    let mut builder = TraceBuilder::new();
    let origin = Origin::default();
    builder.failure(77, origin).unwrap();
    builder.allocate(8, origin, Label::NONE).unwrap();
    let trace = builder.finish("t");
    let mut log = Vec::new();
    write_rmm_log(&trace, &mut log).unwrap();
    assert_eq!(strictly("t", &log).unwrap().events(), trace.events());
}

#[test]
fn lifetimes_read_back_with_the_same_blocks_and_the_same_peak() {
    let trace = Workload::Dissolve.generate(&small(Workload::Dissolve)).unwrap();
    let mut file = Vec::new();
    write_lifetimes(&trace, &mut file).unwrap();
    let back = strictly("dissolve", &file).unwrap();
    assert_eq!(back.peak_live(), trace.peak_live());
    assert_eq!(back.allocations(), trace.allocations());
}

#[test]
fn a_block_that_is_never_freed_lives_to_the_end() {
    let mut builder = TraceBuilder::new();
    let origin = Origin::default();
    let a = builder.allocate(8, origin, Label::NONE).unwrap();
    builder.allocate(16, origin, Label::NONE).unwrap();
    builder.free(a, origin).unwrap();
    let mut file = Vec::new();
    write_lifetimes(&builder.finish("t"), &mut file).unwrap();
    assert_eq!(String::from_utf8(file).unwrap(), "id,lower,upper,size\n0,0,2,8\n1,1,3,16\n");
}
