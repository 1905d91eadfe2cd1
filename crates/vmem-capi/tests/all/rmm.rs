//! The header for RMM, against the headers of its releases.

use std::env;
use std::process::Command;

use crate::support::{compiler, crate_folder, skip, succeed};

/// Names folders of headers: those of one release joined by `:`, releases separated by white space. From the
/// wheels `librmm-cu12` (`librmm/include`, `librmm/include/rapids`), `rapids-logger`, `nvidia-cuda-runtime-cu12`
/// and `nvidia-cuda-nvcc-cu12`.
const INCLUDES: &str = "VMEM_RMM_INCLUDE";

#[test]
fn the_header_for_rmm_is_a_resource_to_each_release() {
    let Ok(releases) = env::var(INCLUDES) else {
        skip(&format!("{INCLUDES} names no headers of RMM's"));
        return;
    };
    let Some(compiler) = compiler("CXX", "c++") else { return };
    for release in releases.split_whitespace() {
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
        command.arg("-I").arg(crate_folder().join("include"));
        for folder in release.split(':') {
            // Of system headers warnings are not ours.
            command.args(["-isystem", folder]);
        }
        succeed(command.arg(crate_folder().join("tests/c/rmm.cpp")));
    }
}
