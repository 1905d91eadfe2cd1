//! `vmem-cuda` built and run: over a driver of the user's, else over the software driver.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::cargo::{cargo, exit_code, output};
use crate::driver::SoftwareDriver;

/// The package whose programs are built.
const PACKAGE: &str = "vmem-cuda-cli";

/// The launcher, and the program that it starts.
pub(crate) const PROGRAMS: [&str; 2] = ["vmem-cuda", "vmem-cuda-linked"];

/// How much memory a device of the software driver has here, unless the environment says
/// otherwise: of a card 1 GiB stays untouched.
const CAPACITY: (&str, &str) = ("VMEM_SIM_DRIVER_CAPACITY", "4GiB");

/// What the programs are linked with and loaded beside.
#[derive(Debug)]
pub(crate) enum Driver {
    /// The one that the user's `CUDA_LIBRARY_PATH` names.
    Users,
    /// This repository's.
    Software(SoftwareDriver),
}

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// As tests are.
    Dev,
    /// To be measured.
    Release,
}

impl Driver {
    /// The user's driver, if there is one; else the software driver, laid out.
    ///
    /// # Errors
    /// If that cannot be built.
    pub(crate) fn find() -> Result<Self, String> {
        if SoftwareDriver::is_replaced() {
            eprintln!("    the driver that CUDA_LIBRARY_PATH names");
            return Ok(Self::Users);
        }
        eprintln!("    the software driver; CUDA_LIBRARY_PATH names no other");
        SoftwareDriver::lay_out().map(Self::Software)
    }

    /// `command`, linking and loading this driver.
    pub(crate) fn before<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match self {
            Self::Users => command,
            Self::Software(driver) => {
                if env::var_os(CAPACITY.0).is_none() {
                    command.env(CAPACITY.0, CAPACITY.1);
                }
                driver.before(command)
            }
        }
    }

    /// Builds the launcher and the program that it starts. Returns where they are, in the order of
    /// [`PROGRAMS`].
    ///
    /// # Errors
    /// A build that fails.
    pub(crate) fn build(&self, profile: Profile) -> Result<[PathBuf; 2], String> {
        let mut build = cargo(["build", "--package", PACKAGE, "--features", "link", "--bins"]);
        if profile == Profile::Release {
            build.arg("--release");
        }
        build.args(["--message-format", "json-render-diagnostics"]);
        let messages = output(self.before(&mut build))?;
        let messages = String::from_utf8_lossy(&messages);
        let [launcher, linked] = PROGRAMS.map(|name| executable(&messages, name));
        Ok([launcher?, linked?])
    }
}

/// Builds `vmem-cuda` in release mode and runs one of its subcommands from the caller's own folder.
/// Its exit code becomes ours.
pub(crate) fn run(subcommand: &str, args: &[OsString]) -> ExitCode {
    let status = Driver::find().and_then(|driver| {
        let [launcher, _] = driver.build(Profile::Release)?;
        let mut command = Command::new(&launcher);
        command.arg(subcommand).args(args);
        let status = driver.before(&mut command).status();
        status.map_err(|error| format!("`{}` did not start: {error}", launcher.display()))
    });
    match status {
        Ok(status) => exit_code(status),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Whether arguments of `vmem` ask for a CUDA device.
pub(crate) fn is_asked_for(args: &[OsString]) -> bool {
    let is_cuda = |value: &OsStr| value.to_string_lossy().to_ascii_lowercase().starts_with("cuda");
    let joined = |argument: &OsString| {
        let text = argument.to_string_lossy();
        text.strip_prefix("--device=").is_some_and(|value| is_cuda(OsStr::new(value)))
    };
    let apart = args.windows(2).any(|pair| pair[0] == "--device" && is_cuda(&pair[1]));
    apart || args.iter().any(joined)
}

/// A program among cargo's messages.
fn executable(messages: &str, name: &str) -> Result<PathBuf, String> {
    let programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    let is_wanted = |program: &PathBuf| program.file_stem().is_some_and(|stem| stem == name);
    let mut programs = programs.filter(is_wanted);
    programs.next().ok_or_else(|| format!("building {PACKAGE} made no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> bool {
        is_asked_for(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_cuda_device_is_found_among_the_arguments() {
        assert!(asked(&["--tier", "a", "--device", "cuda"]));
        assert!(asked(&["--device=CUDA:1"]));
        assert!(!asked(&["--device", "sim", "cuda"]));
        assert!(!asked(&["--json", "cuda"]));
    }

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/release/vmem-cuda-linked"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/release/vmem-cuda"}"#,
        );
        let launcher = executable(messages, "vmem-cuda");
        assert_eq!(launcher, Ok(PathBuf::from("/t/release/vmem-cuda")));
        assert!(executable("", "vmem-cuda").unwrap_err().contains("made no vmem-cuda"));
    }
}
