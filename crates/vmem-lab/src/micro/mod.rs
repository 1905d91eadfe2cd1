//! `vmem-lab micro`: what the device's calls cost.

mod beside;
mod copies;
mod costs;
mod lab;
mod mappings;
mod memory;
mod on_host;
mod pools;
mod report;
mod streams;
mod table;

use std::sync::Arc;
use std::time::SystemTime;

use vmem_cli::parts::{Bounds, DeviceRequest, Error, Json, Purpose, Verdict, bar, place};
use vmem_cli::{Backend, Console, OpenError};

pub use report::{Beside, MICRO_SCHEMA, MicroClock, MicroNote, MicroReport, MicroRow};

use crate::args::Micro;
use lab::Lab;

/// The most of the device that is used at a time, in bytes.
const MOST: u64 = 1 << 30;

/// A part of a run, by name.
type Part = (&'static str, fn(&mut Lab));

/// The parts, in the order they run.
const PARTS: [Part; 6] = [
    ("memory", memory::measure),
    ("mappings", mappings::measure),
    ("handles on the host", on_host::measure),
    ("streams", streams::measure),
    ("copies", copies::measure),
    ("pools", pools::measure),
];

/// Runs what was asked for and prints it.
///
/// # Errors
/// Usage: an unknown device, an output that cannot be written; a device that fails.
pub(crate) fn run(
    args: &Micro,
    console: &mut Console<'_>,
    backend: &Arc<dyn Backend>,
) -> Result<Verdict, Error> {
    let target = place::target(&args.place, backend)?;
    let json = Json::open(args.place.json.as_deref())?;
    let table = Json::open(args.table.as_deref())?;
    let bounds = Bounds { device: Some(MOST), managed: None };
    let request = DeviceRequest { capacity: None, bounds, seed: 0, purpose: Purpose::Verify };
    let opened = match target.open(&request) {
        Ok(opened) => opened,
        Err(OpenError::Absent(reason)) if !args.place.require_device => {
            json.write(&MicroReport::skipped(reason.clone()), console.out)?;
            writeln!(console.people(&json), "skipped: {reason}")?;
            return Ok(Verdict::Passed);
        }
        Err(error) => return Err(Error::failed(vmem_core::chain(&error).to_string())),
    };
    let facts = opened.device.facts().clone();
    let mut lab = Lab::new(opened, args.samples);
    let bar = bar(PARTS.len(), console.progress);
    let mut done = 0;
    for (name, measure) in PARTS {
        if console.stop.is_requested() {
            break;
        }
        done += 1;
        bar.set_message(name);
        measure(&mut lab);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let name = args.name.clone().unwrap_or_else(|| facts.name.clone());
    // A table of costs that are not all measured would pass for one.
    let costs = (done == PARTS.len()).then(|| costs::table(&lab.rows, &facts, name, today()));
    let header = place::describe(&target, &facts);
    let clock = match lab.opened.gauge.virtual_time() {
        Some(_) => MicroClock::Virtual,
        None => MicroClock::Host,
    };
    let report = MicroReport {
        schema: MICRO_SCHEMA,
        skipped: None,
        device: Some(facts),
        interrupted: done < PARTS.len(),
        clock,
        rows: lab.rows,
        left_out: lab.left_out,
        failures: lab.failures,
        table: costs,
    };
    let written = json.write(&report, console.out);
    let saved = match &report.table {
        Some(costs) => table.write(costs, console.out),
        None => Ok(()),
    };
    // A document that cannot be written should not cost what is for people.
    table::write(&header, &report, console.people(&json))?;
    if report.interrupted {
        writeln!(console.people(&json), "interrupted: {done} of {} parts done", PARTS.len())?;
    }
    written.and(saved)?;
    Ok(match report.interrupted {
        true => Verdict::Interrupted,
        false => report.failures.is_empty().into(),
    })
}

/// Today, as in `2025-01-31`, in coordinated universal time.
fn today() -> String {
    let mut now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.truncate("2025-01-31".len());
    now
}

impl MicroReport {
    /// Nothing was measured, for this reason.
    fn skipped(reason: String) -> Self {
        Self {
            schema: MICRO_SCHEMA,
            skipped: Some(reason),
            device: None,
            interrupted: false,
            clock: MicroClock::Host,
            rows: Vec::new(),
            left_out: Vec::new(),
            failures: Vec::new(),
            table: None,
        }
    }
}
