//! What a command line asks for.

use std::ffi::OsString;
use std::path::PathBuf;

/// What is accepted, in words.
pub(crate) const USAGE: &str = "\
usage: cargo xtask COMMAND [ARGUMENT…]

  bench [ARGUMENT…]   build `vmem` in release mode and run `vmem bench ARGUMENT…`; `vmem-lab`, which
                      knows other allocators too, where stacks are named or compared
  replay [ARGUMENT…]  the same for `replay`
  report [ARGUMENT…]  the same for `report`
  matrix [ARGUMENT…]  build `vmem-lab` in release mode and run `vmem-lab matrix ARGUMENT…`
  micro [ARGUMENT…]   the same for `micro`
  soak [ARGUMENT…]    the same for `soak`
  matrix --bundle DIR `vmem-lab` and a script for a machine with a GPU and without Rust
  driver COMMAND…     build the software driver and run COMMAND where it is the CUDA driver, as in
                      `cargo xtask driver cargo test -p vmem-cuda`
  tidy                check the house rules that no lint knows
  package             package what is published, and build the programs of the README from the packages
  python              build the Python package's wheel, and test it where Python 3.10 is found
  public              list the public items of each library
  mutants             plant faults in the pool's rules, one at a time: a test must notice each
  size [CRATE]        count a crate's types, lines of code, and functions that share a type's inside
  test                all tests, documentation examples, loom models and feature checks
  ci                  format, tidy, licences, lints, everything in `test`, documentation
  help                this text

`cargo xtask bench --help` lists what `vmem bench` accepts, `cargo xtask bench --compare --help` what
`vmem-lab bench` accepts. With `--device cuda` it runs on the
machine's first GPU; `cargo xtask driver cargo xtask bench --device cuda` tries that without one.";

/// One command of this program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the usage.
    Help,
    /// Run a program of this workspace.
    Run {
        /// Which.
        program: Program,
        /// Its subcommand.
        subcommand: &'static str,
        /// What follows, untouched.
        args: Vec<OsString>,
    },
    /// Lay out a bundle in this folder.
    Bundle(PathBuf),
    /// Run a command over the software driver.
    Driver(Vec<OsString>),
    /// Check the house rules.
    Tidy,
    /// List what is public.
    Public,
    /// Plant faults and test that they are noticed.
    Mutants,
    /// Count what a crate consists of.
    Size(Option<String>),
    /// Make the packages and try them.
    Package,
    /// Build the Python package and test it.
    Python,
    /// Run the tests.
    Test,
    /// Run everything that a change must pass.
    Ci,
}

/// The programs for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The published one.
    Vmem,
    /// The laboratory: all of that, checks, and models of other allocators.
    Lab,
}

impl Program {
    /// Its package.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Vmem => "vmem-cli",
            Self::Lab => "vmem-lab",
        }
    }

    /// The program's own name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vmem => "vmem",
            Self::Lab => "vmem-lab",
        }
    }
}

impl Command {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let Some(name) = args.next() else {
            return Err("a command is missing".to_owned());
        };
        match name.to_str() {
            Some("bench") => Ok(measured("bench", args.collect())),
            Some("replay") => Ok(measured("replay", args.collect())),
            Some("report") => Ok(measured("report", args.collect())),
            Some("matrix") => matrix(args.collect()),
            Some("micro") => Ok(in_the_lab("micro", args.collect())),
            Some("soak") => Ok(in_the_lab("soak", args.collect())),
            Some("driver") => match args.collect::<Vec<_>>() {
                none if none.is_empty() => Err("`driver` needs a command to run".to_owned()),
                command => Ok(Self::Driver(command)),
            },
            Some("tidy") => alone("tidy", args).map(|()| Self::Tidy),
            Some("package") => alone("package", args).map(|()| Self::Package),
            Some("python") => alone("python", args).map(|()| Self::Python),
            Some("mutants") => alone("mutants", args).map(|()| Self::Mutants),
            Some("size") => size(args),
            Some("public") => alone("public", args).map(|()| Self::Public),
            Some("test") => alone("test", args).map(|()| Self::Test),
            Some("ci") => alone("ci", args).map(|()| Self::Ci),
            Some("help" | "--help" | "-h") => Ok(Self::Help),
            _ => Err(format!("unknown command `{}`", name.display())),
        }
    }
}

