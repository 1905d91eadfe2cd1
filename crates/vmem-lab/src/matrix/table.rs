//! The matrix as a table for people: a line for each check, a column for each stack.

use std::io::{self, Write};

use super::{CellResult, MatrixCell, MatrixReport};

/// Writes the header, the table, the totals, and why cells failed or were skipped.
pub(super) fn write(header: &str, report: &MatrixReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{header}\n")?;
    let (mut checks, mut tiers): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for MatrixCell { check, tier, .. } in &report.cells {
        if !checks.contains(&check.as_str()) {
            checks.push(check);
        }
        if !tiers.contains(tier) {
            tiers.push(tier);
        }
    }
    let width = checks.iter().map(|check| check.len()).max().unwrap_or(0);
    write!(out, "{:<width$}", "check")?;
    for tier in &tiers {
        write!(out, "  {tier:>8}")?;
    }
    writeln!(out)?;
    for check in checks {
        write!(out, "{check:<width$}")?;
        for tier in &tiers {
            let cell = report.cells.iter().find(|cell| cell.check == check && cell.tier == *tier);
            match cell {
                Some(cell) => write!(out, "  {:>8}", cell.result)?,
                None => write!(out, "  {:>8}", "-")?,
            }
        }
        writeln!(out)?;
    }
    let MatrixReport { passed, failed, skipped, .. } = report;
    writeln!(out, "\n{passed} passed, {failed} failed, {skipped} skipped")?;
    write_skips(report, out)?;
    for cell in report.cells.iter().filter(|cell| cell.result == CellResult::Fail) {
        let reason = cell.reason.as_deref().unwrap_or("for an unknown reason");
        writeln!(out, "FAILED: {} on {}: {reason}", cell.check, cell.tier)?;
    }
    Ok(())
}

/// Each reason once, with where it held.
fn write_skips(report: &MatrixReport, out: &mut dyn Write) -> io::Result<()> {
    let skipped = |cell: &&MatrixCell| cell.result == CellResult::Skip;
    let mut reasons: Vec<&str> = Vec::new();
    for cell in report.cells.iter().filter(skipped) {
        let reason = cell.reason.as_deref().unwrap_or_default();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    for reason in reasons {
        let cells = report.cells.iter().filter(skipped);
        let cells: Vec<&MatrixCell> =
            cells.filter(|cell| cell.reason.as_deref() == Some(reason)).collect();
        match *cells {
            [cell] => writeln!(out, "skipped: {} on {}: {reason}", cell.check, cell.tier)?,
            _ => writeln!(out, "skipped: {} cells: {reason}", cells.len())?,
        }
    }
    Ok(())
}
