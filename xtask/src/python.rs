//! The Python package: its wheel, built and installed into an empty environment, and its tests there, over
//! the software driver.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{output, root, succeed};
use crate::driver::SoftwareDriver;
use crate::glibc;
use crate::metadata::Metadata;
use crate::steps::Steps;

/// The crate that is the package.
const CRATE: &str = "crates/vmem-python";

/// What builds the wheel and runs the tests, from the index of Python packages. Zig links against the C library
/// of [`C_LIBRARY`], whichever the machine has.
const TOOLS: [&str; 3] = ["maturin==1.16.0", "pytest==9.2.0", "ziglang==0.17.1"];

/// The oldest C library that the wheel runs with: that of manylinux_2_28.
const C_LIBRARY: glibc::Version = (2, 28);

/// What tells maturin where Zig is.
const ZIG_VARIABLE: &str = "CARGO_ZIGBUILD_PYTHON_PATH";

/// What of the package is a library.
const EXTENSION: &str = "vmem_gpu/_native.abi3.so";

/// The oldest Python that the package is for.
const OLDEST: (u32, u32) = (3, 10);

/// The most that a wheel may have.
const MOST_BYTES: u64 = 10_000_000;

/// What names the Python to use in place of `python3`.
const PYTHON_VARIABLE: &str = "PYTHON";

/// What makes a machine without a Python, or without its packages, fail rather than skip.
const REQUIRED_VARIABLE: &str = "REQUIRE_PYTHON";

/// Builds the wheel, installs it into an empty environment, and runs the tests there. Skipped, by name,
/// without a Python that is new enough or without the tools.
///
/// # Errors
/// The step that failed, and why; what is lacking where [`REQUIRED_VARIABLE`] is set.
pub(crate) fn test(steps: &mut Steps, workspace: &Metadata) -> Result<(), String> {
    let folder = workspace.target_directory.join("python");
    let tools = match cfg!(target_os = "linux") {
        true => python().and_then(|python| Environment::with_tools(&python, &folder)),
        false => Err("the software driver is a library of Linux".to_owned()),
    };
    let (python, tools) = match tools {
        Ok(found) => found,
        Err(lacking) if env::var_os(REQUIRED_VARIABLE).is_some() => {
            return Err(format!("{REQUIRED_VARIABLE} is set, and {lacking}"));
        }
        Err(lacking) => {
            eprintln!("\n==> skipped: the Python package: {lacking}");
            return Ok(());
        }
    };
    let mut wheel = PathBuf::new();
    steps.run("wheel of the Python package", || {
        wheel = build(&tools, &folder.join("wheels"))?;
        Ok(())
    })?;
    let installed = Environment::new(folder.join("installed"));
    steps.run("wheel in an empty environment", || {
        installed.create(&python)?;
        let mut install = installed.python();
        install.args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]);
        succeed(install.arg(&wheel))?;
        let extension = format!("{}/{EXTENSION}", installed.packages()?);
        glibc::check(Path::new(&extension), C_LIBRARY)?;
        let mut import = installed.python();
        succeed(import.args(["-c", "import vmem_gpu; print(vmem_gpu.available())"]))
    })?;
    steps.run("tests of the Python package over the software driver", || {
        let driver = SoftwareDriver::lay_out()?;
        let mut tests = installed.python();
        tests.args(["-m", "pytest", "--quiet"]).current_dir(root().join(CRATE));
        tests.env("PYTHONPATH", tools.packages()?).env("PYTHONDONTWRITEBYTECODE", "1");
        succeed(driver.before(&mut tests))
    })
}

/// A Python that is new enough, or why there is none.
pub(crate) fn python() -> Result<OsString, String> {
    let program = env::var_os(PYTHON_VARIABLE).unwrap_or_else(|| "python3".into());
    let mut ask = Command::new(&program);
    ask.args(["-c", "import sys; print(*sys.version_info[:2])"]).stderr(Stdio::null());
    let answer =
        ask.output().map_err(|error| format!("{} did not start: {error}", program.display()))?;
    let (major, minor) = OLDEST;
    match version(&String::from_utf8_lossy(&answer.stdout)) {
        Some(found) if found >= OLDEST => Ok(program),
        Some((own, own_minor)) => Err(format!(
            "{} is Python {own}.{own_minor}, and {major}.{minor} is needed",
            program.display()
        )),
        None => Err(format!("{} does not say which Python it is", program.display())),
    }
}

fn version(said: &str) -> Option<(u32, u32)> {
    let (major, minor) = said.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A virtual environment.
pub(crate) struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// The one in a folder, which may be yet to be made.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The environment with the tools, made if it is not there, and the Python it is of.
    fn with_tools(python: &OsString, folder: &Path) -> Result<(OsString, Self), String> {
        let own = Self::new(folder.join("tools"));
        let stamp = own.folder.join("complete");
        let wanted = format!("{} {}", python.display(), TOOLS.join(" "));
        if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
            return Ok((python.clone(), own));
        }
        own.create(python)?;
        let mut install = own.python();
        succeed(install.args(["-m", "pip", "install", "--quiet"]).args(TOOLS))?;
        fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
        Ok((python.clone(), own))
    }

    /// Makes it, empty.
    pub(crate) fn create(&self, python: &OsString) -> Result<(), String> {
        succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(&self.folder))
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Its Python, apart from what the caller's environment has of Python's.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.program("python"));
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        command
    }

    /// Where its packages are.
    fn packages(&self) -> Result<String, String> {
        let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let answer = output(self.python().args(["-c", ask]))?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }
}

/// Builds the wheel, the only file in its folder.
fn build(tools: &Environment, folder: &Path) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    let (major, minor) = C_LIBRARY;
    let platform = format!("manylinux_{major}_{minor}");
    let mut maturin = Command::new(tools.program("maturin"));
    maturin.args(["build", "--quiet", "--manifest-path", "Cargo.toml"]);
    maturin.args(["--zig", "--compatibility", &platform, "--out"]).arg(folder);
    maturin.env(ZIG_VARIABLE, tools.program("python"));
    succeed(maturin.current_dir(root().join(CRATE)))?;
    let wheel = fs::read_dir(folder).map_err(failed)?.next();
    let wheel = wheel.ok_or("maturin made no wheel")?.map_err(failed)?;
    let bytes = wheel.metadata().map_err(failed)?.len();
    if bytes > MOST_BYTES {
        return Err(format!("{} has {bytes} bytes, above {MOST_BYTES}", wheel.path().display()));
    }
    eprintln!("    {} has {bytes} bytes", wheel.path().display());
    Ok(wheel.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_says_its_version() {
        assert_eq!(version("3 11\n"), Some((3, 11)));
        assert!(version("3 9").unwrap() < OLDEST);
        assert_eq!(version("Python 3.11"), None);
    }

    #[test]
    fn the_manifest_asks_for_the_oldest_python_and_its_builder() {
        let manifest = include_str!("../../crates/vmem-python/pyproject.toml");
        let (major, minor) = OLDEST;
        assert!(manifest.contains(&format!("requires-python = \">={major}.{minor}\"")));
        let workspace = include_str!("../../Cargo.toml");
        assert!(workspace.contains(&format!("\"abi3-py{major}{minor}\"")));
    }
}
