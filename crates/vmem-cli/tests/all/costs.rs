//! `--costs`.

use vmem_sim::{CostTable, MeasuredCosts};

use crate::support::{Folder, document, ran};

#[test]
fn a_measured_table_is_what_the_simulated_device_costs() {
    let folder = Folder::new();
    let table = |costs| MeasuredCosts {
        name: "test".to_owned(),
        date: "2025-01-31".to_owned(),
        device: "a card".to_owned(),
        driver: "a driver".to_owned(),
        estimated: Vec::new(),
        costs,
    };
    let run = |costs: CostTable| {
        let text = serde_json::to_string(&table(costs)).unwrap();
        let path = folder.file("costs.json", &text);
        let args = ["bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"];
        let args = [&args[..], &["--costs", &path]].concat();
        let (code, document) = document(&args);
        assert_eq!(code, 0);
        let header = ran(&args).out;
        assert!(header.starts_with("simulated device (costs of test, a card, 2025-01-31), "));
        document["rows"][0]["virtual_ms"].as_f64().unwrap()
    };
    let ordinary = CostTable::default();
    let dearer = CostTable { allocate_ns: ordinary.allocate_ns + 1_000_000, ..ordinary };
    // 3 passes of the 123 rows of the workload, a millisecond each.
    assert!((run(dearer) - run(ordinary) - 369.0).abs() < 0.01);
}

#[test]
fn calls_cost_what_they_do_on_an_h100_unless_said_otherwise() {
    let args = ["bench", "--workload", "overlay-core", "--scale", "1k", "--tier", "plain"];
    let header = ran(&args).out;
    let named = "simulated device (costs of h100, NVIDIA H100 80GB HBM3, 2026-11-23), ";
    assert!(header.starts_with(named), "{header}");
    let (code, document) = document(&args);
    assert_eq!(code, 0);
    let virtual_ns = document["rows"][0]["virtual_ms"].as_f64().unwrap() * 1e6;
    let CostTable { allocate_ns, free_ns, .. } = CostTable::H100;
    // 3 passes of the 123 rows of the workload: a block is allocated, waited for and freed.
    assert!(virtual_ns >= 369.0 * (allocate_ns + free_ns) as f64, "{virtual_ns}");
    assert!(virtual_ns <= 369.0 * 2.0 * (allocate_ns + free_ns) as f64, "{virtual_ns}");
}
