//! The program from its arguments to its exit code.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{Arguments, Command, Common, PlaceArgs};
use crate::cuda::Cuda;
use crate::measure::{Job, Place};
use crate::output::Json;
use crate::place::{self, Found};
use crate::{Backend, Error, Report, Stop, bench, convert, inspect, replay, report, table};

/// The outputs of the program.
pub struct Console<'a> {
    /// Tables, and the JSON document of `--json -`.
    pub out: &'a mut dyn Write,
    /// Errors; the table where standard output carries a document.
    pub err: &'a mut dyn Write,
    /// The choice whether a bar shows the progress of a run.
    pub progress: Progress,
    /// Asks it to end early.
    pub stop: Stop,
}

/// The choice whether a progress bar is drawn.
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

/// Runs the program with these arguments, the first of which is its name, on the simulated device
/// or, if `--device cuda` says so, on the machine's. Returns its exit code: 0 if every row passed, or
/// if nobody reads the output any more; 1 if one did not or the output could not be written; 2 if the
/// arguments or the files they name are not accepted, in which case nothing was run or written; 130 if
/// it was [asked to end](Stop) early.
///
/// A machine without a driver or a device is no failure: what needs one is skipped for that reason,
/// with exit code 0, unless `--require-device` is given.
pub fn run<I>(args: I, console: Console<'_>) -> u8
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    run_on(args, console, Arc::new(Cuda::default()))
}

/// Runs the program with the devices of `backend` in the place of CUDA's: `--device` and its name
/// asks for them. One that is [absent](crate::OpenError::Absent) is no failure either.
///
/// ```
/// use std::sync::Arc;
/// use vmem_cli::{Backend, Console, OpenError, Progress, Stop, run_on};
/// use vmem_core::Device;
///
/// #[derive(Debug)]
/// struct NoDriver;
///
/// impl Backend for NoDriver {
///     fn name(&self) -> &'static str {
///         "none"
///     }
///
///     fn open(&self, _: u32) -> Result<Arc<dyn Device>, OpenError> {
///         Err(OpenError::Absent("no driver is installed".to_owned()))
///     }
/// }
///
/// let (mut out, mut err) = (Vec::new(), Vec::new());
/// let (progress, stop) = (Progress::Hidden, Stop::default());
/// let console = Console { out: &mut out, err: &mut err, progress, stop };
/// let args = ["vmem", "bench", "--tier", "a", "--device", "none"];
/// assert_eq!(run_on(args, console, Arc::new(NoDriver)), 0);
/// assert!(String::from_utf8(out)?.contains("no driver is installed"));
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
pub fn run_on<I>(args: I, console: Console<'_>, backend: Arc<dyn Backend>) -> u8
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    program(Arguments::command(), args, console, |arguments: Arguments, console| {
        execute(&arguments.command, console, &backend)
    })
}

/// A program with these options, from its arguments to its exit code.
pub fn program<A: FromArgMatches>(
    command: clap::Command,
    args: impl IntoIterator<Item: Into<OsString> + Clone>,
    mut console: Console<'_>,
    execute: impl FnOnce(A, &mut Console<'_>) -> Result<Verdict, Error>,
) -> u8 {
    let parsed = command.try_get_matches_from(args).and_then(|found| A::from_arg_matches(&found));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(answer) => return explain(&answer, console),
    };
    match execute(arguments, &mut console) {
        Ok(verdict) => verdict.code(),
        // Whoever read the output has seen enough, as with `| head`.
        Err(error) if error.is_closed_pipe() => 0,
        Err(error) => {
            // Where even standard error is gone, the exit code alone has to tell.
            let _ = writeln!(console.err, "error: {error}");
            error.code()
        }
    }
}

/// What a command that ran came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Passed,
    /// Something is not.
    Failed,
    /// It was asked to end early.
    Interrupted,
}

impl Verdict {
    /// What the program exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Interrupted => Stop::CODE,
        }
    }
}

impl From<bool> for Verdict {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

/// Prints help, the version, or what is wrong with the arguments.
fn explain(answer: &clap::Error, console: Console<'_>) -> u8 {
    let (text, elsewhere) = (answer.render(), elsewhere(answer));
    let (stream, code) = if answer.use_stderr() { (console.err, 2) } else { (console.out, 0) };
    match write!(stream, "{text}{elsewhere}") {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(_) => code.max(1),
    }
}

/// What only the laboratory knows.
const LABORATORY: &[&str] = &["matrix", "micro", "soak", "compact", "--compare", "--traces"];

/// Where to find what is not in this program.
fn elsewhere(answer: &clap::Error) -> String {
    let named = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let named = named.into_iter().find_map(|kind| match answer.get(kind) {
        Some(ContextValue::String(name)) if LABORATORY.contains(&name.as_str()) => Some(name),
        _ => None,
    });
    named.map_or_else(String::new, |name| {
        format!("\n`{name}` is in `vmem-lab`, which is in vmem's repository and not published.\n")
    })
}

/// Checks all that was asked for, then runs it, then prints.
fn execute(
    command: &Command,
    console: &mut Console<'_>,
    backend: &Arc<dyn Backend>,
) -> Result<Verdict, Error> {
    match command {
        Command::Bench(bench) => {
            let jobs = |place: &Place, _: &mut dyn Write| bench::jobs(bench, place);
            rows(&bench.common, console, backend, table::write, jobs)
        }
        Command::Replay(replay) => {
            let jobs = |place: &Place, notes: &mut dyn Write| replay::jobs(replay, place, notes);
            rows(&replay.common, console, backend, table::write, jobs)
        }
        Command::Convert(args) => convert::run(args, console),
        Command::Inspect(args) => inspect::run(args, console),
        Command::Report(args) => report::run(args, console, backend),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Arguments::command(), "vmem", &mut script);
            console.out.write_all(&script)?;
            Ok(Verdict::Passed)
        }
    }
}

