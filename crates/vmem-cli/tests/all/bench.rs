//! `vmem bench`.

use crate::support::{document, ran};

#[test]
fn every_workload_runs_on_every_stack_in_the_order_asked_for() {
    let (code, document) = document(&["bench", "--scale", "1k", "--passes", "2"]);
    assert_eq!(code, 0, "{document:#}");
    let rows = document["rows"].as_array().unwrap();
    let text = |index: usize, key: &str| rows[index][key].as_str().unwrap().to_owned();
    assert_eq!(rows.len(), 14 * 4);
    assert_eq!((text(0, "workload"), text(0, "tier")), ("overlay".into(), "a".into()));
    assert_eq!((text(1, "workload"), text(1, "tier")), ("overlay".into(), "b".into()));
    assert_eq!((text(27, "workload"), text(27, "tier")), ("random".into(), "fallback".into()));
    assert_eq!((text(28, "workload"), text(28, "tier")), ("overlay_1m".into(), "a".into()));
    assert_eq!(rows[28]["scale"], serde_json::Value::Null);
    assert!(rows.iter().all(|row| row["passed"] == true));
    assert!(rows.iter().all(|row| row["passes"] == 2));
}

#[test]
fn the_pool_makes_no_driver_call_from_the_second_pass_on() {
    let args = ["bench", "--workload", "overlay,dissolve", "--scale", "10k", "--tier", "a"];
    let (code, document) = document(&args);
    assert_eq!(code, 0);
    for row in document["rows"].as_array().unwrap() {
        assert_eq!(row["driver_calls_steady"], 0, "{row:#}");
        let (live, reserved) = (&row["peak_live_bytes"], &row["peak_reserved_bytes"]);
        assert!(reserved.as_u64().unwrap() >= live.as_u64().unwrap());
    }
}

#[test]
fn tier_a_reserves_at_most_two_percent_more_than_an_overlay_has_live() {
    let args = ["bench", "--workload", "overlay", "--scale", "100k", "--tier", "a"];
    let (code, document) = document(&args);
    assert_eq!(code, 0);
    let row = &document["rows"][0];
    let live = row["peak_live_bytes"].as_u64().unwrap();
    let reserved = row["peak_reserved_bytes"].as_u64().unwrap();
    assert!(reserved * 100 <= live * 102, "{reserved} B for {live} B");
    assert_eq!(row["driver_calls_steady"], 0);
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let args = ["bench", "--workload", "random,overlay-2s", "--scale", "1k", "--seed", "3"];
    let figures = || {
        let (_, mut document) = document(&args);
        for row in document["rows"].as_array_mut().unwrap() {
            // Host time is the one thing that differs.
            row.as_object_mut().unwrap().remove("ns_per_pair");
        }
        document
    };
    assert_eq!(figures(), figures());
}

#[test]
fn a_row_that_runs_out_of_memory_says_where_and_the_others_still_run() {
    let args = ["bench", "--workload", "overlay-core", "--scale", "10k", "--capacity", "64MiB"];
    let (code, rows) = document(&args);
    assert_eq!(code, 1);
    let rows = rows["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    // Tier C is not bound to the device.
    assert_eq!(rows[2]["passed"], true);
    for row in rows.iter().filter(|row| row["tier"] != "c") {
        assert_eq!(row["passed"], false);
        assert_eq!(row["failures"], 1);
        assert!(row["failed_index"].as_u64().unwrap() > 0);
        assert!(row["ns_per_pair"].is_null());
    }

    let table = ran(&args);
    assert_eq!(table.code, 1);
    assert_eq!(table.out.lines().filter(|line| line.starts_with("FAILED")).count(), 3);
    assert!(table.out.contains("FAILED: overlay-core on a: event "), "{}", table.out);
}

#[test]
fn the_table_is_aligned_and_says_that_the_device_is_simulated() {
    let table = ran(&["bench", "--workload", "overlay-core", "--scale", "10k"]).out;
    let lines: Vec<_> = table.lines().collect();
    let device = "simulated device (costs of h100, NVIDIA H100 80GB HBM3, 2026-11-23)";
    assert_eq!(lines[0], format!("{device}, 80.00 GiB, seed 0"));
    assert_eq!(lines[1], "");
    assert!(lines[2].starts_with("workload"));
    assert!(lines[2].contains("peak live"));
    let end_of = |line: &str, word: &str| line.find(word).unwrap() + word.len();
    let scale = end_of(lines[2], "scale");
    for line in &lines[3..7] {
        assert_eq!(end_of(line, "10k"), scale);
    }
    let last = "fallback = Statistics<Reservations<BinningPool<DeviceMemory>>>";
    assert_eq!(lines.last(), Some(&last));
}

#[test]
fn what_a_real_program_asked_for_runs_once_unless_repetitions_are_asked_for() {
    let args = ["bench", "--workload", "limit_1gib", "--tier", "a"];
    let (code, once) = document(&args);
    assert_eq!((code, &once["rows"][0]["passes"]), (0, &1.into()));
    assert_eq!(once["rows"][0]["allocations"], 27_584);
    let (code, twice) = document(&[&args[..], &["--passes", "2"]].concat());
    assert_eq!((code, &twice["rows"][0]["passes"]), (0, &2.into()));
    assert_eq!(twice["rows"][0]["allocations"], 2 * 27_584);
}
