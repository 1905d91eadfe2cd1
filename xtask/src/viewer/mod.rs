//! PyTorch's reader of memory snapshots, one file of its wheel: what exported snapshots are read with.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::cargo::{root, succeed};
use crate::metadata::Metadata;
use crate::python::{Environment, python};
use crate::steps::Steps;

/// What names the file to the tests.
pub(crate) const VARIABLE: &str = "VMEM_MEMORY_VIZ";

/// The release, and the machine whose wheel is smallest (139 MB); the file is the same in all.
const RELEASE: &str = "torch==2.15.0";
const MACHINE: [&str; 4] = ["--platform", "macosx_14_0_arm64", "--python-version", "312"];

const MEMBER: &str = "torch/cuda/_memory_viz.py";

/// SHA-256 of the file.
const DIGEST: &str = "cebc6449a2d34b83ac2a35cf7490babd590732c30362e18d22de18c8da7c9221";

/// What makes a machine without the file fail rather than skip.
const REQUIRED_VARIABLE: &str = "REQUIRE_MEMORY_VIZ";

/// Fetches the file, unless it is there, and returns its path for [`VARIABLE`]; `None`, said by name, where
/// it cannot be had.
///
/// # Errors
/// What is lacking, where [`REQUIRED_VARIABLE`] is set.
pub(crate) fn file(steps: &mut Steps, workspace: &Metadata) -> Result<Option<OsString>, String> {
    let path = workspace.target_directory.join("pytorch").join(&DIGEST[..16]).join("memory_viz.py");
    let mut fetched = Ok(());
    steps.run("PyTorch's reader of snapshots", || {
        fetched = fetch(&path);
        match &fetched {
            Err(lacking) if env::var_os(REQUIRED_VARIABLE).is_some() => {
                Err(format!("{REQUIRED_VARIABLE} is set, and {lacking}"))
            }
            Err(lacking) => {
                eprintln!("    skipped: snapshots read by PyTorch's tools: {lacking}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    })?;
    Ok(fetched.ok().map(|()| path.into()))
}

fn fetch(path: &Path) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let folder = path.with_file_name("wheel");
    fs::create_dir_all(&folder).map_err(failed)?;
    let pip = Environment::new(path.with_file_name("pip"));
    pip.create(&python()?)?;
    let mut download = pip.python();
    download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]);
    succeed(download.args(MACHINE).arg("--dest").arg(&folder).arg(RELEASE))?;
    let mut extract = pip.python();
    extract.arg(root().join("xtask/src/viewer/member.py")).arg(&folder);
    succeed(extract.args([MEMBER, DIGEST]).arg(path))?;
    fs::remove_dir_all(&folder).map_err(failed)
}
