//! `vmem replay`.

use crate::support::{Folder, document, ran};

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
    assert!(ran(&args).out.contains("min device"));
}

#[test]
fn a_failed_replay_prints_index_live_bytes_and_exits_with_1() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", LIFETIMES);
    let outcome = ran(&["replay", &trace, "--tier", "plain", "--capacity", "3MiB"]);
    assert_eq!(outcome.code, 1);
    let reason = outcome.out.lines().find(|line| line.starts_with("FAILED")).unwrap();
    assert!(reason.starts_with("FAILED: lives on plain: event 1 failed: 1048576 B"), "{reason}");
    assert!(reason.contains("3145728 B live"), "{reason}");
}

#[test]
fn what_a_reader_got_over_is_said_and_strict_refuses_it() {
    let folder = Folder::new();
    let log = folder.file("log.csv", &format!("{RMM_LOG}noise\n1,4,free,0x30,64,0\n1,5,allo"));
    let outcome = ran(&["replay", &log, "--tier", "plain"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let notes: Vec<_> = outcome.err.lines().collect();
    assert_eq!(notes.len(), 3, "{}", outcome.err);
    assert!(notes[0].starts_with(&format!("note: {log}: lines that are no rows, left out: 1;")));
    assert!(notes[1].contains("live from its start: 1; first: line 7"), "{}", notes[1]);
    assert!(notes[2].contains("cut off"), "{}", notes[2]);

    let outcome = ran(&["replay", &log, "--tier", "plain", "--strict"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (2, ""));
    assert!(outcome.err.contains("line 6") && outcome.err.contains("noise"), "{}", outcome.err);
}

#[test]
fn the_device_of_a_snapshot_can_be_chosen() {
    let folder = Folder::new();
    let entry = r#"{"action":"alloc","addr":4096,"size":SIZE,"stream":0}"#;
    let of = |size: &str| entry.replace("SIZE", size);
    let second = of("200").replace("4096", "8192");
    let text = format!(r#"{{"device_traces":[[{}],[{},{second}]]}}"#, of("512"), of("100"));
    let snapshot = folder.file("snapshot.json", &text);
    let args = ["replay", &snapshot, "--tier", "plain"];
    let (code, document_of_most) = document(&args);
    assert_eq!((code, &document_of_most["rows"][0]["peak_live_bytes"]), (0, &300.into()));
    assert!(ran(&args).err.contains("device 0 (1 entries), device 1 (2 entries)"));
    let (code, chosen) = document(&[&args[..], &["--trace-device", "0"]].concat());
    assert_eq!((code, &chosen["rows"][0]["peak_live_bytes"]), (0, &512.into()));
    let outcome = ran(&[&args[..], &["--trace-device", "2"]].concat());
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("device 2 has no history"), "{}", outcome.err);
}

#[test]
fn requests_that_had_failed_are_made_again_when_asked_and_their_outcome_is_said() {
    let folder = Folder::new();
    let log = folder.file("log.csv", &format!("{RMM_LOG}1,4,allocate failure,(nil),3145728,0\n"));
    let args = ["replay", &log, "--tier", "plain", "--capacity", "2MiB"];
    let (code, silent) = document(&args);
    assert_eq!((code, silent["rows"][0].get("asked_again")), (0, None));

    for (capacity, outcome) in [("2MiB", "refused"), ("4MiB", "served")] {
        let args = ["replay", &log, "--tier", "plain", "--capacity", capacity, "--with-failures"];
        let (code, document) = document(&args);
        assert_eq!(code, 0, "{document:#}");
        let row = &document["rows"][0];
        assert_eq!(row["peak_live_bytes"], 1500);
        let asked = &row["asked_again"][0];
        assert_eq!((&asked["index"], &asked["size_bytes"]), (&4.into(), &3_145_728.into()));
        assert_eq!(asked["served"], outcome == "served");
        let table = ran(&args).out;
        let served = usize::from(outcome == "served");
        let summary = format!("log on plain: of 1 requests that had failed, {served} were served");
        assert!(table.contains(&summary), "{table}");
        assert!(table.contains(&format!("event 4: 3.000 MiB with 0 B live: {outcome}")), "{table}");
    }
}
