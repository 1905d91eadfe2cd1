//! The program from its arguments to its exit code.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{Arguments, Bench, Command};
use crate::output::Json;
use crate::{Error, Report, bench, compare, device, replay, table};

/// What the program writes to.
pub struct Console<'a> {
    /// Tables, and the JSON document of `--json -`.
    pub out: &'a mut dyn Write,
    /// Errors; the table where standard output carries a document.
    pub err: &'a mut dyn Write,
    /// Whether a bar says how far a run is.
    pub progress: Progress,
}

/// Whether a progress bar is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// On the process's standard error, if that is a terminal.
    Shown,
    /// Not at all.
    Hidden,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// Runs the program with these arguments, the first of which is its name. Returns its exit code: 0
/// if every row passed, 1 if one did not or the output could not be written, 2 if the arguments or
/// the files they name are not accepted, in which case nothing was run or written.
pub fn run<I>(args: I, mut console: Console<'_>) -> u8
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(answer) => return explain(&answer, console),
    };
    match execute(arguments.command, &mut console) {
        Ok(report) if report.passed() => 0,
        Ok(_) => 1,
        Err(error) => {
            // Where even standard error is gone, the exit code alone has to tell.
            let _ = writeln!(console.err, "error: {error}");
            error.code()
        }
    }
}

/// Prints help, the version, or what is wrong with the arguments.
fn explain(answer: &clap::Error, console: Console<'_>) -> u8 {
    let text = answer.render();
    let (stream, code) = if answer.use_stderr() { (console.err, 2) } else { (console.out, 0) };
    match write!(stream, "{text}") {
        Ok(()) => code,
        Err(_) => code.max(1),
    }
}

/// Checks all that was asked for, then runs it, then prints.
fn execute(command: Command, console: &mut Console<'_>) -> Result<Report, Error> {
    let common = match &command {
        Command::Bench(bench) => &bench.common,
        Command::Replay(replay) => &replay.common,
    };
    let header = format!("simulated device, {common}");
    device::open(common.capacity, common.seed).map_err(|error| Error::usage(error.to_string()))?;
    let json = Json::open(common.json.as_deref())?;
    let jobs = match &command {
        Command::Bench(bench) => bench::jobs(bench)?,
        Command::Replay(replay) => replay::jobs(replay)?,
    };
    let bar = bar(jobs.len(), console.progress);
    let mut rows = Vec::with_capacity(jobs.len());
    for job in &jobs {
        bar.set_message(job.to_string());
        rows.push(job.measure());
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report::new(rows);
    let written = json.write(&report, console.out);
    let people = if json.is_stdout() { &mut console.err } else { &mut console.out };
    // A document that cannot be written should not cost the table.
    match command {
        Command::Bench(Bench { compare: true, .. }) => {
            compare::write(&header, &report.rows, people)?;
        }
        _ => table::write(&header, &report.rows, people)?,
    }
    written?;
    Ok(report)
}

/// A bar of `steps` steps.
fn bar(steps: usize, progress: Progress) -> ProgressBar {
    let target = match progress {
        Progress::Shown => ProgressDrawTarget::stderr(),
        Progress::Hidden => ProgressDrawTarget::hidden(),
    };
    let steps = u64::try_from(steps).unwrap_or(u64::MAX);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}")
        .expect("the template is a valid one");
    ProgressBar::with_draw_target(Some(steps), target).with_style(style)
}
