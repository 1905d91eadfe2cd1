//! The software driver: built, laid out, and put before the loader and the linker.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cargo::{cargo, exit_code, output, root, succeed};
use crate::metadata::Metadata;
use crate::rmm;
use crate::steps::Steps;

/// The crate whose tests run over the driver.
pub(crate) const CRATE: &str = "vmem-cuda";

/// The crate that is the C ABI over it.
const C_CRATE: &str = "vmem-capi";

/// The crate that brings cudarc.
pub(crate) const CUDARC_CRATE: &str = "vmem-cudarc";

/// What programs on cudarc rely on, which the software driver does only without a strictness of its own.
pub(crate) const FOR_CUDARC: (&str, &str) = (STRICTNESS_VARIABLE, "-PAGEABLE_COPIES");

/// The feature of the CUDA crate under which the driver is linked.
pub(crate) const LINKING: &str = "cust";

/// The package that is the driver.
const PACKAGE: &str = "vmem-sim-driver";

/// Where the driver is laid out.
const FOLDER: &str = "crates/vmem-cuda/link";

/// What tells the bindings that `cust` is on where to link the driver.
pub(crate) const LINK_VARIABLE: &str = "CUDA_LIBRARY_PATH";

/// What says which calls the software driver refuses although NVIDIA's does not.
const STRICTNESS_VARIABLE: &str = "VMEM_SIM_DRIVER_STRICTNESS";

/// The modules of the crate's tests that also run without such refusals.
const MOST_CALLS: [&str; 6] =
    ["capture::", "conformance::", "context::", "parts::", "streams::", "tiers::"];

/// What makes tests that need a driver fail without one, rather than be skipped.
const REQUIRED_VARIABLE: &str = "REQUIRE_CUDA_DRIVER";

/// A software driver that is laid out.
#[derive(Debug)]
pub(crate) struct SoftwareDriver {
    folder: PathBuf,
}

impl SoftwareDriver {
    /// Builds the driver and lays it out.
    ///
    /// # Errors
    /// A build that fails, or a file that cannot be written.
    pub(crate) fn lay_out() -> Result<Self, String> {
        let mut build = cargo(["build", "--package", PACKAGE]);
        let messages = output(build.args(["--message-format", "json-render-diagnostics"]))?;
        let built = library(&String::from_utf8_lossy(&messages))?;
        let driver = Self { folder: root().join(FOLDER) };
        let folder = driver.libraries();
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // The loader looks for the first name, the linker and cudarc for the second. One file, as on
        // an installed system: of two the loader would make two drivers in one process. It is the one
        // that was built, as cargo has the loader look among what it builds first.
        for name in ["libcuda.so.1", "libcuda.so"] {
            link(&built, &folder.join(name))?;
        }
        Ok(driver)
    }

    /// The folder that its libraries are in.
    fn libraries(&self) -> PathBuf {
        self.folder.join("lib64")
    }

    /// `command`, loading this driver, and linking it if it links one, whatever else the caller's
    /// environment names.
    pub(crate) fn before<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_LIBRARY_PATH", before_loader(&self.libraries()))
            .env(LINK_VARIABLE, &self.folder)
            .env(REQUIRED_VARIABLE, "1")
    }
}

/// The value of `LD_LIBRARY_PATH` with which the loader looks in a folder first.
pub(crate) fn before_loader(folder: &Path) -> OsString {
    let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let others = env::split_paths(&others).filter(|path| !path.as_os_str().is_empty());
    let paths = std::iter::once(folder.to_owned()).chain(others.collect::<Vec<_>>());
    // A folder with a colon in its name cannot be in such a list at all.
    env::join_paths(paths).unwrap_or_else(|_| folder.as_os_str().to_owned())
}

