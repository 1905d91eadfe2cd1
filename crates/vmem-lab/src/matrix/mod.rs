//! `vmem-lab matrix`: every check on every stack.

mod build;
mod cell;
mod checks;
mod context;
mod copies;
mod devices;
mod evidence;
mod leaks;
mod repeat;
mod report;
mod streams;
mod table;
mod workload;

use std::sync::Arc;

use vmem_cli::parts::{Error, Json, Target, Tier, Verdict, bar, place};
use vmem_cli::{Backend, Console, OpenError};

pub use report::{CellResult, MATRIX_SCHEMA, MatrixCell, MatrixReport};

use crate::args::Matrix;
use checks::Check;
use context::CheckContext;

/// Runs what was asked for and prints it.
///
/// # Errors
/// Usage: an unknown device or check, a trace that cannot be read, an output that cannot be written.
pub(crate) fn run(
    args: &Matrix,
    console: &mut Console<'_>,
    backend: &Arc<dyn Backend>,
) -> Result<Verdict, Error> {
    let target = place::target(&args.place, backend)?;
    let json = Json::open(args.place.json.as_deref())?;
    let checks = checks::chosen(args, console.err)?;
    let device = match target.open(&CheckContext::device(args.seed)) {
        Ok(opened) => Ok(opened.device.facts().clone()),
        Err(OpenError::Absent(reason)) => Err(reason),
        Err(error) => return Err(Error::failed(vmem_core::chain(&error).to_string())),
    };
    if let (Err(reason), true) = (&device, args.place.require_device) {
        return Err(Error::failed(reason));
    }
    let wanted = checks.len() * args.tier.len();
    let bar = bar(wanted, console.progress);
    let mut cells = Vec::with_capacity(wanted);
    'run: for &tier in &args.tier {
        for check in &checks {
            if console.stop.is_requested() {
                break 'run;
            }
            if args.announce {
                writeln!(console.err, "{} on {tier}", check.name)?;
            }
            bar.set_message(format!("{} on {tier}", check.name));
            cells.push(one(check, tier, &target, args.seed, device.as_ref().err()));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let header = match &device {
        Ok(facts) => place::describe(&target, facts),
        Err(_) => target.to_string(),
    };
    let (done, interrupted) = (cells.len(), cells.len() < wanted);
    let report = MatrixReport { interrupted, ..MatrixReport::new(device.ok(), args.seed, cells) };
    let written = json.write(&report, console.out);
    // A document that cannot be written should not cost the table.
    table::write(&header, &report, console.people(&json))?;
    if interrupted {
        writeln!(console.people(&json), "interrupted: {done} of {wanted} done")?;
    }
    written?;
    Ok(if interrupted { Verdict::Interrupted } else { (report.failed == 0).into() })
}

/// One cell; skipped if the device is absent.
fn one(
    check: &Check,
    tier: Tier,
    target: &Target,
    seed: u64,
    absent: Option<&String>,
) -> MatrixCell {
    let outcome = match absent {
        Some(reason) => cell::Outcome::Skipped(reason.clone()),
        None => cell::run(check, tier, target, seed),
    };
    let (result, reason) = match outcome {
        cell::Outcome::Passed(found) => (CellResult::Pass, found),
        cell::Outcome::Failed(how) => (CellResult::Fail, Some(how)),
        cell::Outcome::Skipped(why) => (CellResult::Skip, Some(why)),
    };
    MatrixCell { check: check.name.clone(), tier: tier.name, device: target.name(), result, reason }
}
