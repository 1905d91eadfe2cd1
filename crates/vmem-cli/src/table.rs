//! Rows as an aligned table for people.

use std::io::{self, Write};

use vmem_trace::Scale;

use crate::{Row, bytes};

/// One column: its heading, its cell of a row, and whether words stand in it.
struct Column {
    heading: &'static str,
    cell: fn(&Row) -> String,
    left: bool,
}

const fn words(heading: &'static str, cell: fn(&Row) -> String) -> Column {
    Column { heading, cell, left: true }
}

const fn figures(heading: &'static str, cell: fn(&Row) -> String) -> Column {
    Column { heading, cell, left: false }
}

/// Stands where nothing is known.
const UNKNOWN: &str = "-";

const COLUMNS: &[Column] = &[
    words("workload", |row| row.workload.clone()),
    figures("scale", |row| {
        row.scale.and_then(Scale::new).map_or_else(|| UNKNOWN.to_owned(), |scale| scale.to_string())
    }),
    words("tier", |row| row.tier.to_owned()),
    figures("pairs", |row| row.allocations.to_string()),
    figures("peak live", |row| bytes::show(row.peak_live_bytes)),
    figures("reserved", |row| {
        row.peak_reserved_bytes.map_or_else(|| UNKNOWN.to_owned(), bytes::show)
    }),
    figures("ratio", |row| over_live(row, row.peak_reserved_bytes)),
    figures("calls", |row| shown(row.driver_calls)),
    figures("from pass 2", |row| shown(row.driver_calls_steady)),
    figures("ns/pair", |row| rounded(row.ns_per_pair, 0)),
    figures("failures", |row| row.failures.to_string()),
    figures("virtual ms", |row| rounded(row.virtual_ms, 2)),
];

/// Shown only where some row looked for the smallest device.
const MIN_DEVICE: &[Column] = &[
    figures("min device", |row| {
        row.min_device_bytes.map_or_else(|| UNKNOWN.to_owned(), bytes::show)
    }),
    figures("min ratio", |row| over_live(row, row.min_device_bytes)),
];

/// Shown only where something ran beside a device that holds all of it.
const SLOWDOWN: &[Column] = &[
    figures("migrated", |row| row.migrated_bytes.map_or_else(|| UNKNOWN.to_owned(), bytes::show)),
    figures("slowdown", |row| rounded(row.slowdown, 2)),
];

/// Shown only where something spilled.
const SPILLED: &[Column] = &[
    figures("on host", |row| {
        row.used_on_host_bytes.map_or_else(|| UNKNOWN.to_owned(), bytes::show)
    }),
    figures("furthest", |row| {
        row.least_moved_bytes.map_or_else(|| UNKNOWN.to_owned(), bytes::show)
    }),
    figures("over link", |row| rounded(row.over_link, 2)),
    figures("over host", |row| rounded(row.over_host, 3)),
];

/// Writes the header, the rows as a table, what the stacks are, and why rows failed.
pub fn write(header: &str, rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{header}\n")?;
    write_aligned(rows, out)?;
    writeln!(out)?;
    let mut seen = Vec::new();
    for Row { tier, stack, .. } in rows {
        if let Some(stack) = stack
            && !seen.contains(tier)
        {
            writeln!(out, "{tier} = {stack}")?;
            seen.push(tier);
        }
    }
    rows.iter().try_for_each(|row| write_asked_again(row, out))?;
    for row in rows {
        if let Some(failure) = &row.failure {
            let verdict = if row.meant_to_fail { "failed as it should" } else { "FAILED" };
            writeln!(out, "{verdict}: {} on {}: {failure}", row.workload, row.tier)?;
        }
    }
    Ok(())
}

/// Says what became of requests that failed where the trace was taken.
fn write_asked_again(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    if row.asked_again.is_empty() {
        return Ok(());
    }
    let served = row.asked_again.iter().filter(|asked| asked.served).count();
    let (workload, tier, all) = (&row.workload, row.tier, row.asked_again.len());
    writeln!(out, "{workload} on {tier}: of {all} requests that had failed, {served} were served")?;
    for asked in &row.asked_again {
        let (size, live) = (bytes::show(asked.size_bytes), bytes::show(asked.live_bytes));
        let outcome = if asked.served { "served" } else { "refused" };
        writeln!(out, "  event {}: {size} with {live} live: {outcome}", asked.index)?;
    }
    Ok(())
}

fn write_aligned(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut columns: Vec<_> = COLUMNS.iter().collect();
    if rows.iter().any(|row| row.min_device_bytes.is_some()) {
        columns.extend(MIN_DEVICE);
    }
    if rows.iter().any(|row| row.slowdown.is_some()) {
        columns.extend(SLOWDOWN);
    }
    if rows.iter().any(|row| row.over_link.is_some()) {
        columns.extend(SPILLED);
    }
    let columns: Vec<_> = columns.into_iter().map(|column| (column, cells(column, rows))).collect();
    for line in 0..=rows.len() {
        let mut text = String::new();
        for (column, cells) in &columns {
            let width = cells.iter().map(String::len).max().unwrap_or(0);
            let cell = &cells[line];
            text.push_str(if text.is_empty() { "" } else { "  " });
            text.push_str(&if column.left {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            });
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// A column's heading and its cells.
fn cells(column: &Column, rows: &[Row]) -> Vec<String> {
    let heading = column.heading.to_owned();
    std::iter::once(heading).chain(rows.iter().map(column.cell)).collect()
}

fn shown(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.to_owned(), |count| count.to_string())
}

fn rounded(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("{value:.decimals$}"))
}

fn over_live(row: &Row, part: Option<u64>) -> String {
    match part {
        Some(part) if row.peak_live_bytes > 0 => {
            format!("{:.4}", bytes::ratio(part, row.peak_live_bytes))
        }
        _ => UNKNOWN.to_owned(),
    }
}
