//! `vmem replay`.

use crate::support::{Folder, document, vmem};

/// 3 MiB and 1 MiB live together, then 2 MiB alone.
const LIFETIMES: &str = "id,lower,upper,size\n0,0,2,3145728\n1,1,2,1048576\n2,2,3,2097152\n";

const RMM_LOG: &str = "\
Thread,Time,Action,Pointer,Size,Stream
1,0,allocate,0x10,1000,0
1,1,allocate,0x20,500,0
1,2,free,0x10,1000,0
1,3,free,0x20,500,0
";

#[test]
fn both_formats_are_read_and_named_after_their_files() {
    let folder = Folder::new();
    let (lifetimes, log) = (folder.file("lives.csv", LIFETIMES), folder.file("log.csv", RMM_LOG));
    let (code, document) = document(&["replay", &lifetimes, &log, "--tier", "a,plain"]);
    assert_eq!(code, 0);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["workload"], "lives");
    assert_eq!(rows[0]["peak_live_bytes"], 4 << 20);
    assert_eq!(rows[2]["workload"], "log");
    assert_eq!(rows[3]["peak_live_bytes"], 1500);
    for row in rows {
        assert!(row["scale"].is_null());
        assert!(row["driver_calls_steady"].is_null());
        assert_eq!(row["passes"], 1);
    }
}

#[test]
fn the_smallest_device_is_looked_for_when_asked() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", LIFETIMES);
    let args = ["replay", &trace, "--tier", "a,plain", "--min-device"];
    let (code, document) = document(&args);
    assert_eq!(code, 0);
    for row in document["rows"].as_array().unwrap() {
        assert_eq!(row["min_device_bytes"], 4 << 20, "{row:#}");
    }
    assert!(vmem(&args).out.contains("min device"));
}

#[test]
fn a_failed_replay_prints_index_live_bytes_and_exits_with_1() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", LIFETIMES);
    let outcome = vmem(&["replay", &trace, "--tier", "plain", "--capacity", "3MiB"]);
    assert_eq!(outcome.code, 1);
    let reason = outcome.out.lines().find(|line| line.starts_with("FAILED")).unwrap();
    assert!(reason.starts_with("FAILED: lives on plain: event 1 failed: 1048576 B"), "{reason}");
    assert!(reason.contains("3145728 B live"), "{reason}");
}
