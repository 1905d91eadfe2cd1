//! The scenarios that show what each tier is for.

use serde_json::Value;

use crate::support::{document, ran};

fn row<'a>(document: &'a Value, workload: &str, tier: &str) -> &'a Value {
    let rows = document["rows"].as_array().unwrap();
    rows.iter().find(|row| row["workload"] == workload && row["tier"] == tier).unwrap()
}

#[test]
fn a_cache_that_fills_the_device_stops_tier_a_and_not_tier_b() {
    let (code, document) = document(&["bench", "--workload", "reclaim", "--scale", "10k"]);
    assert_eq!(code, 0, "{document:#}");
    let (a, b) = (row(&document, "reclaim", "a"), row(&document, "reclaim", "b"));
    assert_eq!((&a["passed"], &a["failures"]), (&false.into(), &1.into()));
    assert_eq!((&b["passed"], &b["failures"]), (&true.into(), &0.into()));
    assert!(b["retries"].as_u64().unwrap() > 0, "{b:#}");
    let table = ran(&["bench", "--workload", "reclaim", "--scale", "10k"]).out;
    assert!(table.contains("failed as it should: reclaim on a"), "{table}");
}

#[test]
fn an_overlay_larger_than_the_device_finishes_on_tier_c_and_says_how_much_slower() {
    for walk in ["face-walk-local", "face-walk-global", "face-walk-dependent"] {
        let (code, document) = document(&["bench", "--workload", walk, "--scale", "10k"]);
        assert_eq!(code, 0, "{document:#}");
        let row = row(&document, walk, "c");
        assert_eq!(row["passed"], true);
        let bytes = |key: &str| row[key].as_u64().unwrap();
        assert!(bytes("peak_live_bytes") * 100 > bytes("capacity_bytes") * 149, "{row:#}");
        assert!(bytes("peak_reserved_bytes") <= bytes("capacity_bytes"));
        assert!(bytes("migrated_bytes") > 0);
        assert!(row["slowdown"].as_f64().unwrap() > 1.0);
    }
}

#[test]
fn a_failed_set_up_lands_on_the_fallback() {
    let (code, document) = document(&["bench", "--workload", "set-up-failure", "--scale", "10k"]);
    assert_eq!(code, 0, "{document:#}");
    for tier in ["a", "b"] {
        let row = row(&document, "set-up-failure", tier);
        assert_eq!(row["passed"], true);
        let stack = row["stack"].as_str().unwrap();
        assert!(stack.contains("BinningPool"), "{stack}");
        assert_eq!(stack.contains("OnFailure"), tier == "b", "{stack}");
    }
}

#[test]
fn a_scenario_says_which_tiers_it_runs_on() {
    let outcome = ran(&["bench", "--workload", "face-walk-local", "--tier", "a,b"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("face-walk-local runs on these tiers only: c"), "{}", outcome.err);
}
