//! Traces, and what a baseline makes of them.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use vmem_benches::{ALL, Baseline, device, replay_stack};
use vmem_core::BoxedError;
use vmem_sim::SimDevice;
use vmem_trace::{ReplayOptions, ReplayStack, Trace, Workload, min_device, read_path, replay};

/// A generated workload with its default parameters, or a public trace, which has to be in the folder
/// that `VMEM_TRACES` names; `None`, said loudly, if the variable is not set.
pub(crate) fn trace(name: &str) -> Option<Trace> {
    if let Ok(workload) = name.parse::<Workload>() {
        return Some(workload.generate(&workload.defaults()).unwrap());
    }
    let Some(folder) = std::env::var_os("VMEM_TRACES") else {
        // Written past the capture of test output, so that it is seen.
        let note = format!("SKIPPED: {name}: VMEM_TRACES names no folder of public traces\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return None;
    };
    Some(read_path(PathBuf::from(folder).join(format!("{name}.csv"))).unwrap().trace)
}

/// The baseline of that name.
pub(crate) fn baseline(name: &str) -> Baseline {
    *ALL.iter().find(|baseline| baseline.name == name).unwrap()
}

/// The most bytes a baseline holds during a trace, on a device of 64 GiB.
pub(crate) fn peak_reserved(baseline: Baseline, trace: &Trace) -> u64 {
    let stack = stack(baseline, 64 << 30).unwrap();
    let report = replay(trace, &stack, &ReplayOptions::default()).unwrap();
    assert!(report.passed(), "{report:?}");
    report.peak_reserved
}

/// The smallest device on which a trace runs, in bytes.
pub(crate) fn smallest_device(baseline: Baseline, trace: &Trace) -> u64 {
    min_device(trace, |capacity| stack(baseline, capacity)).unwrap()
}

/// Requires that a trace's smallest device is the one on which the peer passed, given over peak live
/// and found by a bisection to 1/400 of peak live, where ours is to 2 MiB.
pub(crate) fn assert_smallest_device(model: &str, trace: &Trace, passed: f64) {
    let smallest = ratio(smallest_device(baseline(model), trace), trace);
    let (coarser, step) = (1.0 / 400.0, ratio(2 << 20, trace));
    assert!(
        (passed - coarser..=passed + step).contains(&smallest),
        "{model} on {}: {smallest:.4}, the peer {passed}",
        trace.name()
    );
}

/// Requires that a figure is within 2 % of a reference.
pub(crate) fn assert_close(what: &str, found: f64, reference: f64) {
    let off = (found / reference - 1.0) * 100.0;
    assert!(off.abs() <= 2.0, "{what}: {found:.4} is {off:+.2} % off {reference}");
}

/// Bytes over peak live.
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
pub(crate) fn ratio(bytes: u64, trace: &Trace) -> f64 {
    bytes as f64 / trace.peak_live() as f64
}

/// The baseline on a fresh device, to replay over.
fn stack(baseline: Baseline, capacity: u64) -> Result<impl ReplayStack, BoxedError> {
    on(baseline, device(capacity))
}

/// The baseline on a device, to replay over.
pub(crate) fn on(
    baseline: Baseline,
    device: Arc<SimDevice>,
) -> Result<impl ReplayStack, BoxedError> {
    let resource = Arc::from((baseline.build)(device.clone())?);
    Ok(replay_stack(baseline.name, device, resource))
}
