//! The measurements for people.

use std::io::{self, Write};

use vmem_cli::parts::bytes;

use super::report::{MicroClock, MicroNote, MicroReport};

/// Writes the header, the rows, what is missing, and the costs.
pub(super) fn write(header: &str, report: &MicroReport, out: &mut dyn Write) -> io::Result<()> {
    let clock = match report.clock {
        MicroClock::Host => "times of the host's clock",
        MicroClock::Virtual => "times of the simulated clock, but for pairs",
    };
    writeln!(out, "{header}; {clock}, in microseconds\n")?;
    writeln!(
        out,
        "{:<34} {:>9}  {:<16} {:>6} {:>11} {:>11} {:>11} {:>8}",
        "operation", "size", "beside", "calls", "median", "p10", "p90", "GB/s"
    )?;
    for row in &report.rows {
        let size = row.bytes.map_or_else(|| "-".to_owned(), bytes::show);
        let micros = |nanos: u64| format!("{:.3}", bytes::ratio(nanos, 1000));
        let moved = row.operation.starts_with("copy") || row.operation == "fill";
        let rate = match row.bytes {
            Some(bytes) if moved && row.median_ns > 0 => {
                format!("{:.1}", bytes::ratio(bytes, row.median_ns))
            }
            _ => "-".to_owned(),
        };
        writeln!(
            out,
            "{:<34} {size:>9}  {:<16} {:>6} {:>11} {:>11} {:>11} {rate:>8}",
            row.operation,
            row.beside.name(),
            row.calls,
            micros(row.median_ns),
            micros(row.p10_ns),
            micros(row.p90_ns),
        )?;
    }
    writeln!(out)?;
    for MicroNote { what, reason } in &report.left_out {
        writeln!(out, "left out: {what}: {reason}")?;
    }
    for MicroNote { what, reason } in &report.failures {
        writeln!(out, "FAILED: {what}: {reason}")?;
    }
    if let Some(table) = &report.table {
        writeln!(out, "costs ({table}):\n\n{}", table.costs)?;
        if !table.estimated.is_empty() {
            writeln!(out, "not measured, as on an H100: {}", table.estimated.join(", "))?;
        }
    }
    Ok(())
}