/// What both programs have. The laboratory's is taken where a stack may be one that only it knows.
fn measured(subcommand: &'static str, args: Vec<OsString>) -> Command {
    let own = args.iter().take_while(|argument| *argument != "--");
    let mut lab = own.filter(|argument| {
        let text = argument.to_string_lossy();
        let option = text.split_once('=').map_or(&*text, |(option, _)| option);
        ["--tier", "--compare", "--traces"].contains(&option)
    });
    let program = if lab.next().is_some() { Program::Lab } else { Program::Vmem };
    Command::Run { program, subcommand, args }
}

fn in_the_lab(subcommand: &'static str, args: Vec<OsString>) -> Command {
    Command::Run { program: Program::Lab, subcommand, args }
}

/// `matrix` forwards, unless a bundle is asked for.
fn matrix(args: Vec<OsString>) -> Result<Command, String> {
    match &args[..] {
        [bundle, folder] if bundle == "--bundle" => Ok(Command::Bundle(PathBuf::from(folder))),
        args if args.iter().any(|argument| argument == "--bundle") => {
            Err("`matrix --bundle` takes a folder and nothing else".to_owned())
        }
        _ => Ok(in_the_lab("matrix", args)),
    }
}

/// `size` takes the name of a crate, or nothing.
fn size(mut args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let package = args.next().map(|name| name.to_string_lossy().into_owned());
    alone("size CRATE", args).map(|()| Command::Size(package))
}

/// Refuses arguments after a command that takes none.
fn alone(command: &str, mut rest: impl Iterator<Item = OsString>) -> Result<(), String> {
    match rest.next() {
        None => Ok(()),
        Some(argument) => {
            Err(format!("`{command}` takes no arguments, but `{}` follows it", argument.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Command, String> {
        Command::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn arguments_of_bench_and_replay_pass_through_untouched() {
        let args = ["replay", "a.csv", "--help", "--", "-x"];
        let expected = Command::Run {
            program: Program::Vmem,
            subcommand: "replay",
            args: args[1..].iter().map(OsString::from).collect(),
        };
        assert_eq!(parse(&args), Ok(expected));
    }

    #[test]
    fn the_laboratory_runs_what_only_it_has_and_stacks_that_only_it_may_know() {
        let program = |line: &str| match parse(&line.split(' ').collect::<Vec<_>>()) {
            Ok(Command::Run { program, .. }) => program,
            other => panic!("{line}: {other:?}"),
        };
        for line in [
            "bench",
            "bench --scale 1k --json -",
            "replay a.csv --min-device",
            "bench --help",
            "replay -- --tier",
            "bench --tiers",
        ] {
            assert_eq!(program(line), Program::Vmem, "{line}");
        }
        for line in [
            "bench --compare",
            "bench --tier rmm",
            "replay a.csv --tier=a,torch",
            "matrix",
            "micro --samples 5",
            "soak --minutes 1",
        ] {
            assert_eq!(program(line), Program::Lab, "{line}");
        }
    }

    #[test]
    fn unknown_and_missing_commands_are_named() {
        assert_eq!(parse(&["bnech"]), Err("unknown command `bnech`".to_owned()));
        assert_eq!(parse(&[]), Err("a command is missing".to_owned()));
        assert_eq!(parse(&["driver"]), Err("`driver` needs a command to run".to_owned()));
    }

    #[test]
    fn a_bundle_needs_a_folder_and_nothing_else() {
        assert_eq!(parse(&["matrix", "--bundle", "d"]), Ok(Command::Bundle("d".into())));
        for bad in [&["matrix", "--bundle"][..], &["matrix", "--bundle", "d", "--tier", "a"]] {
            assert!(parse(bad).unwrap_err().contains("takes a folder"));
        }
        let forwarded = in_the_lab("matrix", vec!["--tier".into()]);
        assert_eq!(parse(&["matrix", "--tier"]), Ok(forwarded));
    }

    #[test]
    fn commands_without_arguments_refuse_them() {
        let message = "`test` takes no arguments, but `--release` follows it";
        assert_eq!(parse(&["test", "--release"]), Err(message.to_owned()));
        assert_eq!(parse(&["ci"]), Ok(Command::Ci));
        assert_eq!(parse(&["size"]), Ok(Command::Size(None)));
        assert_eq!(parse(&["size", "vmem-core"]), Ok(Command::Size(Some("vmem-core".to_owned()))));
    }
}
