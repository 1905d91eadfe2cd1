//! The repository's commands, run as `cargo xtask …`.
//!
//! `bench`, `replay`, `report`, `matrix`, `micro` and `soak` build `vmem` or `vmem-lab` in release mode and
//! hand it every further argument; `driver` runs a command over the software driver; `test` and `ci`
//! run the checks that a change must pass. This program links no crate of vmem: it builds, lays out
//! and forwards.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a program for people at a terminal says what it does")]

mod browser;
mod bundle;
mod cargo;
mod checks;
mod command;
mod consumers;
mod driver;
mod glibc;
mod licences;
mod metadata;
mod mutants;
mod package;
mod page;
mod public;
mod python;
mod rmm;
mod size;
mod steps;
mod tidy;
mod viewer;

use std::process::ExitCode;

use command::Command;
use steps::Steps;

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("error: {message}\n\n{}", command::USAGE);
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Help => {
            eprintln!("{}", command::USAGE);
            ExitCode::SUCCESS
        }
        Command::Run { program, subcommand, args } => cargo::run(program, subcommand, &args),
        Command::Bundle(folder) => finish(|steps| {
            steps.run("bundle", || bundle::lay_out(bundle::Profile::Release, &folder))
        }),
        Command::Driver(command) => driver::run(&command),
        Command::Tidy => finish(checks::tidy),
        Command::Mutants => finish(mutants::test),
        Command::Size(package) => {
            finish(|steps| steps.run("size", || size::print(package.as_deref())))
        }
        Command::Public => finish(checks::public),
        Command::Package => finish(checks::package),
        Command::Python => finish(checks::python),
        Command::Test => finish(checks::test),
        Command::Ci => finish(checks::ci),
    }
}

/// Runs a list of steps and says how it ended.
fn finish(list: impl FnOnce(&mut Steps) -> Result<(), String>) -> ExitCode {
    let mut steps = Steps::new();
    match list(&mut steps) {
        Ok(()) => {
            eprintln!("\nall {} steps passed\n{steps}", steps.passed());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("\nerror: {message}\n{steps}");
            ExitCode::FAILURE
        }
    }
}
