//! The program on a machine without a driver.

use std::process::{Command, Output};

use crate::support::Folder;

/// What is missing, by name.
const MISSING: &str = "there is no CUDA driver: `libcuda.so.1`";

/// Runs the program where the loader finds a driver that is no library, and looks no further: a
/// machine without one, whatever this one has.
fn vmem_lab(args: &[&str]) -> Output {
    let folder = Folder::new();
    folder.file("libcuda.so.1", "no library");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmem-lab"));
    command.args(args).env("LD_LIBRARY_PATH", folder.path("")).output().unwrap()
}

#[test]
fn a_matrix_without_a_driver_is_a_table_of_named_skips() {
    let output = vmem_lab(&["matrix", "--device", "cuda", "--tier", "a,c", "--json", "-"]);
    assert!(output.status.success(), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = document["cells"].as_array().unwrap();
    assert!(cells.len() > 80);
    for cell in cells {
        assert_eq!((&cell["result"], &cell["device"]), (&"skip".into(), &"cuda".into()));
        assert!(cell["reason"].as_str().unwrap().starts_with(MISSING), "{cell}");
    }
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(table.contains("0 passed, 0 failed"));
}

#[test]
fn what_needs_a_device_is_skipped_without_a_driver_and_fails_if_one_is_required() {
    for command in ["matrix", "micro"] {
        let skipped = vmem_lab(&[command, "--device", "cuda"]);
        assert_eq!(skipped.status.code(), Some(0), "{skipped:?}");
        let said = String::from_utf8_lossy(&skipped.stdout);
        assert!(said.contains("skipped") && said.contains(MISSING), "{skipped:?}");
        let refused = vmem_lab(&[command, "--device", "cuda:1", "--require-device"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(MISSING), "{refused:?}");
    }
}