/// Writes rows for people, under a header.
pub type WriteRows = fn(&str, &[crate::Row], &mut dyn Write) -> io::Result<()>;

/// Runs jobs of one row each, and prints the rows.
///
/// # Errors
/// Usage, as `jobs` says; an output that cannot be written; a device that fails.
pub fn rows(
    common: &Common,
    console: &mut Console<'_>,
    backend: &Arc<dyn Backend>,
    write: WriteRows,
    jobs: impl FnOnce(&Place, &mut dyn Write) -> Result<Vec<Job>, Error>,
) -> Result<Verdict, Error> {
    let (place, facts, header) = match place::find(common, backend)? {
        Found::Place { place, facts, header } => (place, facts, header),
        Found::Absent(reason) => {
            let json = Json::open(common.place.json.as_deref())?;
            return absent(&common.place, &reason, &json, console);
        }
    };
    let json = Json::open(common.place.json.as_deref())?;
    let jobs = reading(console, |notes| jobs(&place, notes))?;
    let bar = bar(jobs.len(), console.progress);
    let mut rows = Vec::with_capacity(jobs.len());
    for job in &jobs {
        if console.stop.is_requested() {
            break;
        }
        bar.set_message(job.to_string());
        rows.push(job.measure());
        bar.inc(1);
    }
    bar.finish_and_clear();
    let interrupted = rows.len() < jobs.len();
    let report = Report { device: Some(facts), interrupted, ..Report::new(rows) };
    let written = json.write(&report, console.out);
    // A document that cannot be written should not cost the table.
    write(&header, &report.rows, console.people(&json))?;
    if interrupted {
        let done = report.rows.len();
        writeln!(console.people(&json), "interrupted: {done} of {} done", jobs.len())?;
    }
    written?;
    Ok(if interrupted { Verdict::Interrupted } else { report.passed().into() })
}

/// Says that nothing ran because the device is not there.
fn absent(
    args: &PlaceArgs,
    reason: &str,
    json: &Json,
    console: &mut Console<'_>,
) -> Result<Verdict, Error> {
    if args.require_device {
        return Err(Error::failed(reason));
    }
    json.write(
        &Report { skipped: Some(reason.to_owned()), ..Report::new(Vec::new()) },
        console.out,
    )?;
    writeln!(console.people(json), "skipped: {reason}")?;
    Ok(Verdict::Passed)
}

impl Console<'_> {
    /// Where text for people goes beside a document.
    pub fn people(&mut self, json: &Json) -> &mut dyn Write {
        if json.is_stdout() { self.err } else { self.out }
    }
}

/// Does what reads or makes traces, with a sign that it goes on; what it notes stands above that.
pub(crate) fn reading<T>(
    console: &mut Console<'_>,
    read: impl FnOnce(&mut dyn Write) -> Result<T, Error>,
) -> Result<T, Error> {
    let bar = bar(0, console.progress).with_message("reading");
    let read = read(&mut Above { bar: &bar, to: console.err });
    bar.finish_and_clear();
    read
}

/// Writes while a bar is shown.
struct Above<'a> {
    bar: &'a ProgressBar,
    to: &'a mut dyn Write,
}

impl Write for Above<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| self.to.write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// How often a bar moves while one step lasts.
const TICK: Duration = Duration::from_millis(200);

/// A bar of `steps` steps; none for one whose end is not known. It moves while a step lasts.
pub fn bar(steps: usize, progress: Progress) -> ProgressBar {
    let target = match progress {
        Progress::Shown => ProgressDrawTarget::stderr(),
        Progress::Hidden => ProgressDrawTarget::hidden(),
    };
    let steps = u64::try_from(steps).ok().filter(|&steps| steps > 0);
    let template = match steps {
        Some(_) => "{spinner} {bar:24} {human_pos}/{human_len} {elapsed} {wide_msg}",
        None => "{spinner} {elapsed} {wide_msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is a valid one");
    let bar = ProgressBar::with_draw_target(steps, target).with_style(style);
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}
