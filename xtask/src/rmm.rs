//! RMM and CCCL, two releases of them, from wheels: what the C ABI's header for them is compiled against.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::succeed;
use crate::metadata::Metadata;
use crate::python::{Environment, python};
use crate::steps::Steps;

/// What names the folders of the releases to the tests.
pub(crate) const VARIABLE: &str = "VMEM_RMM_WHEELS";

/// The releases of RMM, each with the CCCL that it was built with.
const RELEASES: [&str; 2] = ["26.8.0", "26.10.0"];

/// What the headers include besides.
const OTHERS: [&str; 3] =
    ["rapids-logger==0.3.0", "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-crt==13.0.88"];

/// What makes a machine without the wheels fail rather than skip.
const REQUIRED_VARIABLE: &str = "REQUIRE_RMM";

/// Fetches the wheels, unless they are there, and returns the folders for [`VARIABLE`]; `None`, said by
/// name, where they cannot be had.
///
/// # Errors
/// What is lacking, where [`REQUIRED_VARIABLE`] is set.
pub(crate) fn wheels(steps: &mut Steps, workspace: &Metadata) -> Result<Option<OsString>, String> {
    let folder = workspace.target_directory.join("rmm");
    let mut fetched = Err("it was not tried".to_owned());
    steps.run("releases of RMM and CCCL", || {
        fetched = fetch(&folder);
        match &fetched {
            Err(lacking) if env::var_os(REQUIRED_VARIABLE).is_some() => {
                Err(format!("{REQUIRED_VARIABLE} is set, and {lacking}"))
            }
            Err(lacking) => {
                eprintln!("    skipped: the header for RMM: {lacking}");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    })?;
    let joined = fetched.ok().map(env::join_paths).transpose();
    joined.map_err(|error| format!("{}: {error}", folder.display()))
}

fn fetch(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let releases: Vec<_> =
        RELEASES.iter().map(|release| (folder.join(release), packages(release))).collect();
    let is_there = |(folder, packages): &(PathBuf, Vec<String>)| {
        fs::read_to_string(stamp(folder)).is_ok_and(|have| have == packages.join(" "))
    };
    if !releases.iter().all(is_there) {
        let pip = Environment::new(folder.join("pip"));
        pip.create(&python()?)?;
        for (folder, packages) in &releases {
            let _ = fs::remove_dir_all(folder);
            let mut install = pip.python();
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
            succeed(install.arg(folder).args(packages))?;
            let stamp = stamp(folder);
            fs::write(&stamp, packages.join(" "))
                .map_err(|error| format!("{}: {error}", stamp.display()))?;
        }
    }
    Ok(releases.into_iter().map(|(folder, _)| folder).collect())
}

fn packages(release: &str) -> Vec<String> {
    let others = OTHERS.iter().map(|&other| other.to_owned());
    std::iter::once(format!("librmm-cu13=={release}")).chain(others).collect()
}

fn stamp(folder: &Path) -> PathBuf {
    folder.join("complete")
}
