//! `vmem-lab matrix`.

use vmem_core::DriverCode;
use vmem_sim::{Bytes, CallKind, Parts, SimConfig, SimDevice};

use crate::support::{Folder, Hardware, document, document_on, ran, ran_on};

/// What a card has that the matrix can run on.
const CARD: u64 = 2 << 30;

/// The cells of a document as (check, tier, result, reason).
fn cells(document: &serde_json::Value) -> Vec<(&str, &str, &str, &str)> {
    fn text<'a>(cell: &'a serde_json::Value, key: &str) -> &'a str {
        cell[key].as_str().unwrap_or_default()
    }
    let cells = document["cells"].as_array().unwrap().iter();
    cells
        .map(|cell| {
            (text(cell, "check"), text(cell, "tier"), text(cell, "result"), text(cell, "reason"))
        })
        .collect()
}

#[test]
fn every_stack_builds_copies_and_reuses_memory_across_streams() {
    let (code, document) = document(&["matrix", "--check", "tier/,copies/,streams/"]);
    let cells = cells(&document);
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(cells.len(), 9 * 8);
    for &(check, tier, result, reason) in &cells {
        let skipped = match (check, tier) {
            ("tier/builds_as_asked", "fallback") => true,
            ("tier/falls_back_on_a_failing_driver", tier) => {
                !["a", "b", "fallback"].contains(&tier)
            }
            ("streams/moves_keep_every_byte", tier) => {
                !["a", "b", "a-bare", "a-tight"].contains(&tier)
            }
            _ => false,
        };
        assert_eq!(result, if skipped { "skip" } else { "pass" }, "{check} on {tier}: {reason}");
    }
    let reuse = cells.iter().find(|cell| cell.0 == "streams/reuse_is_ordered").unwrap();
    assert!(reuse.3.contains("taken over from the other stream"), "{reuse:?}");
}

#[test]
fn two_devices_are_apart_on_every_stack() {
    let checks = "devices/registry,devices/copies,devices/strange";
    // The conformance suite takes seconds a stack: here on one that moves memory and one that does not.
    let conformance = ["matrix", "--check", "devices/conformance", "--tier", "a,c"];
    for (args, wanted) in [(&["matrix", "--check", checks][..], 3 * 8), (&conformance, 2)] {
        let (code, document) = document(args);
        assert_eq!(code, 0, "{document:#}");
        let cells = cells(&document);
        assert_eq!(cells.len(), wanted);
        for (check, tier, result, reason) in cells {
            assert_eq!(result, "pass", "{check} on {tier}: {reason}");
        }
    }
}

#[test]
fn a_machine_with_one_card_skips_what_takes_two() {
    let backend = Hardware::of(SimDevice::new(CARD));
    let (code, document) = document_on(backend, &["matrix", "--tier", "a", "--check", "devices/"]);
    assert_eq!(code, 0, "{document:#}");
    for (check, _, result, reason) in cells(&document) {
        assert_eq!(
            (result, reason),
            ("skip", "there is no second device: there is no card 1"),
            "{check}"
        );
    }
}

#[test]
fn what_stays_on_the_second_card_fails_the_cell() {
    let second = SimDevice::new(CARD);
    // Unmapping fails for ever: the pool cannot return what it mapped.
    for nth in 1..2_000 {
        second.fail_call(Some(CallKind::Unmap), nth, DriverCode::UNKNOWN);
    }
    let backend = Hardware::cards(vec![SimDevice::new(CARD), second]);
    let args = ["matrix", "--tier", "a-bare", "--check", "devices/registry_and_threads"];
    let (code, document) = document_on(backend, &args);
    let cells = cells(&document);
    assert_eq!((code, cells[0].2), (1, "fail"), "{cells:?}");
    assert!(cells[0].3.contains("the second device: "), "{cells:?}");
}

#[test]
fn a_second_card_that_loses_bytes_fails_what_compares_them() {
    let config = SimConfig { capacity: CARD, bytes: Bytes::None, ..SimConfig::default() };
    let second = SimDevice::with_config(config).unwrap();
    let backend = Hardware::cards(vec![SimDevice::new(CARD), second]);
    let args = ["matrix", "--tier", "a", "--check", "devices/"];
    let (code, document) = document_on(backend, &args);
    assert_eq!(code, 1);
    let cells = cells(&document);
    for check in ["devices/registry_and_threads", "devices/copies_between"] {
        let cell = cells.iter().find(|cell| cell.0 == check).unwrap();
        assert_eq!(cell.2, "fail", "{cell:?}");
    }
}

#[test]
fn the_contract_and_the_workloads_hold_on_the_bare_pool() {
    let args = ["matrix", "--tier", "a-bare", "--check", "conformance/,workload/"];
    let (code, document) = document(&args);
    assert_eq!(code, 0, "{document:#}");
    assert!(document["passed"].as_u64().unwrap() > 35, "{document:#}");
    assert_eq!((&document["failed"], &document["skipped"]), (&0.into(), &0.into()));
}

#[test]
fn a_cell_has_exactly_the_documented_keys() {
    let args = ["matrix", "--tier", "plain", "--check", "copies/fills", "--seed", "3"];
    let (_, document) = document(&args);
    assert_eq!(document["schema"], "vmem-matrix/1");
    assert_eq!(document["seed"], 3);
    assert_eq!(document["device"]["simulated"], true);
    let cell = document["cells"][0].as_object().unwrap();
    let mut keys: Vec<_> = cell.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["check", "device", "reason", "result", "tier"]);
    assert_eq!((&cell["check"], &cell["device"]), (&"copies/fills".into(), &"sim".into()));
}

