//! Programs of somebody else's: those of the README and of the page on CUDA, word for word, in projects
//! outside the repository that take our crates from their packages.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{cargo, executable, output, root};
use crate::driver::{self, FOR_CUDARC, LINK_VARIABLE, SoftwareDriver, before_loader};
use crate::metadata::Metadata;
use crate::package::{Packages, Unpacked};
use crate::page::{self, Program};
use crate::steps::Steps;

/// A program and the page that it is of.
#[derive(Debug)]
struct Consumer {
    /// The project's name.
    name: &'static str,
    page: &'static str,
    /// The program's place among those of the page, counted from 0.
    place: usize,
}

const SIMULATED: Consumer = Consumer { name: "simulated", page: "README.md", place: 0 };
const CUDA: Consumer = Consumer { name: "cuda", page: "README.md", place: 1 };
/// The one on the bindings, which link the driver.
const CUST: Consumer = Consumer { name: "with-cust", page: "docs/cuda.md", place: 0 };

/// Those on cudarc, which choose a version of CUDA each.
const CUDARC_12: Consumer = Consumer { name: "with-cudarc-12", page: "docs/rust-gpu.md", place: 0 };
const CUDARC_13: Consumer = Consumer { name: "with-cudarc-13", page: "docs/rust-gpu.md", place: 1 };

/// Makes the packages and looks into them; builds and runs the programs from them.
///
/// # Errors
/// The first step that failed, and why.
pub(crate) fn test(steps: &mut Steps, workspace: &Metadata) -> Result<(), String> {
    let mut packages = None;
    steps.run("packages, each built alone", || {
        packages = Some(Packages::make(workspace)?);
        Ok(())
    })?;
    let Some(packages) = packages else {
        return Ok(());
    };
    steps.run("what the packages hold", || packages.check())?;
    let outside = Outside::new()?;
    steps.run("the program of vmem-cli, from its package", || {
        // Verifying the package has built it. The README of the crate has such lines.
        let mut program = Command::new(packages.target.join("debug").join("vmem"));
        program.args(["bench", "--workload", "random", "--scale", "1k", "--tier", "a"]);
        expect(program.current_dir(&outside.0), "a = Statistics<")
    })?;
    steps.run("README: the program on the simulated device", || {
        let program = SIMULATED.build(&outside, &packages, plainly)?;
        expect(&mut Command::new(program), "2097152 B went back to the device")
    })?;
    if !cfg!(target_os = "linux") {
        eprintln!("\n==> skipped: a program without a driver is tried on Linux");
        return Ok(());
    }
    let driver = SoftwareDriver::lay_out()?;
    steps.run("README: the program for CUDA, without a driver and with one", || {
        let program = CUDA.build(&outside, &packages, plainly)?;
        let lock = read(&outside.0.join(CUDA.name).join("Cargo.lock"))?;
        if lock.contains("name = \"cust") {
            return Err(format!("{} depends on the bindings without its feature", driver::CRATE));
        }
        let without = without_driver(&outside.0)?;
        let mut alone = Command::new(&program);
        alone.env("LD_LIBRARY_PATH", before_loader(&without));
        expect(&mut alone, "no device: there is no CUDA driver")?;
        expect(driver.before(&mut Command::new(&program)), "[1.0, 1.0, 2.5, 2.5]")
    })?;
    steps.run("docs/cuda.md: the program with cust", || {
        let program = CUST.build(&outside, &packages, |build| driver.before(build))?;
        expect(driver.before(&mut Command::new(&program)), "on a stream of cust's: [7, 7, 7]")
    })?;
    for (consumer, version) in [(CUDARC_12, "12.0"), (CUDARC_13, "13.0")] {
        steps.run(
            format!("docs/rust-gpu.md: the program with cudarc for CUDA {version}"),
            || {
                let program = consumer.build(&outside, &packages, plainly)?;
                let mut command = Command::new(&program);
                let command = driver.before(&mut command).env(FOR_CUDARC.0, FOR_CUDARC.1);
                expect(command, "on cudarc's stream: [1.0, 2.0, 3.0]")
            },
        )?;
    }
    Ok(())
}

/// As on a machine without CUDA.
fn plainly(build: &mut Command) -> &mut Command {
    build.env_remove(LINK_VARIABLE)
}

/// A folder outside the repository, which goes with this value.
#[derive(Debug)]
struct Outside(PathBuf);

impl Outside {
    fn new() -> Result<Self, String> {
        let folder = env::temp_dir().join(format!("vmem-consumers-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Consumer {
    /// Writes the project and builds it, as `prepare` has the command. Returns where the program is.
    fn build(
        &self,
        outside: &Outside,
        packages: &Packages,
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<PathBuf, String> {
        let page = read(&root().join(self.page))?;
        let program = page::programs(&page).into_iter().nth(self.place);
        let program =
            program.ok_or_else(|| format!("{} has no program {}", self.page, self.place))?;
        let folder = outside.0.join(self.name);
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(folder.join("main.rs"), &program.text).map_err(failed)?;
        let names = program.dependencies.iter().map(|one| one.name.as_str());
        let manifest = manifest(self.name, &program, &packages.behind(names));
        fs::write(folder.join("Cargo.toml"), manifest).map_err(failed)?;
        // The same versions as ours, so that no registry is asked.
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).map_err(failed)?;
        let mut build =
            cargo(["build", "--offline", "--message-format", "json-render-diagnostics"]);
        build.arg("--target-dir").arg(&packages.target);
        // Cargo reads the configuration of the folder it runs in, and of those above it.
        let messages = output(prepare(build.current_dir(&folder)))?;
        executable(&String::from_utf8_lossy(&messages), self.name)
    }
}

/// The manifest of a project with one program, which finds our crates among the packages.
fn manifest(name: &str, program: &Program, packages: &[&Unpacked]) -> String {
    let mut manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [workspace]\n\n[[bin]]\nname = \"{name}\"\npath = \"main.rs\"\n\n[dependencies]\n",
    );
    for one in &program.dependencies {
        let (name, features, defaults) = (&one.name, &one.features, one.defaults);
        manifest += &format!("{name} = {{ version = \"*\", features = {features:?}");
        manifest += if defaults { " }\n" } else { ", default-features = false }\n" };
    }
    manifest += "\n[patch.crates-io]\n";
    for one in packages {
        manifest += &format!("{} = {{ path = '{}' }}\n", one.name, one.folder.display());
    }
    manifest
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
    use crate::page::Dependency;

    #[test]
    fn a_project_is_a_workspace_of_its_own_that_takes_ours_from_the_packages() {
        let added = |name: &str, features: &[&str]| Dependency {
            name: name.to_owned(),
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            defaults: name != "cudarc",
        };
        let program = Program {
            dependencies: vec![
                added("cust", &[]),
                added("vmem-cuda", &["cust"]),
                added("cudarc", &["std"]),
            ],
            text: String::new(),
        };
        let packages = Packages::unpacked("/packages", &[("vmem-cuda", &["vmem-core", "libc"])]);
        let manifest = manifest("a", &program, &packages.behind(["cust", "vmem-cuda"]));
        let expected = [
            "\n[workspace]\n",
            "\ncust = { version = \"*\", features = [] }\n",
            "\nvmem-cuda = { version = \"*\", features = [\"cust\"] }\n",
            "\ncudarc = { version = \"*\", features = [\"std\"], default-features = false }\n",
            "[patch.crates-io]\nvmem-cuda = { path = '/packages/vmem-cuda' }\n",
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
