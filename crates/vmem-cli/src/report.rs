//! `vmem report`: a page about a trace, or a picture.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use vmem_core::chain;
use vmem_report::{Need, Report, Theme};
use vmem_trace::Trace;

use crate::args::{PlaceArgs, Report as Arguments};
use crate::console::{Verdict, bar, reading};
use crate::output::Output;
use crate::scenario::Item;
use crate::target::{DeviceRequest, Target};
use crate::tier::Tier;
use crate::{Backend, Console, Error, bytes, place, traces};

/// Reads the traces, replays them, writes the page.
///
/// # Errors
/// Usage: a trace that cannot be read, an output that cannot be written; a stack that cannot be built.
pub fn run(
    args: &Arguments,
    console: &mut Console<'_>,
    backend: &Arc<dyn Backend>,
) -> Result<Verdict, Error> {
    let kind = Kind::of(&args.output)?;
    if kind == Kind::Picture && args.traces.len() + args.workload.len() > 1 {
        return Err(Error::usage("a picture is of one trace; several go into one page, in .html"));
    }
    let output = Output::open("--output", &args.output)?;
    let simulated = PlaceArgs { device: None, costs: None, json: None, require_device: false };
    let target = place::target(&simulated, backend)?;
    let traces = reading(console, |notes| traces_of(args, notes))?;
    let mut reports = Vec::with_capacity(traces.len());
    for trace in &traces {
        match of_trace(trace, args, &target, console)? {
            Some(report) => reports.push(report),
            None => return Ok(Verdict::Interrupted),
        }
    }
    write(&reports, kind, args, &output, console)?;
    Ok(Verdict::Passed)
}

/// The report on one trace; `None` if the program was asked to end.
fn of_trace(
    trace: &Trace,
    args: &Arguments,
    target: &Target,
    console: &Console<'_>,
) -> Result<Option<Report>, Error> {
    let request = DeviceRequest::measuring(args.capacity, 0);
    let opened = place::open_simulated(target, &request)?;
    let room = bytes::show(opened.capacity());
    let mut report = Report::of(trace).on(format!("{target}, {room}"));
    let progress = bar(trace.events().len() * args.tier.len(), console.progress);
    let events = u64::try_from(trace.events().len()).unwrap_or(u64::MAX);
    for (at, tier) in (0..).zip(&args.tier) {
        if console.stop.is_requested() {
            progress.finish_and_clear();
            return Ok(None);
        }
        progress.set_message(format!("{} on {tier}", trace.name()));
        let stack = tier.build_on(target, &request).map_err(failed)?;
        let mut told = |done: u64| progress.set_position(at * events + done);
        report
            .replay(tier.name, trace, &stack, &mut told)
            .map_err(|error| Error::failed(error.to_string()))?;
    }
    let mut needs = |until: &Trace| -> Vec<Need> {
        let need = |tier: Tier| {
            progress.set_message(format!("asking what {tier} needs"));
            Need::of(tier.name, until, |most| {
                tier.build_on(target, &DeviceRequest { capacity: Some(most), ..request })
            })
        };
        asked(&args.tier).map(need).collect()
    };
    report.explain(trace, args.capacity, &mut needs);
    progress.finish_and_clear();
    Ok(Some(report))
}

/// The stacks that are asked what a refused request would have needed there: those of the report, and
/// ours. Managed memory has no smallest device.
fn asked(tiers: &[Tier]) -> impl Iterator<Item = Tier> {
    let ours =
        Tier::ours().filter(|own| ["a", "a-chunks", "fallback", "plain"].contains(&own.name));
    let others = ours.filter(|own| tiers.iter().all(|tier| tier.name != own.name));
    tiers.iter().copied().chain(others).filter(|tier| !tier.is_managed())
}

fn write(
    reports: &[Report],
    kind: Kind,
    args: &Arguments,
    output: &Output,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let mut text = Vec::new();
    match (kind, reports) {
        (Kind::Picture, [report]) => {
            let theme = if args.dark { Theme::Dark } else { Theme::Light };
            text.extend_from_slice(report.svg(theme).map_err(failed)?.as_bytes());
        }
        _ => Report::write_several(reports, &mut text)?,
    }
    output.write(&text, console.out)?;
    let document = matches!(output, Output::Stdout);
    let people = if document { &mut *console.err } else { &mut *console.out };
    for refusal in reports.iter().flat_map(Report::refusals) {
        writeln!(people, "{refusal}\n")?;
    }
    let size = bytes::show(u64::try_from(text.len()).unwrap_or(u64::MAX));
    writeln!(people, "{}: {size}", args.output.display())?;
    Ok(())
}

fn failed(error: vmem_core::BoxedError) -> Error {
    Error::failed(chain(&*error).to_string())
}

fn traces_of(args: &Arguments, notes: &mut dyn Write) -> Result<Vec<Trace>, Error> {
    let options = args.reading.options();
    if args.labelling.labels.is_some() && args.traces.len() != 1 {
        let count = args.traces.len();
        return Err(Error::usage(format!("--labels are for one file; {count} are given")));
    }
    let mut found = Vec::new();
    for path in &args.traces {
        found.push(traces::reading(path, &options, args.labelling.sites()?, notes)?.trace);
    }
    for item in &args.workload {
        let trace = match item {
            Item::Workload(workload) => workload
                .generate(&workload.defaults())
                .map_err(|error| Error::usage(error.to_string()))?,
            Item::Log(log) => log.trace(),
            Item::Scenario(_) => {
                let text = format!("a report is of a workload, and {item} is a scenario");
                return Err(Error::usage(text));
            }
        };
        found.push(trace);
    }
    Ok(found)
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Page,
    Picture,
}

impl Kind {
    fn of(output: &Path) -> Result<Self, Error> {
        let extension = output.extension().unwrap_or_default().to_ascii_lowercase();
        if extension == "html" || output.as_os_str() == "-" {
            Ok(Self::Page)
        } else if extension == "svg" {
            Ok(Self::Picture)
        } else {
            Err(Error::usage(format!(
                "`{}` is neither a page nor a picture; accepted: a name that ends in .html or .svg, or `-`",
                output.display()
            )))
        }
    }
}
