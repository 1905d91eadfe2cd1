//! Running cargo on this workspace.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use crate::command::Program;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    // Set by `cargo run` at run time; where the program was compiled otherwise.
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    let own = PathBuf::from(own);
    own.parent().map(Path::to_owned).unwrap_or(own)
}

/// The cargo that runs this program, with `args`, at the workspace's root.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Runs a command to its end, its output going where ours goes.
///
/// # Errors
/// The command line, and how it ended.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let line = shown(command);
    eprintln!("    {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {}", ended(status))),
        Err(error) => Err(format!("`{line}` did not start: {error}")),
    }
}

/// Runs a command to its end and returns what it wrote to its standard output.
///
/// # Errors
/// The command line, and how it ended.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let line = shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{line}` did not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{line}` ended with {}", ended(output.status)));
    }
    Ok(output.stdout)
}

/// Builds a program in release mode and runs one of its subcommands from the caller's own folder, so
/// that relative paths mean what the caller means. Its exit code becomes ours.
pub(crate) fn run(program: Program, subcommand: &str, args: &[OsString]) -> ExitCode {
    let mut command = cargo(["run", "--release", "--bin", program.name(), "--manifest-path"]);
    command.arg(root().join("crates").join(program.package()).join("Cargo.toml"));
    command.arg("--").arg(subcommand).args(args);
    if let Ok(here) = env::current_dir() {
        command.current_dir(here);
    }
    match command.status() {
        Ok(status) => exit_code(status),
        Err(error) => {
            eprintln!("error: `{}` did not start: {error}", shown(&command));
            ExitCode::FAILURE
        }
    }
}

/// A program that was built, among cargo's messages.
///
/// # Errors
/// If it is not among them.
pub(crate) fn executable(messages: &str, name: &str) -> Result<PathBuf, String> {
    let programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    let is_wanted = |program: &PathBuf| program.file_stem().is_some_and(|stem| stem == name);
    let mut programs = programs.filter(is_wanted);
    programs.next().ok_or_else(|| format!("the build made no program `{name}`"))
}

/// How a command ended, as our own end.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// A command line as a person would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => "a signal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_folder_of_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/release/vmem-more"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/release/vmem"}"#,
        );
        assert_eq!(executable(messages, "vmem"), Ok(PathBuf::from("/t/release/vmem")));
        assert!(executable("", "vmem").unwrap_err().contains("made no program `vmem`"));
    }

    #[test]
    fn a_failing_command_is_reported_with_its_line_and_code() {
        let mut command = cargo(["no-such-command-of-cargo"]);
        let error = succeed(command.stderr(Stdio::null())).unwrap_err();
        assert!(error.starts_with("`cargo no-such-command-of-cargo` ended with exit code"));
    }
}
