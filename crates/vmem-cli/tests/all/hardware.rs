//! `bench` and `replay` on a device that is not the program's own to shape.

use vmem_sim::{SimConfig, SimDevice};

use crate::support::{Folder, Hardware, document, document_on, ran_on};

const SMALL: &[&str] = &["bench", "--workload", "overlay-core", "--scale", "10k"];

fn card(bytes: u64) -> Hardware {
    Hardware::new(SimConfig { capacity: bytes, ..SimConfig::default() })
}

#[test]
fn rows_are_those_of_the_simulated_device_but_for_its_clock() {
    let tiers = ["--tier", "a,b,fallback,a-bare,a-chunks,plain"];
    let (code, on_card) = document_on(card(8 << 30), &[SMALL, &tiers].concat());
    assert_eq!(code, 0, "{on_card:#}");
    assert_eq!(on_card["device"]["total_memory"], 8_u64 << 30);
    // How large handles are depends on how much there is.
    let (_, simulated) = document(&[SMALL, &tiers, &["--capacity", "7GiB"]].concat());
    let rows = |document: &serde_json::Value| document["rows"].as_array().unwrap().clone();
    for (card, own) in rows(&on_card).iter().zip(&rows(&simulated)) {
        let tier = &own["tier"];
        for key in ["workload", "tier", "allocations", "peak_live_bytes", "driver_calls_steady"] {
            assert_eq!(card[key], own[key], "{key} of {tier}");
        }
        let reserved = |row: &serde_json::Value| row["peak_reserved_bytes"].as_u64().unwrap();
        assert_eq!(reserved(card), reserved(own), "{tier}");
        assert!(card["virtual_ms"].is_null());
        assert!(card["ns_per_pair"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_gibibyte_of_a_card_stays_free() {
    let device = SimDevice::new(3 << 30);
    let args = [SMALL, &["--tier", "a,plain"]].concat();
    let outcome = ran_on(Hardware::of(device.clone()), &args);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.out.contains("card: simulated device"), "{}", outcome.out);
    assert!(outcome.out.contains("stacks hold at most 2.000 GiB"), "{}", outcome.out);

    let large = ["bench", "--workload", "overlay", "--scale", "100k", "--tier", "a,plain"];
    let (code, document) = document_on(Hardware::of(device.clone()), &large);
    assert_eq!(code, 1);
    for row in document["rows"].as_array().unwrap() {
        assert_eq!(row["passed"], false, "{row:#}");
    }
    assert!(device.peak_used() <= 2 << 30, "{} B", device.peak_used());

    let outcome = ran_on(card(1 << 30), SMALL);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.starts_with("skipped: the device has 1.000 GiB free"), "{outcome:?}");
}

#[test]
fn a_capacity_bounds_what_stacks_hold() {
    let device = SimDevice::new(4 << 30);
    let args = [SMALL, &["--tier", "a,plain", "--capacity", "100MiB"]].concat();
    let (_, document) = document_on(Hardware::of(device.clone()), &args);
    for row in document["rows"].as_array().unwrap() {
        assert_eq!(row["capacity_bytes"], 100 << 20);
    }
    assert!(device.peak_used() <= 100 << 20, "{} B", device.peak_used());
}

#[test]
fn managed_memory_is_bounded_on_a_card_whatever_there_is() {
    let args = ["bench", "--workload", "overlay", "--scale", "10k", "--tier", "c"];
    let (code, document) = document_on(card(8 << 30), &args);
    assert_eq!((code, &document["rows"][0]["passed"]), (1, &false.into()));
    let live = document["rows"][0]["peak_live_bytes"].as_u64().unwrap();
    assert!(live <= 128 << 20, "{live} B");
}

#[test]
fn what_only_a_simulation_can_do_is_refused() {
    let folder = Folder::new();
    let trace = folder.file("t.csv", "id,lower,upper,size\n0,0,2,64\n");
    for args in [
        &["bench", "--workload", "reclaim"][..],
        &["bench", "--min-device"],
        &["replay", &trace, "--min-device"],
        &["bench", "--costs", &trace],
    ] {
        let outcome = ran_on(card(4 << 30), args);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{args:?}: {outcome:?}");
    }
    let accepted = ran_on(card(4 << 30), &["bench", "--device", "sim", "--workload", "reclaim"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
}

#[test]
fn an_absent_device_is_skipped_unless_it_is_required() {
    let (code, document) = document_on(Hardware::absent("it is in the post"), SMALL);
    assert_eq!((code, &document["skipped"]), (0, &"it is in the post".into()));
    let outcome = ran_on(card(4 << 30), &[SMALL, &["--device", "card:3"]].concat());
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "skipped: there is no card 3\n"));
    let args = [SMALL, &["--device", "card:3", "--require-device"]].concat();
    let outcome = ran_on(card(4 << 30), &args);
    assert_eq!((outcome.code, outcome.err.as_str()), (1, "error: there is no card 3\n"));
}
