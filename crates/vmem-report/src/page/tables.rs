//! What the page says in words and tables.

use std::io::{self, Write};

use super::html::{bytes, escape};
use crate::bytes::ratio;
use crate::composition::{Composition, Share};
use crate::report::Report;
use crate::stack::StackView;

pub(super) fn header(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let timeline = &report.timeline;
    let (name, events) = (escape(&timeline.name), timeline.buckets.events());
    if report.moment {
        let (live, blocks) = (bytes(timeline.peak.live), timeline.peak.blocks);
        write!(out, "<header><h1>{name}</h1><p>At this moment {live} are live in {blocks} blocks")?;
        for stack in &report.stacks {
            let StackView { figures, series, .. } = stack;
            let held = series.reserved.as_ref().and_then(|held| held.first().copied());
            write!(
                out,
                ", and {} are held. The most so far: {} live, {} held",
                known(held),
                bytes(figures.peak_live),
                known(figures.peak_reserved)
            )?;
        }
        writeln!(out, ".</p></header>")?;
        return report.stacks.iter().try_for_each(|stack| resting(stack, out));
    }
    write!(
        out,
        "<header><h1>{name}</h1><p>{} allocations in {events} events; at the peak, after event {}, \
         {} are live in {} blocks.",
        timeline.allocations,
        timeline.peak.index,
        bytes(timeline.peak.live),
        timeline.peak.blocks,
    )?;
    if let Some(place) = &report.place {
        write!(out, " Replayed on: {}.", escape(place))?;
    }
    if timeline.failure_count > 0 {
        let requests = if timeline.failure_count == 1 { "request" } else { "requests" };
        write!(
            out,
            " <strong class=\"bad\"><data value=\"{0}\" id=\"logged-failures\">{0}</data> {requests} \
             failed where the trace was taken.</strong>",
            timeline.failure_count
        )?;
    }
    writeln!(out, "</p></header>")
}

/// One row for each stack.
pub(super) fn figures(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.stacks.is_empty() || report.moment {
        return Ok(());
    }
    write!(
        out,
        "<section><h2>Figures</h2><div class=\"wide\"><table id=\"figures\"><thead><tr><th>Stack</th>\
         <th>Peak live</th><th>Peak reserved</th><th>Reserved / live</th><th>Driver calls</th>\
         <th>Moved</th><th>Result</th></tr></thead><tbody>"
    )?;
    for (at, stack) in report.stacks.iter().enumerate() {
        let StackView { name, figures, .. } = stack;
        write!(
            out,
            "<tr data-stack=\"{0}\"><th><i class=\"line line-{at}\"></i>{0}</th>\
             <td data-figure=\"peak-live\">{1}</td><td data-figure=\"peak-reserved\">{2}</td>\
             <td>{3}</td><td data-figure=\"driver-calls\">{4}</td><td>{5}</td><td>{6}</td></tr>",
            escape(name),
            bytes(figures.peak_live),
            known(figures.peak_reserved),
            match (figures.peak_reserved, figures.peak_live) {
                (None, _) | (_, 0) => "–".to_owned(),
                (Some(held), live) => format!("{:.4}", ratio(held, live)),
            },
            figures.driver_calls.map_or_else(|| "–".to_owned(), number),
            known(figures.moved),
            match figures.failure {
                None => "served".to_owned(),
                Some((index, size)) => format!(
                    "<strong class=\"bad\">refused <data value=\"{size}\">{}</data> at event {index}\
                     </strong>",
                    crate::bytes::show(size),
                ),
            }
        )?;
    }
    writeln!(out, "</tbody></table></div>")?;
    report.stacks.iter().try_for_each(|stack| resting(stack, out))?;
    writeln!(out, "</section>")
}

fn known(figure: Option<u64>) -> String {
    figure.map_or_else(|| "–".to_owned(), bytes)
}

/// What of a stack's memory has to do with the host's, if anything has.
fn resting(stack: &StackView, out: &mut dyn Write) -> io::Result<()> {
    let Some(resting) = stack.figures.resting else { return Ok(()) };
    writeln!(
        out,
        "<p class=\"resting\" data-stack=\"{0}\">{0}: {1} of what is live take no room on the device. Of the \
         host's memory {2} are in use and {3} are kept ready. So far {4} left the device, and {5} came \
         back.</p>",
        escape(&stack.name),
        bytes(resting.away),
        bytes(resting.on_host),
        bytes(resting.host_reserve),
        bytes(resting.demoted),
        bytes(resting.promoted),
    )
}

/// What is live at the peak.
pub(super) fn peak(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let peak = &report.timeline.peak;
    if report.moment && !report.refusals.is_empty() {
        // It stands there already.
        return Ok(());
    }
    let (title, when) = match report.moment {
        true => ("Live", "Now".to_owned()),
        false => ("Live at the peak", format!("After event {}", peak.index)),
    };
    write!(
        out,
        "<section id=\"peak\"><h2>{title}</h2><p>{when}: {} in {} blocks.</p>",
        bytes(peak.live),
        peak.blocks
    )?;
    composition(peak, out)?;
    writeln!(out, "</section>")
}

/// Three tables side by side.
pub(super) fn composition(live: &Composition, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "<div class=\"columns\">")?;
    for (title, shares) in
        [("Label", &live.labels), ("Size", &live.sizes), ("Stream", &live.streams)]
    {
        // Of what lies in a pool nobody knows the streams.
        if !shares.is_empty() {
            table(title, shares, live.live, out)?;
        }
    }
    writeln!(out, "</div>")
}

fn table(title: &str, shares: &[Share], all: u64, out: &mut dyn Write) -> io::Result<()> {
    let kind = title.to_lowercase();
    write!(
        out,
        "<div class=\"scroll\"><table class=\"shares\" data-by=\"{kind}\"><thead><tr><th>{title}</th><th>Live</th>\
         <th>Blocks</th><th>Share</th></tr></thead><tbody>"
    )?;
    for share in shares {
        let percent = if all == 0 { 0.0 } else { 100.0 * ratio(share.bytes, all) };
        write!(
            out,
            "<tr><th title=\"{0}\">{0}</th><td>{1}</td><td>{2}</td>\
             <td class=\"share\"><i style=\"width:{percent:.2}%\"></i>{percent:.1} %</td></tr>",
            escape(&share.name),
            bytes(share.bytes),
            number(share.blocks)
        )?;
    }
    writeln!(out, "</tbody></table></div>")
}

pub(super) fn footer(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.moment {
        return writeln!(out, "<footer>Made by vmem {}.</footer>", env!("CARGO_PKG_VERSION"));
    }
    writeln!(
        out,
        "<footer>Made by vmem {}. Series have {} buckets of the trace's {} events; what is drawn of a \
         bucket is the moment when most was live in it.</footer>",
        env!("CARGO_PKG_VERSION"),
        report.timeline.buckets.count(),
        report.timeline.buckets.events()
    )
}

pub(super) fn number(value: u64) -> String {
    format!("<data value=\"{value}\">{value}</data>")
}
