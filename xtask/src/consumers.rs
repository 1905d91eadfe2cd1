//! Programs outside the workspace that use the CUDA crate, as anybody else's would: built from examples,
//! without this repository's cargo configuration, and started with a driver and without one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{cargo, executable, output, root};
use crate::driver::{self, LINK_VARIABLE, SoftwareDriver, before_loader};
use crate::steps::Steps;

/// A project with one program, which is an example of the CUDA crate.
#[derive(Debug)]
struct Consumer {
    /// The example, and the project's name.
    example: &'static str,
    /// Lines of its `[dependencies]`; `{crates}` is the folder of ours.
    dependencies: &'static [&'static str],
}

/// A program that has nothing of CUDA's.
const PLAIN: Consumer = Consumer {
    example: "stack",
    dependencies: &[
        "vmem-adaptors = { path = '{crates}/vmem-adaptors' }",
        "vmem-core = { path = '{crates}/vmem-core' }",
        "vmem-cuda = { path = '{crates}/vmem-cuda' }",
        "vmem-pool = { path = '{crates}/vmem-pool' }",
    ],
};

/// A program on the bindings, which link the driver.
const LINKING: Consumer = Consumer {
    example: "share_stream",
    dependencies: &[
        "cust = '*'",
        "vmem-core = { path = '{crates}/vmem-core' }",
        "vmem-cuda = { path = '{crates}/vmem-cuda', features = ['cust'] }",
    ],
};

/// Builds and runs both.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn test(steps: &mut Steps, scratch: &Path) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        eprintln!("\n==> skipped: a program without a driver is tried on Linux");
        return Ok(());
    }
    let driver = SoftwareDriver::lay_out()?;
    steps.run("a program outside the workspace, without a driver and with one", || {
        let folder = PLAIN.lay_out(scratch)?;
        let program = PLAIN.build(&folder, |build| build.env_remove(LINK_VARIABLE))?;
        let lock = read(&folder.join("Cargo.lock"))?;
        if lock.contains("name = \"cust") {
            return Err(format!("{} depends on the bindings without its feature", driver::CRATE));
        }
        let without = without_driver(scratch)?;
        let mut alone = Command::new(&program);
        alone.env("LD_LIBRARY_PATH", before_loader(&without));
        expect(&mut alone, "no device: there is no CUDA driver")?;
        expect(driver.before(&mut Command::new(&program)), "(1024 MiB), software driver")
    })?;
    steps.run("a program outside the workspace on the bindings", || {
        let folder = LINKING.lay_out(scratch)?;
        let program = LINKING.build(&folder, |build| driver.before(build))?;
        expect(driver.before(&mut Command::new(&program)), "went through cust's stream")
    })
}

impl Consumer {
    /// Writes the project into a folder of its name.
    fn lay_out(&self, scratch: &Path) -> Result<PathBuf, String> {
        let folder = scratch.join(self.example);
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(folder.join("Cargo.toml"), self.manifest(&root())).map_err(failed)?;
        // The same versions as ours, so that no registry is asked.
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).map_err(failed)?;
        Ok(folder)
    }

    fn manifest(&self, root: &Path) -> String {
        let crates = root.join("crates");
        let source = crates.join(driver::CRATE).join("examples").join(self.example);
        let mut manifest = format!(
            "[package]\nname = \"{0}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
             [workspace]\n\n[[bin]]\nname = \"{0}\"\npath = '{1}.rs'\n\n[dependencies]\n",
            self.example,
            source.display(),
        );
        for line in self.dependencies {
            manifest += &line.replace("{crates}", &crates.display().to_string());
            manifest.push('\n');
        }
        manifest
    }

    /// Builds the program, as `prepare` has the command. Returns where it is.
    fn build(
        &self,
        folder: &Path,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<PathBuf, String> {
        let mut build =
            cargo(["build", "--offline", "--message-format", "json-render-diagnostics"]);
        build.arg("--manifest-path").arg(folder.join("Cargo.toml"));
        build.arg("--target-dir").arg(folder.with_file_name("target"));
        // Cargo reads the configuration of the folder it runs in, and of those above it.
        let messages = output(prepare(build.current_dir(env::temp_dir())))?;
        executable(&String::from_utf8_lossy(&messages), self.example)
    }
}

/// A folder in which the loader finds a driver that is no library, and looks no further: a machine
/// without one, whatever this one has.
fn without_driver(scratch: &Path) -> Result<PathBuf, String> {
    let folder = scratch.join("without-driver");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    fs::write(folder.join("libcuda.so.1"), "no library").map_err(failed)?;
    Ok(folder)
}

/// Runs a program that must succeed and say something.
fn expect(program: &mut Command, text: &str) -> Result<(), String> {
    let name = program.get_program().to_string_lossy().into_owned();
    let said = program.output().map_err(|error| format!("`{name}` did not start: {error}"))?;
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    if said.status.success() && out.contains(text) {
        return Ok(());
    }
    Err(format!("`{name}` ended with {}, and did not say `{text}`:\n{out}{err}", said.status))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_a_workspace_of_its_own_that_depends_on_ours_by_path() {
        let manifest = PLAIN.manifest(Path::new("/repository"));
        let expected = [
            "\n[workspace]\n",
            "path = '/repository/crates/vmem-cuda/examples/stack.rs'\n",
            "vmem-cuda = { path = '/repository/crates/vmem-cuda' }\n",
        ];
        for part in expected {
            assert!(manifest.contains(part), "{part} in {manifest}");
        }
    }

    #[test]
    fn a_program_that_fails_or_says_something_else_is_an_error_with_what_it_said() {
        let echo = |args: &[&str]| {
            let mut command = Command::new("sh");
            command.arg("-c").args(args);
            command
        };
        assert_eq!(expect(&mut echo(&["echo as planned"]), "as planned"), Ok(()));
        let other = expect(&mut echo(&["echo other"]), "as planned").unwrap_err();
        assert!(other.ends_with("did not say `as planned`:\nother\n"), "{other}");
        expect(&mut echo(&["echo as planned; exit 1"]), "as planned").unwrap_err();
    }
}
