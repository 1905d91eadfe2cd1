//! Bytes and driver calls: the same on every machine.

use vmem_benches::{device, replay_stack};
use vmem_core::{BlockLayout, ResourceExt, Stream};
use vmem_runtime::Tier;
use vmem_trace::{
    ReplayOptions, ReplayReport, ReplayStack, Trace, Workload, WorkloadOptions, min_device, replay,
};

use crate::subject::{CAPACITY, arena_pool, generate, stack};
use crate::table::{Bound, Table, Unit};

pub(crate) fn driver_calls(table: &mut Table) {
    let report = replayed(&generate(Workload::Overlay));
    let calls = report.driver_calls_steady.expect("it has a second pass") as f64;
    let what = "driver calls of an overlay, one stream, from the second on";
    table.exact(what, calls, Unit::Count, Bound::AtMost(0.0));

    let device = device(CAPACITY);
    let stream = Stream::new(device.clone()).expect("a fresh device gives streams");
    let memory = stack(Tier::B, device.clone()).resource;
    let hopeless = BlockLayout::new(CAPACITY + 1).expect("a block may have that size");
    let before = device.calls();
    let refused = memory.allocate_on(hopeless, &stream).is_err();
    assert!(refused, "more than the device has was given");
    let calls = (device.calls() - before).total() as f64;
    table.exact("driver calls of a refusal", calls, Unit::Count, Bound::AtMost(0.0));
}

/// What is held from the device where there is room to spare.
pub(crate) fn reserved(table: &mut Table) {
    let rows = [
        (Workload::Overlay, Bound::AtMost(1.010)),
        (Workload::OverlayTwoStreams, Bound::AtMost(1.03)),
        (Workload::OverlayTwoStreams, Bound::Ambition(1.02)),
    ];
    for (workload, bound) in rows {
        let trace = generate(workload);
        let reserved = over_live(replayed(&trace).peak_reserved, &trace);
        let what = format!("reserved over live, {workload}");
        table.exact(&what, reserved, Unit::Ratio, bound);
    }
    let workload = Workload::OverlayTwoStreams;
    let calls = |passes| {
        let options = WorkloadOptions { passes, ..workload.defaults() };
        let trace = workload.generate(&options).expect("few passes can be generated");
        replayed(&trace).driver_calls.expect("the device counts them")
    };
    let what = format!("driver calls of the fourth {workload}");
    let fourth = calls(4).saturating_sub(calls(3)) as f64;
    table.exact(&what, fourth, Unit::Count, Bound::Ambition(0.0));
}

pub(crate) fn smallest_device(table: &mut Table) {
    let rows = [
        (Workload::Overlay, 100_000, 1.02),
        (Workload::OverlayCore, 100_000, 1.02),
        (Workload::Dissolve, 100_000, 1.02),
        (Workload::Dissolve, 1_000_000, 1.02),
        (Workload::OverlayTwoStreams, 100_000, 1.0157),
    ];
    for (workload, scale, most) in rows {
        let scale = vmem_trace::Scale::new(scale).expect("it is not zero");
        let options = WorkloadOptions { scale, ..workload.defaults() };
        let trace = workload.generate(&options).expect("defaults can be generated");
        let smallest = min_device(&trace, |capacity| Ok(tier_a(capacity)));
        let bytes = smallest.expect("it runs on some device");
        let what = format!("smallest device over peak live, {workload} at {scale}");
        table.exact(&what, over_live(bytes, &trace), Unit::Ratio, Bound::AtMost(most));
    }
}

pub(crate) fn trimmed(table: &mut Table) {
    let device = device(CAPACITY);
    let stream = Stream::new(device.clone()).expect("a fresh device gives streams");
    let pool = arena_pool(device.clone());
    let handle = pool.handle();
    let memory = pool.into_dyn();
    for size in [300, 5 << 20, 1 << 30] {
        drop(memory.buffer(size, &stream).expect("the device has room"));
    }
    handle.trim_to(0).expect("the device is in order");
    let reserved = device.used() as f64;
    let what = "bytes reserved after trim_to(0) with nothing live";
    table.exact(what, reserved, Unit::Count, Bound::AtMost(0.0));
}

fn replayed(trace: &Trace) -> ReplayReport {
    let report = replay(trace, &tier_a(CAPACITY), &ReplayOptions::default());
    report.expect("the replay is in order")
}

/// Tier A as the runtime builds it, on a device of its own.
fn tier_a(capacity: u64) -> impl ReplayStack {
    let device = device(capacity);
    let resource = stack(Tier::A, device.clone()).resource;
    replay_stack("tier A", device, resource)
}

fn over_live(bytes: u64, trace: &Trace) -> f64 {
    bytes as f64 / trace.peak_live() as f64
}
