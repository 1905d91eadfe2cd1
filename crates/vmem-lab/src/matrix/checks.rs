//! The checks by name.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use vmem_cli::parts::{Error, traces as files};
use vmem_core::{BoxedError, Device};
use vmem_sim::SimDevice;
use vmem_testkit::conformance::{self, Subject};
use vmem_trace::{ReadOptions, Trace, Workload};

use super::cell::Outcome;
use super::context::{CheckContext, StackProbe};
use super::{build, copies, devices, repeat, streams, workload};
use crate::args::Matrix;

/// Tries something on a stack.
type Run = Box<dyn Fn(&CheckContext) -> Result<Outcome, BoxedError>>;

/// Something that should hold of every stack.
pub(super) struct Check {
    /// Its group and what is checked.
    pub(super) name: String,
    pub(super) run: Run,
}

/// What the conformance suite may hold at once, in bytes.
const BUDGET: u64 = 64 << 20;

/// The checks that were asked for.
///
/// # Errors
/// Usage: a name with which no check begins, a trace that cannot be read.
pub(super) fn chosen(args: &Matrix, notes: &mut dyn Write) -> Result<Vec<Check>, Error> {
    let mut checks = all(args.seed);
    if let Some(folder) = &args.traces {
        checks.extend(traces(folder, notes)?.into_iter().map(recorded));
    }
    if args.check.is_empty() {
        return Ok(checks);
    }
    for prefix in &args.check {
        if !checks.iter().any(|check| check.name.starts_with(prefix.as_str())) {
            let mut groups: Vec<_> =
                checks.iter().filter_map(|check| Some(check.name.split_once('/')?.0)).collect();
            groups.dedup();
            let groups = groups.join("/, ");
            return Err(Error::usage(format!(
                "no check's name begins with {prefix:?}; accepted: {groups}/, with more of a name"
            )));
        }
    }
    let wanted =
        |check: &Check| args.check.iter().any(|prefix| check.name.starts_with(prefix.as_str()));
    checks.retain(wanted);
    Ok(checks)
}

fn all(seed: u64) -> Vec<Check> {
    let mut checks = vec![
        check("tier/builds_as_asked", build::as_asked),
        check("tier/falls_back_on_a_failing_driver", build::falls_back),
        check("tier/keeps_nothing_when_repeated", repeat::keeps_nothing),
    ];
    checks.extend(conformance::CHECKS.iter().map(|promise| {
        let name = format!("conformance/{}", promise.name);
        let run = move |context: &CheckContext| conforms(promise, context, SimDevice::new(1 << 20));
        Check { name, run: Box::new(run) }
    }));
    checks.extend([
        check("copies/host_device_host", copies::host_device_host),
        check("copies/device_device", copies::device_device),
        check("copies/fills", copies::fills),
    ]);
    checks.extend(
        [
            (Workload::Overlay, 1_000),
            (Workload::OverlayCore, 1_000),
            (Workload::OverlayTwoStreams, 500),
            (Workload::Dissolve, 20_000),
            (Workload::Random, 400),
        ]
        .into_iter()
        .map(|(workload, scale)| {
            let run =
                move |context: &CheckContext| workload::generated(workload, scale, seed, context);
            Check { name: format!("workload/{workload}"), run: Box::new(run) }
        }),
    );
    checks.extend([
        check("streams/reuse_is_ordered", streams::reuse),
        check("streams/moves_keep_every_byte", streams::moves),
        check("streams/two_threads", streams::two_threads),
        check("devices/registry_and_threads", devices::registry),
        check("devices/copies_between", devices::copies),
        check("devices/strange_streams_are_refused", devices::strange_streams),
        check("devices/conformance_on_both_at_once", devices::conformance),
    ]);
    checks
}

fn check(name: &str, run: fn(&CheckContext) -> Result<Outcome, BoxedError>) -> Check {
    Check { name: name.to_owned(), run: Box::new(run) }
}

/// A promise of the contract. `other` is the device whose streams have to be refused.
pub(super) fn conforms(
    promise: &conformance::Check,
    context: &CheckContext,
    other: Arc<dyn Device>,
) -> Result<Outcome, BoxedError> {
    let built = context.build(2 * BUDGET)?;
    let probe = StackProbe(&built);
    let subject = Subject {
        other_device: Some(other),
        budget: BUDGET,
        seed: context.seed,
        probe: &probe,
        ..Subject::new(&built.resource)
    };
    Ok(match promise.run(&subject) {
        conformance::Outcome::Passed => Outcome::Passed(None),
        conformance::Outcome::Skipped(why) => Outcome::Skipped(why),
        conformance::Outcome::Failed(how) => Outcome::Failed(how),
    })
}

fn recorded(trace: Trace) -> Check {
    let (name, trace) = (format!("trace/{}", trace.name()), Arc::new(trace));
    Check { name, run: Box::new(move |context| workload::recorded(&trace, context)) }
}

/// The traces in a folder, by name.
fn traces(folder: &Path, notes: &mut dyn Write) -> Result<Vec<Trace>, Error> {
    let refused = |error: &dyn fmt::Display| {
        Error::usage(format!("cannot read the traces in `{}`: {error}", folder.display()))
    };
    let paths = files::tables_in(folder).map_err(|error| refused(&error))?;
    if paths.is_empty() {
        return Err(refused(&"it has no file that ends in .csv"));
    }
    let options = ReadOptions::default();
    paths.iter().map(|path| files::read(path, &options, notes)).collect()
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}
