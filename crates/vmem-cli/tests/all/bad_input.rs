//! Input that is not accepted: one clear message, exit code 2, nothing run, nothing written.

use crate::support::{Folder, Outcome, assert_refused, ran};

#[test]
fn unknown_names_are_refused_with_those_that_are_known() {
    assert_refused(
        &["bench", "--workload", "overlay,overly"],
        &["overly", "accepted", "overlay-core", "spatial-join"],
    );
    assert_refused(
        &["bench", "--tier", "z"],
        &["\"z\" is not a tier", "accepted: a, b, c, fallback, a-bare, a-tight, a-chunks, plain"],
    );
    assert_refused(
        &["bench", "--tier", ""],
        &["accepted: a, b, c, fallback, a-bare, a-tight, a-chunks, plain"],
    );
}

#[test]
fn capacities_that_no_device_has_are_refused() {
    assert_refused(&["bench", "--capacity", "0"], &["--capacity", "above zero"]);
    assert_refused(&["bench", "--capacity", "-1"], &["-1", "--capacity", "accepted"]);
    assert_refused(&["bench", "--capacity", "lots"], &["lots", "accepted", "GiB"]);
    assert_refused(&["bench", "--capacity", "99999999TiB"], &["2^64 bytes", "accepted"]);
    assert_refused(&["bench", "--capacity", "1000TiB"], &["accepted", "16 TiB"]);
}

#[test]
fn a_capacity_below_what_the_device_hands_out_is_refused_as_such_and_that_much_is_enough() {
    for capacity in ["1", "2097151", "1MiB"] {
        let words = ["--capacity", "accepted: 2.000 MiB or more"];
        assert_refused(&["bench", "--capacity", capacity], &words);
        let folder = Folder::new();
        let page = folder.path("page.html");
        let report = ["report", "--workload", "overlay_100k", "-o", &page];
        assert_refused(&[&report[..], &["--capacity", capacity]].concat(), &words);
        let log = folder
            .file("log.csv", "Thread,Time,Action,Pointer,Size,Stream\n1,0,allocate,0x1,512,0\n");
        let snapshot = folder.path("log.pickle");
        let convert = ["convert", &log, "-o", &snapshot];
        assert_refused(&[&convert[..], &["--capacity", capacity]].concat(), &words);
    }
    let args = ["bench", "--capacity", "2MiB", "--workload", "overlay-core", "--scale", "10"];
    let Outcome { code, err, out } = ran(&args);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
}

#[test]
fn scales_and_passes_out_of_range_are_refused() {
    assert_refused(&["bench", "--scale", "0"], &["scale", "accepted"]);
    assert_refused(&["bench", "--scale", "10q"], &["10q", "accepted"]);
    assert_refused(&["bench", "--scale", "99999999999999999999k"], &["accepted"]);
    let largest = u64::MAX.to_string();
    assert_refused(
        &["bench", "--workload", "overlay", "--scale", &largest],
        &["--scale 18446744073709551615", "accepted", "overlay"],
    );
    // A number below zero is out of range, not an unknown argument.
    for number in ["0", "-1", "x", "1.5", "4294967296"] {
        let words = ["--passes", number, "accepted: a whole number from 1 to 4294967295"];
        assert_refused(&["bench", "--passes", number], &words);
    }
    for option in ["--seed", "--page-pairs"] {
        let words = [option, "accepted: a whole number from", "18446744073709551615"];
        assert_refused(&["bench", option, "many"], &words);
    }
    let words = ["--trace-device", "accepted: a whole number from 0"];
    assert_refused(&["replay", "-", "--trace-device", "-1"], &words);
    assert_refused(&["bench", "--scale", "-5"], &["--scale", "\"-5\"", "accepted"]);
}

#[test]
fn unknown_arguments_and_missing_traces_are_refused() {
    assert_refused(&["bench", "--fast"], &["--fast"]);
    assert_refused(&["replay"], &["required"]);
    assert_refused(&["sork"], &["sork"]);
}

