//! Input that is not accepted: one clear message, exit code 2, nothing run, nothing written.

use crate::support::{Folder, assert_refused};

#[test]
fn a_soak_of_nothing_is_refused() {
    assert_refused(
        &["soak", "--programs", "-1"],
        &["--programs", "accepted: a whole number from 1"],
    );
    assert_refused(&["soak", "--seed", "-1"], &["--seed", "accepted: a whole number from 0"]);
    assert_refused(
        &["soak", "--programs", "0"],
        &["--programs", "accepted: a whole number from 1"],
    );
    assert_refused(&["soak", "--minutes", "0"], &["--minutes", "accepted: a whole number from 1"]);
}

#[test]
fn checks_that_do_not_exist_are_refused_with_the_groups_that_do() {
    assert_refused(
        &["matrix", "--check", "streams/,stream/"],
        &["\"stream/\"", "accepted: tier/, conformance/, copies/, workload/, streams/"],
    );
    assert_refused(&["matrix", "--tier", "z"], &["\"z\" is not a tier"]);
    assert_refused(&["matrix", "--seed", "x"], &["--seed", "accepted: a whole number from 0"]);
    for number in ["4", "-1", "100001"] {
        let words = ["--samples", "accepted: a whole number from 5 to 100000"];
        assert_refused(&["micro", "--samples", number], &words);
    }
}

#[test]
fn folders_of_traces_that_have_none_are_refused() {
    let folder = Folder::new();
    let (itself, missing) = (folder.path("."), folder.path("missing"));
    assert_refused(&["matrix", "--traces", &itself], &["traces", ".csv"]);
    assert_refused(&["matrix", "--traces", &missing], &["missing"]);
    folder.file("bad.csv", "a,b\n1,2\n");
    assert_refused(&["matrix", "--traces", &itself], &["bad.csv", "line 1", "accepted"]);
}

#[test]
fn devices_and_stacks_that_this_program_does_not_have_are_refused() {
    for command in ["matrix", "micro"] {
        let words = ["is not a device", "accepted: sim, cuda, cuda:1"];
        assert_refused(&[command, "--device", "card"], &words);
    }
    for command in [&["bench"][..], &["replay", "-"], &["matrix"]] {
        let words = ["is not a tier", "accepted: a, b, c, fallback", "plain, rmm, rmm-fixed"];
        assert_refused(&[command, &["--tier", "z"]].concat(), &words);
    }
}

#[test]
fn files_that_are_no_table_of_costs_are_refused() {
    let folder = Folder::new();
    let file = folder.file("costs.json", "{}");
    for command in ["bench", "matrix", "micro"] {
        assert_refused(&[command, "--costs", &file], &["costs.json", "no table of costs"]);
    }
}
