//! `vmem-lab micro`.

use std::fs;

use vmem_sim::{CostTable, MeasuredCosts, Parts, SimConfig, SimDevice};

use crate::support::{Folder, Hardware, document, document_on, ran_on};

#[test]
fn the_simulated_device_measures_as_the_costs_it_was_given() {
    let folder = Folder::new();
    let path = folder.path("table.json");
    let args = ["micro", "--samples", "5", "--name", "own", "--table", &path];
    let (code, document) = document(&args);
    assert_eq!(code, 0, "{:#}", document["failures"]);
    assert_eq!(
        (&document["schema"], &document["clock"]),
        (&"vmem-micro/1".into(), &"virtual".into())
    );
    assert_eq!(document["left_out"].as_array().unwrap().len(), 0);

    let table: MeasuredCosts = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((table.name.as_str(), table.device.as_str()), ("own", "simulated device"));
    let of_kernels = ["host_bytes_per_us", "random_bytes_per_us", "host_random_bytes_per_us"];
    assert_eq!(table.estimated, of_kernels);
    for ((name, found), (_, given)) in table.costs.entries().zip(CostTable::default().entries()) {
        // Rates and what is computed from them are rounded.
        assert!(found.abs_diff(given) * 1000 <= given, "{name}: {found}, not {given}");
    }
}

#[test]
fn rows_say_what_was_measured_how_often_and_beside_what() {
    let (_, document) = document(&["micro", "--samples", "5"]);
    let rows = document["rows"].as_array().unwrap();
    let find = |operation: &str, bytes: u64, beside: &str| {
        let found = rows.iter().find(|row| {
            row["operation"] == operation && row["bytes"] == bytes && row["beside"] == beside
        });
        found.unwrap_or_else(|| panic!("no {operation} of {bytes} B beside {beside}"))
    };
    for bytes in [2 << 20, 20 << 20, 128 << 20] {
        for beside in ["nothing", "busy-stream", "launching-thread"] {
            for operation in ["reserve", "create", "map", "set access", "unmap", "release"] {
                let row = find(operation, bytes, beside);
                assert_eq!(row["calls"], 5);
                let ns = |key: &str| row[key].as_u64().unwrap();
                assert!(ns("min_ns") <= ns("p10_ns") && ns("p10_ns") <= ns("median_ns"), "{row}");
                assert!(ns("median_ns") <= ns("p90_ns") && ns("p90_ns") <= ns("max_ns"), "{row}");
            }
            find("map again, set access", bytes, beside);
        }
        let of = |operation| find(operation, bytes, "nothing")["median_ns"].as_u64().unwrap();
        assert!(of("map again, set access") < of("create, map, set access"));
    }
    for bytes in [2 << 20, 20 << 20, 128 << 20] {
        for operation in ["create", "map", "set access", "unmap", "release"] {
            find(&format!("{operation} on the host"), bytes, "nothing");
        }
        for way in ["to", "from"] {
            find(&format!("copy {way} a handle on the host"), bytes, "nothing");
        }
    }
    for memory in ["plain", "pinned", "managed", "async"] {
        find(&format!("allocate {memory}"), 2 << 20, "nothing");
        find(&format!("free {memory}"), 2 << 20, "nothing");
    }
    for way in ["from pageable", "to pageable", "from pinned", "to pinned"] {
        find(&format!("copy {way} memory"), 16 << 20, "nothing");
    }
    let pairs = rows.iter().filter(|row| row["operation"].as_str().unwrap().starts_with("pair on"));
    assert_eq!(pairs.count(), 4);
}

#[test]
fn what_a_device_lacks_is_left_out_and_keeps_its_default() {
    let config = SimConfig { capacity: 3 << 30, parts: Parts::empty(), ..SimConfig::default() };
    let (code, document) = document_on(Hardware::new(config), &["micro", "--samples", "5"]);
    assert_eq!(code, 0, "{:#}", document["failures"]);
    assert_eq!(document["clock"], "host");
    let left_out = document["left_out"].to_string();
    for part in ["virtual memory", "managed memory", "pinned memory", "stream-ordered memory"] {
        assert!(left_out.contains(part), "{left_out}");
    }
    let estimated = document["table"]["estimated"].to_string();
    for cost in [
        "create_ns",
        "map_ns",
        "host_create_mebibyte_ns",
        "host_map_ns",
        "managed_allocate_ns",
        "pinned_mebibyte_ns",
    ] {
        assert!(estimated.contains(cost), "{estimated}");
        assert!(!estimated.contains("\"allocate_ns\""), "{estimated}");
    }
}

#[test]
fn a_small_card_is_not_asked_for_more_than_it_may_give() {
    let device = SimDevice::new((1 << 30) + (64 << 20));
    let backend = Hardware::of(device.clone());
    let (code, document) = document_on(backend, &["micro", "--samples", "5"]);
    assert_eq!(code, 0, "{:#}", document["failures"]);
    assert!(document["left_out"].to_string().contains("it takes 128.0 MiB"));
    assert!(device.peak_used() <= 64 << 20, "{} B", device.peak_used());
}

#[test]
fn a_driver_that_fails_is_reported_and_the_rest_measured() {
    let device = SimDevice::new(3 << 30);
    device.fail_sizes_above(100 << 20);
    let (code, document) = document_on(Hardware::of(device), &["micro", "--samples", "5"]);
    assert_eq!(code, 1);
    assert!(document["failures"].to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"));
    let rows = document["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["operation"] == "pair on tier A"));
}

#[test]
fn without_a_device_nothing_is_measured_unless_one_is_required() {
    let absent = || Hardware::absent("no card is plugged in");
    let (code, document) = document_on(absent(), &["micro"]);
    assert_eq!((code, &document["skipped"]), (0, &"no card is plugged in".into()));
    assert_eq!(ran_on(absent(), &["micro", "--require-device"]).code, 1);
}
