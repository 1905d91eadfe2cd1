//! The program on a machine without a driver.

use std::process::{Command, Output};

use crate::support::Folder;

/// What is missing, by name.
const MISSING: &str = "there is no CUDA driver: `libcuda.so.1`";

/// Runs the program where the loader finds a driver that is no library, and looks no further: a
/// machine without one, whatever this one has.
fn vmem(args: &[&str]) -> Output {
    let folder = Folder::new();
    folder.file("libcuda.so.1", "no library");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmem"));
    command.args(args).env("LD_LIBRARY_PATH", folder.path("")).output().unwrap()
}

#[test]
fn what_needs_a_device_is_skipped_without_a_driver_and_fails_if_one_is_required() {
    for command in [&["bench"][..], &["replay", "-"]] {
        let skipped = vmem(&[command, &["--device", "cuda"]].concat());
        assert_eq!(skipped.status.code(), Some(0), "{skipped:?}");
        let said = String::from_utf8_lossy(&skipped.stdout);
        assert!(said.contains("skipped") && said.contains(MISSING), "{skipped:?}");
        let refused = vmem(&[command, &["--device", "cuda:1", "--require-device"]].concat());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(MISSING), "{refused:?}");
    }
}

#[test]
fn the_simulated_device_needs_no_driver_and_is_the_one_unless_another_is_named() {
    let output = vmem(&["bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("simulated device"));
}
