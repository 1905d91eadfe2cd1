//! `bench --compare`: ours beside the models of others, one table a question.

use std::io::{self, Write};
use std::path::Path;

use vmem_cli::Row;
use vmem_cli::parts::{Bench, Error, Job, Place, Tier, bench, bytes, on_each_tier, traces};
use vmem_trace::ReadOptions;

use crate::peers;

/// What is compared of each workload on each stack.
struct Aspect {
    heading: &'static str,
    cell: fn(&Row) -> Option<String>,
}

const ASPECTS: [Aspect; 5] = [
    Aspect {
        heading: "peak reserved over peak live",
        cell: |row| over_live(row, row.peak_reserved_bytes),
    },
    Aspect {
        heading: "smallest device that passes, over peak live",
        cell: |row| over_live(row, row.min_device_bytes),
    },
    Aspect {
        heading: "driver calls in all",
        cell: |row| row.driver_calls.map(|calls| calls.to_string()),
    },
    Aspect {
        heading: "virtual ms in all",
        cell: |row| row.virtual_ms.map(|ms| format!("{ms:.2}")),
    },
    Aspect {
        heading: "driver calls from the second pass on",
        cell: |row| row.driver_calls_steady.map(|calls| calls.to_string()),
    },
];

/// Every workload asked for and every trace of the folder, on tier A and every model.
///
/// # Errors
/// Usage, if a workload cannot be generated or a trace cannot be read.
pub(crate) fn jobs(
    args: &Bench,
    traces: Option<&Path>,
    place: &Place,
    notes: &mut dyn Write,
) -> Result<Vec<Job>, Error> {
    let tiers: Vec<Tier> = peers::compared().collect();
    let place = &place.clone().with_min_device()?;
    let mut jobs = Vec::new();
    for item in &args.workload {
        let Some((trace, scale)) = bench::trace(*item, args)? else {
            let message = format!("--compare takes workloads, not scenarios such as {item}");
            return Err(Error::usage(message));
        };
        jobs.extend(on_each_tier(trace, scale, &tiers, place));
    }
    let paths = match traces {
        Some(folder) => traces::tables_in(folder).map_err(|error| {
            let shown = folder.display();
            Error::usage(format!("cannot read the traces in `{shown}`: {error}"))
        })?,
        None => Vec::new(),
    };
    for path in paths {
        let trace = traces::read(&path, &ReadOptions::default(), notes)?;
        jobs.extend(on_each_tier(trace, None, &tiers, place));
    }
    Ok(jobs)
}

/// Writes the header, a table for each aspect with a line for each workload, and what the stacks
/// are.
pub(crate) fn write(header: &str, rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{header}")?;
    let tiers: Vec<Tier> = peers::compared().collect();
    let mut workloads: Vec<(&str, Option<u64>)> = Vec::new();
    for row in rows {
        let workload = (row.workload.as_str(), row.scale);
        if !workloads.contains(&workload) {
            workloads.push(workload);
        }
    }
    for Aspect { heading, cell } in ASPECTS {
        writeln!(out, "\n{heading}\n")?;
        write!(out, "{:<14}", "")?;
        for tier in &tiers {
            write!(out, " {:>16}", tier.name)?;
        }
        writeln!(out)?;
        for &(workload, scale) in &workloads {
            write!(out, "{workload:<14}")?;
            for tier in &tiers {
                let row = rows.iter().find(|row| {
                    row.workload == workload && row.scale == scale && row.tier == tier.name
                });
                let cell = row.and_then(|row| row.passed.then(|| cell(row)).flatten());
                write!(out, " {:>16}", cell.as_deref().unwrap_or("-"))?;
            }
            writeln!(out)?;
        }
    }
    writeln!(out)?;
    for tier in &tiers {
        if let Some(stack) =
            rows.iter().find(|row| row.tier == tier.name).and_then(|row| row.stack.as_deref())
        {
            writeln!(out, "{tier} = {stack}")?;
        }
    }
    for row in rows {
        if let Some(failure) = &row.failure {
            writeln!(out, "FAILED: {} on {}: {failure}", row.workload, row.tier)?;
        }
    }
    Ok(())
}

fn over_live(row: &Row, part: Option<u64>) -> Option<String> {
    let part = part.filter(|_| row.peak_live_bytes > 0)?;
    Some(format!("{:.4}", bytes::ratio(part, row.peak_live_bytes)))
}
