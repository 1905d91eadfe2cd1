//! What a command line asks for.

use std::ffi::OsString;
use std::path::PathBuf;

/// What is accepted, in words.
pub(crate) const USAGE: &str = "\
usage: cargo xtask COMMAND [ARGUMENT…]

  bench [ARGUMENT…]   build `vmem` in release mode and run `vmem bench ARGUMENT…`
  replay [ARGUMENT…]  the same for `vmem replay ARGUMENT…`
  matrix [ARGUMENT…]  the same for `vmem matrix ARGUMENT…`
  micro [ARGUMENT…]   the same for `vmem micro ARGUMENT…`
  soak [ARGUMENT…]    the same for `vmem soak ARGUMENT…`
  matrix --bundle DIR `vmem` and a script for a machine with a GPU and without Rust
  driver COMMAND…     build the software driver and run COMMAND where it is the CUDA driver, as in
                      `cargo xtask driver cargo test -p vmem-cuda`
  tidy                check the house rules that no lint knows
  package             package what is published, and build the programs of the README from the packages
  public              list the public items of each library
  test                all tests, documentation examples, loom models and feature checks
  ci                  format, tidy, licences, lints, everything in `test`, documentation
  help                this text

`cargo xtask bench --help` lists what `vmem bench` accepts. With `--device cuda` it runs on the
machine's first GPU; `cargo xtask driver cargo xtask bench --device cuda` tries that without one.";

/// One command of this program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the usage.
    Help,
    /// Run the `vmem` program.
    Vmem {
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
    /// Make the packages and try them.
    Package,
    /// Run the tests.
    Test,
    /// Run everything that a change must pass.
    Ci,
}

impl Command {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let Some(name) = args.next() else {
            return Err("a command is missing".to_owned());
        };
        match name.to_str() {
            Some("bench") => Ok(Self::Vmem { subcommand: "bench", args: args.collect() }),
            Some("replay") => Ok(Self::Vmem { subcommand: "replay", args: args.collect() }),
            Some("matrix") => matrix(args.collect()),
            Some("micro") => Ok(Self::Vmem { subcommand: "micro", args: args.collect() }),
            Some("soak") => Ok(Self::Vmem { subcommand: "soak", args: args.collect() }),
            Some("driver") => match args.collect::<Vec<_>>() {
                none if none.is_empty() => Err("`driver` needs a command to run".to_owned()),
                command => Ok(Self::Driver(command)),
            },
            Some("tidy") => alone("tidy", args).map(|()| Self::Tidy),
            Some("package") => alone("package", args).map(|()| Self::Package),
            Some("public") => alone("public", args).map(|()| Self::Public),
            Some("test") => alone("test", args).map(|()| Self::Test),
            Some("ci") => alone("ci", args).map(|()| Self::Ci),
            Some("help" | "--help" | "-h") => Ok(Self::Help),
            _ => Err(format!("unknown command `{}`", name.display())),
        }
    }
}

/// `matrix` forwards, unless a bundle is asked for.
fn matrix(args: Vec<OsString>) -> Result<Command, String> {
    match &args[..] {
        [bundle, folder] if bundle == "--bundle" => Ok(Command::Bundle(PathBuf::from(folder))),
        args if args.iter().any(|argument| argument == "--bundle") => {
            Err("`matrix --bundle` takes a folder and nothing else".to_owned())
        }
        _ => Ok(Command::Vmem { subcommand: "matrix", args }),
    }
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
        let expected = Command::Vmem {
            subcommand: "replay",
            args: args[1..].iter().map(OsString::from).collect(),
        };
        assert_eq!(parse(&args), Ok(expected));
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
        let forwarded = Command::Vmem { subcommand: "matrix", args: vec!["--tier".into()] };
        assert_eq!(parse(&["matrix", "--tier"]), Ok(forwarded));
    }

    #[test]
    fn commands_without_arguments_refuse_them() {
        let message = "`test` takes no arguments, but `--release` follows it";
        assert_eq!(parse(&["test", "--release"]), Err(message.to_owned()));
        assert_eq!(parse(&["ci"]), Ok(Command::Ci));
    }
}
