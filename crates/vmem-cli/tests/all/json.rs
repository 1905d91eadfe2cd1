//! The JSON document.

use std::fs;

use crate::support::{Folder, document, ran};

const SMALL: &[&str] = &["bench", "--workload", "overlay-core", "--scale", "1k"];

/// The keys of a row, in order: other programs read them.
const KEYS: &[&str] = &[
    "workload",
    "scale",
    "passes",
    "tier",
    "slowdown",
    "stack",
    "capacity_bytes",
    "seed",
    "simulated",
    "passed",
    "failed_index",
    "allocations",
    "peak_live_bytes",
    "peak_reserved_bytes",
    "min_device_bytes",
    "driver_calls",
    "driver_calls_steady",
    "ns_per_pair",
    "failures",
    "retries",
    "migrated_bytes",
    "virtual_ms",
];

#[test]
fn a_row_has_exactly_the_documented_keys() {
    let (code, document) = document(&[SMALL, &["--tier", "plain"]].concat());
    assert_eq!(code, 0);
    assert_eq!(document["schema"], "vmem-report/1");
    let rows = document["rows"].as_array().unwrap();
    let mut keys: Vec<_> = rows[0].as_object().unwrap().keys().collect();
    keys.sort();
    let mut expected = KEYS.to_vec();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

#[test]
fn a_row_says_what_was_asked_and_what_came_of_it() {
    let args = ["--tier", "plain", "--capacity", "2GiB", "--seed", "7"];
    let (_, document) = document(&[SMALL, &args].concat());
    let row = &document["rows"][0];
    assert_eq!(row["workload"], "overlay-core");
    assert_eq!(row["scale"], 1_000);
    assert_eq!(row["passes"], 3);
    assert_eq!(row["tier"], "plain");
    assert_eq!(row["stack"], "DeviceMemory");
    assert_eq!(row["capacity_bytes"], 2_u64 << 30);
    assert_eq!(row["seed"], 7);
    assert_eq!(row["simulated"], true);
    assert_eq!(row["passed"], true);
    assert_eq!(row["failures"], 0);
    for unknown in ["failed_index", "min_device_bytes", "retries", "migrated_bytes"] {
        assert!(row[unknown].is_null(), "{unknown} is {}", row[unknown]);
    }
    // Without a memory manager every pair costs an allocation, a question whether the stream captures,
    // a wait and a free.
    let pairs = row["allocations"].as_u64().unwrap();
    assert_eq!(row["driver_calls"], 4 * pairs);
    assert_eq!(row["driver_calls_steady"].as_u64().unwrap() * 3, 4 * pairs * 2);
    assert!(row["ns_per_pair"].as_f64().unwrap() > 0.0);
    assert!(row["virtual_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_document_on_standard_output_sends_the_table_to_standard_error() {
    let outcome = ran(&[SMALL, &["--tier", "plain", "--json", "-"]].concat());
    assert!(outcome.out.starts_with('{'));
    assert!(outcome.err.contains("simulated device"));
}

#[test]
fn a_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
    let folder = Folder::new();
    let path = folder.file("rows.json", "old");
    let outcome = ran(&[SMALL, &["--tier", "plain", "--json", &path]].concat());
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.contains("simulated device"));
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(written["rows"].as_array().unwrap().len(), 1);
    assert_eq!(folder.names(), ["rows.json"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_a_device_is_written_to_not_replaced() {
    let folder = Folder::new();
    let (link, target) = (folder.path("link"), folder.file("rows.json", "old"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let outcome = ran(&[SMALL, &["--tier", "plain", "--json", &link]].concat());
    assert_eq!(outcome.code, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("schema"));

    let outcome = ran(&[SMALL, &["--tier", "plain", "--json", "/dev/null"]].concat());
    assert_eq!(outcome.code, 0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
