//! `vmem inspect`: what a trace file is.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use vmem_core::Label;
use vmem_trace::{Event, Irregularity, Packing, Reading, Trace};

use crate::args::Inspect;
use crate::console::{Console, Verdict};
use crate::{Error, bytes, traces};

/// Says of each file what it is, in ten lines.
///
/// # Errors
/// Usage, if one cannot be read as a trace.
pub(crate) fn run(args: &Inspect, console: &mut Console<'_>) -> Result<Verdict, Error> {
    for (number, path) in args.traces.iter().enumerate() {
        let reading = traces::reading(path, &args.reading.options(), None, console.err)?;
        if number > 0 {
            writeln!(console.out)?;
        }
        describe(path, &reading, console.out)?;
    }
    Ok(Verdict::Passed)
}

/// What there is of a trace.
#[derive(Debug, Default)]
struct Figures {
    frees: usize,
    failures: usize,
    marks: usize,
    peak_at: usize,
    largest: u64,
    live: u64,
    blocks: usize,
    labelled: u64,
    /// How often each label is, and how many bytes it has.
    labels: HashMap<Label, (u64, u64)>,
}

fn describe(path: &Path, reading: &Reading, out: &mut dyn Write) -> io::Result<()> {
    let Reading { trace, format, .. } = reading;
    let figures = Figures::of(trace);
    let mut line = |name: &str, value: &dyn Display| writeln!(out, "{name:<10}{value}");
    let size = std::fs::metadata(path).map(|found| bytes::show(found.len()));
    let packed = match reading.packed {
        Some(Packing::Gzip) => ", gzip",
        Some(_) => ", zstd",
        None => "",
    };
    let size = size.map_or_else(|_| String::new(), |size| format!(" ({size}{packed})"));
    line("file", &format_args!("{}{size}", path.display()))?;
    line("format", format)?;
    line("version", &reading.version.map_or_else(|| "none".to_owned(), |v| v.to_string()))?;
    let Figures { frees, failures, marks, .. } = figures;
    line(
        "events",
        &format_args!(
            "{}: {} allocations, {frees} frees, {failures} failed requests, {marks} marks",
            trace.events().len(),
            trace.allocations()
        ),
    )?;
    line("streams", &format_args!("{}, used by {} threads", trace.streams(), trace.threads()))?;
    let peak = trace.peak_live();
    line(
        "live",
        &format_args!(
            "at most {peak} B ({}), first after event {}; {} B in {} blocks at the end",
            bytes::show(peak),
            figures.peak_at,
            figures.live,
            figures.blocks
        ),
    )?;
    let largest = figures.largest;
    line("largest", &format_args!("{largest} B ({})", bytes::show(largest)))?;
    match trace.times().and_then(<[u64]>::last) {
        Some(&last) => {
            line("time", &format_args!("{:?}, first event to last", Duration::from_nanos(last)))?;
        }
        None => line("time", &"not in the file")?,
    }
    line("labels", &figures.labels_of(trace.allocations()))?;
    line("whole", &wholeness(reading))
}

/// Whether the file was cut, and what else was got over.
fn wholeness(reading: &Reading) -> String {
    let is = |what| reading.notes.iter().any(|note| note.what == what);
    let start = match (is(Irregularity::CutEnd), is(Irregularity::Damaged)) {
        (_, true) => "no: damaged, and read up to there",
        (true, _) => "no: cut, and read up to there",
        _ => "yes",
    };
    match reading.notes.len() {
        0 => start.to_owned(),
        kinds => format!("{start}; {kinds} kinds of irregularity, on standard error"),
    }
}

impl Figures {
    fn of(trace: &Trace) -> Self {
        let mut figures = Self::default();
        let mut sizes = HashMap::new();
        let mut peak = 0;
        for (at, event) in trace.events().iter().enumerate() {
            match *event {
                Event::Allocate { slot, size, label, .. } => {
                    sizes.insert(slot, size);
                    figures.live += size;
                    figures.largest = figures.largest.max(size);
                    if figures.live > peak {
                        (peak, figures.peak_at) = (figures.live, at);
                    }
                    if label != Label::NONE {
                        figures.labelled += 1;
                        let (count, bytes) = figures.labels.entry(label).or_default();
                        *count += 1;
                        *bytes += size;
                    }
                }
                Event::Free { slot, .. } => {
                    figures.frees += 1;
                    figures.live -= sizes.remove(&slot).unwrap_or_default();
                }
                Event::Failure { .. } => figures.failures += 1,
                _ => figures.marks += 1,
            }
        }
        figures.blocks = sizes.len();
        figures
    }

    fn labels_of(&self, allocations: u64) -> String {
        let most = self.labels.iter().max_by_key(|&(label, &(_, bytes))| (bytes, label.as_str()));
        let Some((label, (_, bytes))) = most else { return "none".to_owned() };
        let Self { labelled, labels, .. } = self;
        // Of several lines the first, as of a stack's frames.
        let first = label.as_str().lines().next().unwrap_or_default();
        let bytes = bytes::show(*bytes);
        format!(
            "{} on {labelled} of {allocations} allocations; most bytes: {first} ({bytes})",
            labels.len()
        )
    }
}