#[test]
fn a_device_that_loses_bytes_fails_every_check_that_compares_them() {
    let forgetful = || {
        let config = SimConfig { capacity: CARD, bytes: Bytes::None, ..SimConfig::default() };
        Hardware::new(config)
    };
    let checks = "copies/,workload/overlay-core,workload/random,streams/";
    let (code, document) = document_on(forgetful(), &["matrix", "--tier", "a", "--check", checks]);
    assert_eq!(code, 1);
    for (check, _, result, reason) in cells(&document) {
        assert_eq!(result, "fail", "{check}");
        assert!(reason.contains("byte"), "{check}: {reason}");
    }
    let outcome = ran_on(forgetful(), &["matrix", "--tier", "a", "--check", "copies/fills"]);
    assert!(outcome.out.contains("FAILED: copies/fills on a: 1 B: "), "{}", outcome.out);
}

#[test]
fn a_failing_driver_fails_cells_and_ends_nothing() {
    let device = SimDevice::new(CARD);
    device.fail_call(Some(CallKind::CopyWithin), 1, DriverCode(12_345));
    device.fail_call(Some(CallKind::Free), 1, DriverCode::UNKNOWN);
    let checks = "copies/device_device,copies/host_device_host";
    let args = ["matrix", "--tier", "plain,a-chunks", "--check", checks];
    let (code, document) = document_on(Hardware::of(device), &args);
    let cells = cells(&document);
    assert_eq!((code, cells.len()), (1, 4));
    assert!(cells.iter().any(|cell| cell.3.contains("12345")), "{cells:?}");
    assert!(cells.iter().any(|cell| cell.3.contains("drops failed")), "{cells:?}");
    assert!(cells.iter().any(|cell| cell.2 == "pass"), "{cells:?}");
}

#[test]
fn a_lost_device_fails_every_cell() {
    let device = SimDevice::new(CARD);
    let backend = Hardware::of(device.clone());
    device.lose();
    let outcome = ran_on(backend, &["matrix", "--tier", "a", "--check", "copies/"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("719"), "{outcome:?}");
}

#[test]
fn memory_that_does_not_come_back_fails_the_cell() {
    let device = SimDevice::new(CARD);
    // Unmapping fails for ever: the pool cannot return what it mapped.
    for nth in 1..2_000 {
        device.fail_call(Some(CallKind::Unmap), nth, DriverCode::UNKNOWN);
    }
    let checks = "tier/keeps_nothing_when_repeated,workload/overlay-core";
    let args = ["matrix", "--tier", "a-bare", "--check", checks];
    let (code, document) = document_on(Hardware::of(device), &args);
    let cells = cells(&document);
    assert_eq!((code, cells[0].2, cells[1].2), (1, "fail", "fail"), "{cells:?}");
    assert!(cells[0].3.contains("missing after 2 repetitions, "), "{cells:?}");
}

#[test]
fn what_a_device_lacks_is_skipped_by_name() {
    let parts = Parts::all() - Parts::VIRTUAL_MEMORY - Parts::CONCURRENT_MANAGED;
    let backend = Hardware::new(SimConfig { capacity: CARD, parts, ..SimConfig::default() });
    let checks = "tier/builds_as_asked,streams/moves_keep_every_byte,copies/fills";
    let (code, document) = document_on(backend, &["matrix", "--check", checks]);
    assert_eq!(code, 0, "{document:#}");
    for (check, tier, result, reason) in cells(&document) {
        let lacks = match (check, tier) {
            (_, "a-bare" | "a-tight") | ("streams/moves_keep_every_byte", _) if tier != "c" => {
                "virtual memory"
            }
            (_, "c") => "managed memory",
            ("tier/builds_as_asked", "fallback") => "nobody asks",
            _ => "",
        };
        assert_eq!(result, if lacks.is_empty() { "pass" } else { "skip" }, "{check} on {tier}");
        assert!(reason.contains(lacks), "{check} on {tier}: {reason}");
    }
}

#[test]
fn without_a_device_every_cell_is_skipped_for_that_reason() {
    let (code, document) = document_on(Hardware::absent("no card is plugged in"), &["matrix"]);
    assert_eq!(code, 0);
    assert!(document["device"].is_null());
    let cells = cells(&document);
    // Every check on every stack.
    assert_eq!(cells.len() % 8, 0);
    assert!(cells.len() / 8 > 40);
    assert!(cells.iter().all(|cell| (cell.2, cell.3) == ("skip", "no card is plugged in")));

    let backend = Hardware::absent("no card is plugged in");
    let outcome = ran_on(backend, &["matrix", "--require-device"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    assert!(outcome.err.contains("no card is plugged in"));
}

#[test]
fn recorded_traces_are_cells_where_there_is_room() {
    let folder = Folder::new();
    folder.file("small.csv", "id,lower,upper,size\n0,0,2,3145728\n1,1,2,1048576\n");
    folder.file("large.csv", "id,lower,upper,size\n0,0,2,99999999999\n");
    let traces = folder.path(".");
    let args = ["matrix", "--traces", &traces, "--check", "trace/", "--tier", "a,c"];
    let (code, document) = document(&args);
    assert_eq!(code, 0, "{document:#}");
    let found: Vec<_> = cells(&document).into_iter().map(|c| (c.0, c.1, c.2)).collect();
    let expected = [
        ("trace/large", "a", "skip"),
        ("trace/small", "a", "pass"),
        ("trace/large", "c", "skip"),
        ("trace/small", "c", "skip"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn cells_are_announced_before_they_run() {
    let args = ["matrix", "--tier", "plain", "--check", "copies/", "--announce"];
    let outcome = ran(&args);
    let expected = "copies/host_device_host on plain\ncopies/device_device on plain\n\
                    copies/fills on plain\n";
    assert_eq!(outcome.err, expected);
}
