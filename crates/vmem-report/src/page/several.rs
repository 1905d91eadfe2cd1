//! Several pages in one.

use std::io::{self, Write};

use super::html::escape;
use crate::report::Report;

const STYLE: &str = include_str!("assets/several.css");
const SCRIPT: &str = include_str!("assets/several.js");

/// Writes a page that has the pages of these reports in it, one of them shown.
pub(crate) fn write(reports: &[Report], out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>vmem report</title>\n<style>\n{STYLE}</style></head>\n<body><nav id=\"traces\"></nav>\n"
    )?;
    for report in reports {
        let mut page = Vec::new();
        super::write(report, &mut page)?;
        let page = String::from_utf8_lossy(&page);
        writeln!(
            out,
            "<iframe data-trace=\"{0}\" title=\"{0}\" srcdoc=\"{1}\"></iframe>",
            escape(&report.timeline.name),
            escape(&page)
        )?;
    }
    writeln!(out, "<script>\n{SCRIPT}</script>\n</body></html>")
}
