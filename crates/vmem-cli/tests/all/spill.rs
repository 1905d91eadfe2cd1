//! An overlay that spills: bytes and virtual time, which depend on nothing but the costs.

use serde_json::Value;

use crate::support::document;

/// The row of a scenario on tier B.
fn spilled(name: &str, scale: &str) -> Value {
    let (code, document) = document(&["bench", "--workload", name, "--scale", scale]);
    assert_eq!(code, 0, "{document:#}");
    let row = document["rows"][0].clone();
    assert_eq!((&row["tier"], &row["passed"]), (&"b".into(), &true.into()));
    row
}

fn bytes(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap()
}

fn ratio(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap()
}

#[test]
fn an_overlay_that_spills_moves_at_most_twice_what_knowing_the_future_would() {
    for over in ["1.2", "1.5", "2"] {
        for pattern in ["streaming", "random", "chasing"] {
            let row = spilled(&format!("spill-{over}-{pattern}"), "100k");
            assert!(bytes(&row, "peak_reserved_bytes") <= bytes(&row, "capacity_bytes"));
            let used = bytes(&row, "migrated_bytes") + bytes(&row, "used_on_host_bytes");
            assert!(bytes(&row, "migrated_bytes") > 0, "{row:#}");
            assert!(used <= 2 * bytes(&row, "least_moved_bytes"), "{row:#}");
            assert!(ratio(&row, "slowdown") > 1.0, "{row:#}");
            assert!(ratio(&row, "over_host") < 0.5, "{row:#}");
        }
    }
}

#[test]
fn an_overlay_that_spills_takes_little_longer_than_its_bytes_do_over_the_link() {
    for (scale, at_most) in [("100k", 2.3), ("600k", 1.6), ("2m", 1.35)] {
        let row = spilled("spill-1.5-streaming", scale);
        assert!(ratio(&row, "over_link") <= at_most, "{row:#}");
    }
}
