//! The launcher on a machine where `vmem-cuda-linked` is not there to start, or has no driver.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A copy of the launcher in an empty folder.
fn launcher(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("vmem-cuda");
    fs::copy(env!("CARGO_BIN_EXE_vmem-cuda"), &copy).unwrap();
    copy
}

fn run(program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

#[test]
fn a_matrix_without_a_driver_is_a_table_of_named_skips() {
    let launcher = launcher("skips");
    let output = run(&launcher, &["matrix", "--tier", "a,c", "--json", "-"]);
    assert!(output.status.success(), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = document["cells"].as_array().unwrap();
    assert!(cells.len() > 80);
    for cell in cells {
        assert_eq!((&cell["result"], &cell["device"]), (&"skip".into(), &"cuda".into()));
        assert!(cell["reason"].as_str().unwrap().contains("vmem-cuda-linked"), "{cell}");
    }
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(table.contains("0 passed, 0 failed"));
}

#[test]
fn what_needs_a_device_fails_without_one_if_it_is_required() {
    let launcher = launcher("required");
    for command in ["matrix", "bench", "micro"] {
        let skipped = run(&launcher, &[command]);
        assert_eq!(skipped.status.code(), Some(0), "{skipped:?}");
        assert!(String::from_utf8_lossy(&skipped.stdout).contains("skipped"), "{skipped:?}");
        let refused = run(&launcher, &[command, "--require-device"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("vmem-cuda-linked"));
    }
}

#[test]
fn a_program_that_links_no_driver_is_not_started() {
    let launcher = launcher("stranger");
    fs::copy("/bin/true", launcher.with_file_name("vmem-cuda-linked")).unwrap();
    let output = run(&launcher, &["matrix", "--tier", "a"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("links no driver"), "{output:?}");
}

#[test]
fn the_simulated_device_needs_no_driver() {
    let launcher = launcher("simulated");
    let args = ["bench", "--device", "sim", "--workload", "overlay-core", "--scale", "1k"];
    let output = run(&launcher, &[&args[..], &["--tier", "plain"]].concat());
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("simulated device"));
}