/// Runs a command over the software driver from the caller's own folder. Its exit code becomes
/// ours.
pub(crate) fn run(line: &[OsString]) -> ExitCode {
    let Some((program, args)) = line.split_first() else {
        return ExitCode::FAILURE;
    };
    let status = SoftwareDriver::lay_out().and_then(|driver| {
        let mut command = Command::new(program);
        let status = driver.before(command.args(args)).status();
        status.map_err(|error| format!("`{}` did not start: {error}", program.display()))
    });
    match status {
        Ok(status) => exit_code(status),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The tests, documentation examples and examples of the CUDA crate, with and without the feature
/// that links the driver, and the tests of the C ABI.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn test(steps: &mut Steps, workspace: &Metadata) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        eprintln!("\n==> skipped: the software driver is a library of Linux");
        return Ok(());
    }
    let mut driver = None;
    steps.run("software driver", || {
        driver = Some(SoftwareDriver::lay_out()?);
        Ok(())
    })?;
    let Some(driver) = driver else {
        return Ok(());
    };
    let test = ["test", "--package", CRATE];
    steps.run(format!("{CRATE} over the software driver"), || {
        succeed(driver.before(&mut cargo(test)))
    })?;
    steps.run(format!("{CRATE} over the software driver without strictness"), || {
        let mut command = cargo(test);
        // What calls the driver most, on one that refuses nothing that NVIDIA's does not.
        command.args(["--test", "all", "--"]).args(MOST_CALLS);
        succeed(driver.before(&mut command).env(STRICTNESS_VARIABLE, "none"))
    })?;
    steps.run(format!("{CRATE} with {LINKING} over the software driver"), || {
        let mut command = cargo(test);
        command.args(["--features", LINKING, "--lib", "--test", "all"]);
        // What the feature adds, and what it could break: which driver is loaded.
        command.args(["--", "sys::", "cust::", "open::"]);
        succeed(driver.before(&mut command))
    })?;
    let wheels = rmm::wheels(steps, workspace)?;
    steps.run(format!("{C_CRATE} over the software driver"), || {
        let mut command = cargo(["test", "--package", C_CRATE]);
        command.envs(wheels.iter().map(|folders| (rmm::VARIABLE, folders)));
        succeed(driver.before(&mut command))
    })?;
    steps.run(format!("{CUDARC_CRATE} over the software driver"), || {
        let mut command = cargo(["test", "--package", CUDARC_CRATE]);
        succeed(driver.before(&mut command).env(FOR_CUDARC.0, FOR_CUDARC.1))
    })?;
    [CRATE, CUDARC_CRATE].into_iter().try_for_each(|name| examples(steps, workspace, &driver, name))
}

/// The examples of a crate.
fn examples(
    steps: &mut Steps,
    workspace: &Metadata,
    driver: &SoftwareDriver,
    name: &str,
) -> Result<(), String> {
    let package = workspace.members().find(|member| member.name == name);
    let targets = package.map_or(&[][..], |package| &package.targets);
    for example in targets.iter().filter(|target| target.kind == ["example"]) {
        steps.run(format!("{name}'s example `{}`", example.name), || {
            let mut command = cargo(["run", "--package", name, "--example", &example.name]);
            command.args(["--features", &example.required_features.join(",")]);
            let command = driver.before(&mut command);
            if name == CUDARC_CRATE {
                command.env(FOR_CUDARC.0, FOR_CUDARC.1);
            }
            succeed(command)
        })?;
    }
    Ok(())
}

/// The library among cargo's messages.
fn library(messages: &str) -> Result<PathBuf, String> {
    let artifacts = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?.clone();
        Some(files.into_iter().filter_map(|file| file.as_str().map(PathBuf::from)))
    });
    artifacts
        .flatten()
        .find(|file| file.file_name().is_some_and(|name| name == "libcuda.so"))
        .ok_or_else(|| format!("building {PACKAGE} made no libcuda.so"))
}

/// Makes `to` another name of the file `from`, whatever it was before. Programs that have loaded the old one
/// keep it.
fn link(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    let partial = to.with_extension("link");
    let _ = fs::remove_file(&partial);
    fs::hard_link(from, &partial).map_err(failed)?;
    fs::rename(&partial, to).map_err(failed)?;
    // It stays where both were one file before.
    let _ = fs::remove_file(&partial);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_among_the_messages_of_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","filenames":["/t/debug/libvmem_sim.rlib"]}"#,
            "\nnot json\n",
            r#"{"reason":"build-script-executed","out_dir":"/t"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","filenames":["/t/debug/libcuda.so"]}"#,
        );
        assert_eq!(library(messages), Ok(PathBuf::from("/t/debug/libcuda.so")));
        assert!(library("").unwrap_err().contains("made no libcuda.so"));
    }

    #[test]
    fn commands_get_the_driver_for_loading_and_linking_and_must_use_it() {
        let driver = SoftwareDriver { folder: PathBuf::from("/link") };
        let mut command = Command::new("true");
        driver.before(&mut command);
        let value = |name| {
            let mut values = command.get_envs().filter(|(key, _)| *key == name);
            values.next().and_then(|(_, value)| value).unwrap().to_owned()
        };
        assert_eq!(value(LINK_VARIABLE), "/link");
        assert_eq!(value(REQUIRED_VARIABLE), "1");
        let first = env::split_paths(&value("LD_LIBRARY_PATH")).next();
        assert_eq!(first, Some(PathBuf::from("/link/lib64")));
    }
}
