//! A run that is asked to end early, and an output that nobody reads.

use serde_json::Value;

use crate::ending::{assert_only_a_full_output_fails, ended_at};
use crate::support::Folder;

#[test]
fn bench_and_replay_give_the_rows_that_are_done_as_a_table_and_as_a_document() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", "id,lower,upper,size\n0,0,2,1000\n");
    let bench = &["bench", "--workload", "overlay-core", "--scale", "1k"][..];
    for command in [bench, &["replay", &trace]] {
        let args = [command, &["--tier", "plain,a-bare,a-chunks,a-tight"]].concat();
        // The device is opened once to look at it, then for each row.
        let outcome = ended_at(3, &args);
        assert_eq!(outcome.code, 130, "{outcome:?}");
        assert_eq!(outcome.out.lines().last(), Some("interrupted: 2 of 4 done"));
        assert!(outcome.out.contains(" plain ") && outcome.out.contains(" a-bare "));
        assert!(!outcome.out.contains(" a-chunks "));

        let path = folder.path("rows.json");
        assert_eq!(ended_at(3, &[&args[..], &["--json", &path]].concat()).code, 130);
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["interrupted"], true);
        assert_eq!(document["rows"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn an_output_that_nobody_reads_any_more_is_no_error_and_a_full_one_is() {
    let folder = Folder::new();
    let trace = folder.file("lives.csv", "id,lower,upper,size\n0,0,2,1000\n");
    let bench = ["bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"];
    assert_only_a_full_output_fails(&[
        &bench,
        &[&bench[..], &["--json", "-"]].concat(),
        &["replay", &trace, "--tier", "plain", "--min-device"],
        &["bench", "--device", "cuda:99"],
        &["bench", "--help"],
    ]);
}
