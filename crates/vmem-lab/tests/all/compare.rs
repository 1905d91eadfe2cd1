//! `vmem-lab bench --compare`.

use vmem_sim::SimDevice;

use crate::support::{Folder, Hardware, document, document_on, ran, ran_on};

const TINY: &[&str] = &["bench", "--compare", "--workload", "overlay-core", "--scale", "1k"];

#[test]
fn every_baseline_stands_beside_tier_a_for_workloads_and_traces() {
    let folder = Folder::new();
    folder.file("lives.csv", "id,lower,upper,size\n0,0,2,1000000\n1,1,3,3000000\n");
    let traces = folder.path("");
    let args = [TINY, &["--traces", &traces]].concat();
    let (code, document) = document(&args);
    assert_eq!(code, 0, "{document:#}");
    let rows = document["rows"].as_array().unwrap();
    let tiers = ["a", "rmm", "rmm-fixed", "cupy", "torch", "torch-expandable", "binning", "driver"];
    for workload in ["overlay-core", "lives"] {
        for tier in tiers {
            let same =
                |row: &&serde_json::Value| row["workload"] == workload && row["tier"] == tier;
            let row = rows.iter().find(same).unwrap();
            let bytes = |key: &str| row[key].as_u64().unwrap();
            assert!(bytes("min_device_bytes") >= bytes("peak_live_bytes"), "{row:#}");
        }
    }
    let table = ran(&args).out;
    for heading in ["peak reserved over peak live", "smallest device", "driver calls in all"] {
        assert!(table.contains(heading), "{table}");
    }
}

#[test]
fn a_folder_without_traces_is_no_error_and_one_that_is_not_there_and_a_broken_trace_are() {
    let folder = Folder::new();
    let (code, _) = document(&[TINY, &["--traces", &folder.path("")]].concat());
    assert_eq!(code, 0);
    let outcome = ran(&[TINY, &["--traces", &folder.path("nowhere")]].concat());
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("nowhere"), "{}", outcome.err);
    folder.file("broken.csv", "id,lower,upper,size\n0,5,2,1\n");
    let outcome = ran(&[TINY, &["--traces", &folder.path("")]].concat());
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("line 2"), "{}", outcome.err);
}

#[test]
fn no_traces_are_compared_unless_a_folder_is_given() {
    let (code, document) = document(TINY);
    assert_eq!(code, 0);
    let rows = document["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["workload"] == "overlay-core"));
}

#[test]
fn scenarios_and_tiers_are_not_compared() {
    let outcome = ran(&["bench", "--compare", "--workload", "reclaim"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("workloads, not scenarios"), "{}", outcome.err);
    assert_eq!(ran(&["bench", "--compare", "--tier", "a"]).code, 2);
}

#[test]
fn a_comparison_is_refused_on_a_card_and_a_model_runs_there_where_there_is_room() {
    let card = || Hardware::of(SimDevice::new(4 << 30));
    let outcome = ran_on(card(), TINY);
    assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{outcome:?}");

    let run = |scale| {
        let args = ["bench", "--workload", "overlay", "--scale", scale, "--tier", "cupy"];
        document_on(card(), &args)
    };
    let (code, fits) = run("1k");
    assert_eq!((code, &fits["rows"][0]["passed"]), (0, &true.into()), "{fits:#}");
    assert!(fits["rows"][0]["driver_calls"].as_u64().unwrap() > 0);
    let (code, too_large) = run("100k");
    assert_eq!((code, &too_large["rows"][0]["passed"]), (1, &false.into()), "{too_large:#}");
}