#[test]
fn what_only_the_laboratory_has_is_refused_with_its_name() {
    for args in [
        &["matrix"][..],
        &["micro"],
        &["soak"],
        &["bench", "--compare"],
        &["bench", "--traces", "d"],
    ] {
        let outcome = ran(args);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{args:?}");
        let said = format!("`{}` is in `vmem-lab`", args[1.min(args.len() - 1)]);
        assert!(outcome.err.contains(&said), "{args:?}: {}", outcome.err);
    }
    assert_refused(&["bench", "--tier", "torch"], &["\"torch\" is not a tier", "`vmem-lab` has"]);
    assert!(!ran(&["bench", "--fast"]).err.contains("vmem-lab"));
}

#[test]
fn traces_that_cannot_be_read_are_refused_with_line_and_text() {
    let folder = Folder::new();
    let missing = folder.path("missing.csv");
    assert_refused(&["replay", &missing], &["missing.csv"]);
    let empty = folder.file("empty.csv", "");
    assert_refused(&["replay", &empty], &["empty.csv", "accepted"]);
    let header = folder.file("header.csv", "a,b\n1,2\n");
    assert_refused(&["replay", &header], &["header.csv", "line 1", "a,b", "accepted"]);
    let row = folder.file("row.csv", "id,lower,upper,size\n0,0,5,64\n1,0,5,many\n");
    assert_refused(&["replay", "--strict", &row], &["row.csv", "line 3", "1,0,5,many"]);
    let log = "Thread,Time,Action,Pointer,Size,Stream\n1,0,free,0x10,8,0\n";
    let unallocated = folder.file("log.csv", log);
    assert_refused(&["replay", "--strict", &unallocated], &["log.csv", "line 2"]);
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_anything_runs() {
    let folder = Folder::new();
    let nowhere = folder.path("no/such/folder/rows.json");
    assert_refused(&["bench", "--json", &nowhere], &["no/such/folder", "accepts"]);
    let itself = folder.path(".");
    let absent = folder.path("absent/");
    assert_refused(&["bench", "--json", &absent], &["folder", "accepts"]);
    assert_refused(&["bench", "--json", &itself], &["folder", "accepts"]);
    assert_refused(&["bench", "--json", ""], &["--json"]);
    assert_refused(&["bench", "--json", ".."], &["accepts"]);
    assert!(folder.names().is_empty());
}

#[test]
fn a_refused_trace_leaves_an_existing_output_alone() {
    let folder = Folder::new();
    let output = folder.file("rows.json", "old");
    let missing = folder.path("missing.csv");
    assert_refused(&["replay", &missing, "--json", &output], &["missing.csv"]);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "old");
    assert_eq!(folder.names(), ["rows.json"]);
}

#[test]
fn help_lists_what_is_accepted() {
    let Outcome { code, out, err } = ran(&["bench", "--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for word in ["overlay-2s", "a-chunks", "80GiB", "--json", "100k"] {
        assert!(out.contains(word), "`{word}` is not in {out}");
    }
}

#[test]
fn devices_that_this_program_does_not_have_are_refused() {
    for device in ["card", "cuda:x", "cuda:-1", "sim:1", "", "gpu"] {
        let words = ["is not a device", "accepted: sim, cuda, cuda:1"];
        assert_refused(&["bench", "--device", device], &words);
    }
}

#[test]
fn files_that_are_no_table_of_costs_are_refused() {
    let folder = Folder::new();
    let missing = folder.path("missing.json");
    assert_refused(&["bench", "--costs", &missing], &["missing.json", "vmem-lab micro --table"]);
    for text in ["", "{}", "[1]", r#"{"name": "n", "costs": {"alocate_ns": 1}}"#] {
        let file = folder.file("costs.json", text);
        assert_refused(&["bench", "--costs", &file], &["costs.json", "no table of costs"]);
    }
}
