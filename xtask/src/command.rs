//! What a command line asks for.

use std::ffi::OsString;

/// What is accepted, in words.
pub(crate) const USAGE: &str = "\
usage: cargo xtask COMMAND [ARGUMENT…]

  bench [ARGUMENT…]   build `vmem` in release mode and run `vmem bench ARGUMENT…`
  replay [ARGUMENT…]  the same for `vmem replay ARGUMENT…`
  test                all tests, documentation examples, loom models and feature checks
  ci                  format, tidy, licences, lints, everything in `test`, documentation
  help                this text

`cargo xtask bench --help` lists what `vmem bench` accepts.";

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
            Some("test") => alone("test", args).map(|()| Self::Test),
            Some("ci") => alone("ci", args).map(|()| Self::Ci),
            Some("help" | "--help" | "-h") => Ok(Self::Help),
            _ => Err(format!("unknown command `{}`", name.display())),
        }
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
    }

    #[test]
    fn commands_without_arguments_refuse_them() {
        let message = "`test` takes no arguments, but `--release` follows it";
        assert_eq!(parse(&["test", "--release"]), Err(message.to_owned()));
        assert_eq!(parse(&["ci"]), Ok(Command::Ci));
    }
}
