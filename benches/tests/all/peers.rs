//! The script that replays traces through the peers themselves, as far as it runs without them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use vmem_trace::{Trace, Workload, WorkloadOptions, read_path, write_lifetimes, write_rmm_log};

/// The script with these arguments on a machine without a device; `None`, said loudly, where there
/// is no Python to run it.
fn replay(arguments: &[&str]) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/replay.py");
    let mut command = Command::new("python3");
    // Hides the devices of a machine that has some.
    command.arg("-B").arg(script).args(arguments).env("CUDA_VISIBLE_DEVICES", "-1");
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            let note = format!("SKIPPED: python3 did not start: {error}\n");
            // Written past the capture of test output, so that it is seen.
            std::io::stderr().write_all(note.as_bytes()).unwrap();
            None
        }
    }
}

/// A file of this test process.
fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("vmem-peers-{}-{name}", std::process::id()))
}

/// Requires that the script reads a file as the trace that we read from it.
fn assert_read_alike(path: &Path) {
    let trace: Trace = read_path(path).unwrap().trace;
    let Some(output) = replay(&["--peer", "nothing", "--json", "-", path.to_str().unwrap()]) else {
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &report["rows"][0];
    assert_eq!(row["workload"].as_str(), Some(trace.name()), "{errors}");
    assert_eq!(row["allocations"].as_u64(), Some(trace.allocations()), "{errors}");
    assert_eq!(row["peak_live_bytes"].as_u64(), Some(trace.peak_live()), "{errors}");
}

#[test]
fn it_reads_logs_and_lifetimes_as_we_do() {
    let workload = Workload::OverlayTwoStreams;
    let scale = "1k".parse().unwrap();
    let trace = workload.generate(&WorkloadOptions { scale, ..workload.defaults() }).unwrap();

    let log = file("log.csv");
    write_rmm_log(&trace, fs::File::create(&log).unwrap()).unwrap();
    assert_read_alike(&log);
    fs::remove_file(log).unwrap();

    let lifetimes = file("lifetimes.csv");
    write_lifetimes(&trace, fs::File::create(&lifetimes).unwrap()).unwrap();
    assert_read_alike(&lifetimes);
    fs::remove_file(lifetimes).unwrap();
}

/// Python looks for what any library imports beside the script first.
#[test]
fn nothing_beside_the_script_has_the_name_of_a_package() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "__pycache__");
    names.sort();
    assert_eq!(names, ["README.md", "replay.py", "vmem_peers"]);
}

#[test]
fn without_a_device_it_says_what_it_skips_and_succeeds() {
    let Some(output) = replay(&[]) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let peers =
        ["driver", "cuda-async", "cupy", "torch", "torch-expandable", "rmm", "vmem", "vmem-lazy"];
    for peer in peers {
        assert!(text.contains(&format!("skipped: {peer}: no CUDA")), "{text}");
    }
}

#[test]
fn a_file_that_is_no_trace_is_a_usage_error_that_names_it() {
    let path = file("no-trace.csv");
    fs::write(&path, "id,lower,upper,size\n0,5,5,64\n").unwrap();
    if let Some(output) = replay(&[path.to_str().unwrap()]) {
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("no-trace.csv: the block 0 is not live at all"), "{text}");
    }
    fs::remove_file(path).unwrap();
}
