//! The page: everything in one file, tables as they are, series for its script to draw.

mod data;
mod html;
mod pack;
mod refusals;
mod several;
mod tables;

use std::io::{self, Write};

use crate::picture::{self, Theme};
use crate::report::Report;
use html::escape;
use refusals::Which;
pub(crate) use several::write as write_several;

const STYLE: &str = include_str!("assets/page.css");

/// The script, part by part: one scope.
const SCRIPT: [&str; 6] = [
    include_str!("assets/data.js"),
    include_str!("assets/view.js"),
    include_str!("assets/charts.js"),
    include_str!("assets/space.js"),
    include_str!("assets/readout.js"),
    include_str!("assets/main.js"),
];

/// Writes the page.
pub(crate) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let (description, blob) = data::of(report);
    let (series, bytes_at) = blob.encode()?;
    let title = escape(&report.timeline.name);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <title>{title} · vmem report</title>\n<style>\n{STYLE}</style></head>\n<body>\n"
    )?;
    tables::header(report, out)?;
    tables::figures(report, out)?;
    refusals::write(report, Which::First, out)?;
    if report.moment {
        write_moment(report, out)?;
    } else {
        write_charts(report, out)?;
    }
    refusals::write(report, Which::Others, out)?;
    tables::peak(report, out)?;
    tables::footer(report, out)?;
    let description = description.to_string().replace('<', "\\u003c");
    write!(
        out,
        "<script type=\"application/json\" id=\"description\">{description}</script>\n\
         <script type=\"text/plain\" id=\"series\" data-bytes-at=\"{bytes_at}\">{series}</script>\n\
         <script>\n'use strict';\n(() => {{\n{}}})();\n</script>\n</body></html>\n",
        SCRIPT.concat()
    )
}

/// The address space of one moment.
fn write_moment(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<section id=\"charts\" hidden><h2>Addresses</h2>\n<p id=\"legend\"></p>")?;
    for at in 0..report.stacks.len() {
        writeln!(
            out,
            "<figure><figcaption id=\"space-legend-{at}\"></figcaption><figcaption \
             id=\"strip-caption-{at}\"></figcaption><canvas id=\"strip-{at}\" role=\"img\" \
             aria-label=\"address space\"></canvas></figure>"
        )?;
    }
    writeln!(out, "</section>")
}

/// The places that the script draws in; the static picture where there is no script.
fn write_charts(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "<section id=\"charts\" hidden>\n<h2>Over time</h2>\n\
         <p class=\"hint\">The axis counts the trace's events. Point to read a moment; drag to zoom in on \
         a part, wheel or <kbd>+</kbd> <kbd>-</kbd> to zoom, <kbd>←</kbd> <kbd>→</kbd> to move, double-click \
         or <kbd>0</kbd> for all of it.</p>\n\
         <div class=\"bar\"><span id=\"grouping\" role=\"group\" aria-label=\"stacked by\"></span>\
         <span id=\"legend\"></span></div>\n\
         <figure><figcaption>Live, stacked, and what each stack holds of the device</figcaption>\
         <canvas id=\"live\" tabindex=\"0\" role=\"img\" aria-label=\"live and reserved bytes over \
         the trace\"></canvas><canvas id=\"overview\" aria-hidden=\"true\"></canvas></figure>\n\
         <div id=\"moment\" aria-live=\"polite\"></div>\n"
    )?;
    for (at, stack) in report.stacks.iter().enumerate() {
        let name = escape(&stack.name);
        let described = escape(&stack.figures.stack);
        write!(
            out,
            "<section class=\"stack\" data-stack=\"{name}\"><h3><i class=\"line line-{at}\"></i>{name} \
             <small>{described}</small></h3>\n\
             <figure><figcaption>Addresses <span id=\"space-legend-{at}\"></span></figcaption>\
             <canvas id=\"space-{at}\" role=\"img\" aria-label=\"address space of {name} over the \
             trace\"></canvas></figure>\n\
             <figure><figcaption id=\"strip-caption-{at}\"></figcaption>\
             <canvas id=\"strip-{at}\" role=\"img\" aria-label=\"address space of {name} at the \
             moment pointed at\"></canvas></figure>\n\
             <figure><figcaption>Free memory: all of it, and the largest block</figcaption>\
             <canvas id=\"free-{at}\" role=\"img\" aria-label=\"free bytes and the largest free block \
             of {name}\"></canvas></figure>\n\
             <figure><figcaption>Driver calls, and bytes moved to other addresses</figcaption>\
             <canvas id=\"calls-{at}\" role=\"img\" aria-label=\"driver calls and moves of \
             {name}\"></canvas></figure></section>\n"
        )?;
    }
    let picture = picture::svg(report, Theme::Light).map_err(io::Error::other)?;
    write!(out, "</section>\n<noscript>{picture}</noscript>\n")
}
