//! The program from its arguments to its exit code.

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use clap::CommandFactory;
use vmem_cli::parts::{Cuda, Error, Place, Verdict, bench, program, replay, report, rows, table};
use vmem_cli::{Backend, Console};

use crate::args::{Arguments, Command, Comparing};
use crate::{compact, compare, matrix, micro, peers, soak};

/// Runs the program with these arguments, the first of which is its name. Exit codes are those of
/// [`vmem_cli::run`].
pub fn run<I>(args: I, console: Console<'_>) -> u8
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    run_on(args, console, Arc::new(Cuda::default()))
}

/// The same with the devices of `backend` in the place of CUDA's.
pub fn run_on<I>(args: I, console: Console<'_>, backend: Arc<dyn Backend>) -> u8
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    let mut command = Arguments::command();
    for name in ["bench", "replay", "report"] {
        command = command.mut_subcommand(name, |command| {
            command.mut_arg("tier", |tier| tier.value_parser(peers::parse))
        });
    }
    program(command, args, console, |arguments: Arguments, console| {
        execute(&arguments.command, console, &backend)
    })
}

fn execute(
    command: &Command,
    console: &mut Console<'_>,
    backend: &Arc<dyn Backend>,
) -> Result<Verdict, Error> {
    match command {
        Command::Bench(Comparing { bench, compare: true, traces }) => {
            let jobs = |place: &Place, notes: &mut dyn Write| {
                compare::jobs(bench, traces.as_deref(), place, notes)
            };
            rows(&bench.common, console, backend, compare::write, jobs)
        }
        Command::Bench(Comparing { bench, .. }) => {
            let jobs = |place: &Place, _: &mut dyn Write| bench::jobs(bench, place);
            rows(&bench.common, console, backend, table::write, jobs)
        }
        Command::Replay(replay) => {
            let jobs = |place: &Place, notes: &mut dyn Write| replay::jobs(replay, place, notes);
            rows(&replay.common, console, backend, table::write, jobs)
        }
        Command::Report(args) => report::run(args, console, backend),
        Command::Matrix(args) => matrix::run(args, console, backend),
        Command::Micro(args) => micro::run(args, console, backend),
        Command::Soak(args) => soak::run(args, console),
        Command::Compact(args) => compact::run(args, console),
    }
}
