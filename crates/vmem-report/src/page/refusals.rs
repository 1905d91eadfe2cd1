//! Why requests were refused, in words and tables.

use std::io::{self, Write};

use super::html::{bytes, escape};
use super::tables::{composition, number};
use crate::grouping::UNLABELLED;
use crate::refusal::{Case, Missing, Refusal, Window, events};
use crate::report::Report;

/// The refusals that the page is about, of its first stack and of the log, which stand first; or the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Others,
}

/// Each refusal that was looked into.
pub(super) fn write(report: &Report, which: Which, out: &mut dyn Write) -> io::Result<()> {
    let first = report.stacks.first().map(|stack| &stack.name);
    for refusal in &report.refusals {
        let stack = refusal.case.stack.as_ref();
        let stands_first = report.moment || stack.is_none() || stack == first;
        if stands_first == (which == Which::First) {
            write_one(refusal, out)?;
        }
    }
    if which == Which::Others && report.timeline.failures.len() > 1 {
        logged(report, out)?;
    }
    Ok(())
}

fn write_one(refusal: &Refusal, out: &mut dyn Write) -> io::Result<()> {
    let Refusal { case, missing, needs, remedies } = refusal;
    let whose = case.stack.as_deref().unwrap_or("where the trace was taken");
    write!(
        out,
        "<section class=\"refusal\" data-stack=\"{}\"><h2>Why {} was refused</h2>\n<p>{}",
        escape(whose),
        crate::bytes::show(case.asked),
        bytes(case.asked)
    )?;
    if case.rounded() > case.asked {
        write!(out, " ({} rounded)", bytes(case.rounded()))?;
    }
    write!(out, " asked for")?;
    if let Some(index) = case.index {
        write!(out, " at event {}", number(u64::try_from(index).unwrap_or(u64::MAX)))?;
    }
    if let Some(stream) = case.stream {
        write!(out, " for stream {stream}")?;
    }
    if let Some(label) = &case.label {
        write!(out, " as {}", escape(label))?;
    }
    match &case.stack {
        Some(stack) => write!(out, " on {}", escape(stack))?,
        None => write!(out, " where the trace was taken")?,
    }
    if case.times > 1 {
        write!(out, ", {} times", case.times)?;
    }
    write!(
        out,
        ". {} were live then, in {} blocks",
        bytes(case.live.live),
        number(case.live.blocks)
    )?;
    if let Some(report) = &case.report {
        write!(out, "; {} were held", bytes(report.reserved))?;
    }
    if let Some(most) = case.most {
        write!(out, " of {} at most", bytes(most))?;
    }
    writeln!(out, ".</p>")?;
    if let Some(text) = &case.text {
        writeln!(out, "<p class=\"said\">{}</p>", escape(text))?;
    }
    writeln!(out, "<h3>The cheapest that would have helped</h3><ol class=\"remedies\">")?;
    for remedy in remedies {
        let (text, price) = (escape(&remedy.text), remedy.price.text());
        writeln!(out, "<li>{text} <small>{price}</small></li>")?;
    }
    if remedies.is_empty() {
        writeln!(out, "<li>nothing that this report knows of</li>")?;
    }
    writeln!(out, "</ol><div class=\"columns\"><div><h3>What would have had to go</h3>")?;
    write_missing(case, missing, out)?;
    writeln!(out, "</div><div><h3>What was tried</h3>")?;
    write_attempts(case, out)?;
    writeln!(out, "</div><div><h3>What the same needs on other stacks</h3>")?;
    write!(
        out,
        "<table class=\"needs\"><thead><tr><th>Stack</th><th>Smallest device</th></tr></thead>"
    )?;
    for need in needs {
        let device = match &need.bytes {
            Ok(device) => bytes(*device),
            Err(reason) => format!("none: {}", escape(reason)),
        };
        write!(out, "<tr><th>{}</th><td>{device}</td></tr>", escape(&need.name))?;
    }
    writeln!(out, "</table></div></div>\n<h3>What was live</h3>")?;
    composition(&case.live, out)?;
    writeln!(out, "</section>")
}

fn write_missing(case: &Case, missing: &Missing, out: &mut dyn Write) -> io::Result<()> {
    let mut sentence = String::new();
    if let Some(short) = missing.short {
        sentence += &match short {
            0 => "By bytes it fits: free memory was not where it was needed.".to_owned(),
            short => format!(
                "Even with all free memory in one place, <span class=\"short\">{}</span> would \
                 be missing.",
                bytes(short)
            ),
        };
    }
    if let (Some(free), Some(largest)) = (missing.free, missing.largest_free) {
        sentence += &format!(
            " {} are free, <span class=\"largest\">{}</span> of it in one place.",
            bytes(free),
            bytes(largest)
        );
    }
    if missing.short.is_some_and(|short| short > 0) && missing.blocks.is_empty() {
        sentence += " All that is live together would not be enough.";
    }
    writeln!(out, "<p>{sentence}</p>")?;
    if !missing.blocks.is_empty() {
        write!(out, "<p>The fewest blocks that are enough:</p><ul>")?;
        for block in missing.blocks.iter().take(10) {
            let label = match block.label.as_str() {
                "" => UNLABELLED,
                label => label,
            };
            write!(out, "<li>{} {}", bytes(block.size), escape(label))?;
            if let Some(index) = case.index {
                let age = index.saturating_sub(block.since);
                write!(out, ", allocated {} before", events(age))?;
            }
            write!(out, "</li>")?;
        }
        if missing.blocks.len() > 10 {
            write!(out, "<li>and {} more</li>", missing.blocks.len() - 10)?;
        }
        writeln!(out, "</ul>")?;
    }
    // Where bytes are too few no addresses help.
    let window = missing.window.filter(|_| missing.short.is_none_or(|short| short == 0));
    if let Some(Window { start, size, live, pieces }) = window {
        writeln!(
            out,
            "<p>The cheapest addresses side by side, {} at {start:#x}, hold {} of live memory, in {pieces} \
             {}.</p>",
            bytes(size),
            bytes(live),
            if pieces == 1 { "piece" } else { "pieces" }
        )?;
    }
    Ok(())
}

fn write_attempts(case: &Case, out: &mut dyn Write) -> io::Result<()> {
    if case.attempts().is_empty() {
        return writeln!(out, "<p>The stack does not say.</p>");
    }
    write!(
        out,
        "<table class=\"attempts\"><thead><tr><th>Tried</th><th>Made available</th></tr></thead>"
    )?;
    for attempt in case.attempts() {
        write!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(attempt.what), bytes(attempt.freed))?;
    }
    writeln!(out, "</table>")
}

/// Every request that failed where the trace was taken.
fn logged(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "<section><h2>Requests that failed where the trace was taken</h2><div class=\"wide\">\
         <table id=\"logged\"><thead><tr><th>Event</th><th>Asked for</th><th>Stream</th><th>Live then</th>\
         <th>Most of it</th></tr></thead>"
    )?;
    for failure in &report.timeline.failures {
        let largest = failure.live.labels.first();
        write!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            failure.live.index,
            bytes(failure.size),
            failure.stream,
            bytes(failure.live.live),
            largest.map_or_else(String::new, |share| {
                format!("{}: {}", escape(&share.name), bytes(share.bytes))
            })
        )?;
    }
    writeln!(out, "</table></div></section>")
}
