//! A run that is asked to end early, and an output that nobody reads.

use serde_json::Value;
use vmem_cli::{Console, Progress, Stop};

use crate::ending::{assert_only_a_full_output_fails, ended_at};
use crate::run;
use crate::support::Folder;

#[test]
fn the_matrix_gives_the_cells_that_are_done() {
    let outcome = ended_at(3, &["matrix", "--tier", "plain", "--check", "copies/", "--json", "-"]);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(document["interrupted"], true);
    assert_eq!(document["cells"].as_array().unwrap().len(), 2);
    assert!(outcome.err.contains("interrupted: 2 of 3 done"), "{}", outcome.err);
}

#[test]
fn micro_writes_no_table_of_costs_that_are_not_all_measured() {
    let folder = Folder::new();
    let table = folder.file("costs.json", "old");
    let outcome = ended_at(1, &["micro", "--table", &table, "--json", "-"]);
    assert_eq!(outcome.code, 130, "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(document["interrupted"], true);
    assert!(document["table"].is_null());
    assert_eq!(std::fs::read_to_string(table).unwrap(), "old");
}

#[test]
fn a_soak_says_what_it_did() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (progress, stop) = (Progress::Hidden, Stop::default());
    stop.request();
    let console = Console { out: &mut out, err: &mut err, progress, stop };
    assert_eq!(run(["vmem", "soak", "--minutes", "60"], console), 130);
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("interrupted: 0 programs"), "{out}");
}

#[test]
fn an_output_that_nobody_reads_any_more_is_no_error_and_a_full_one_is() {
    assert_only_a_full_output_fails(&[
        &["matrix", "--tier", "plain", "--check", "copies/"],
        &["micro", "--samples", "5", "--device", "cuda:99"],
        &["soak", "--programs", "1"],
        &["bench", "--compare", "--workload", "overlay-core", "--scale", "1k"],
        &["matrix", "--help"],
    ]);
}
