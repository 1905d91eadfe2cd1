//! Configuration, cost table and counters as data.

use vmem_core::Device;
use vmem_sim::{CallCounts, CostTable, SimConfig, SimDevice};

#[test]
fn a_configuration_survives_the_way_there_and_back() {
    let config = SimConfig { capacity: 7 << 20, seed: 3, ..SimConfig::default() };
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<SimConfig>(&text).unwrap(), config);
}

#[test]
fn a_cost_table_names_what_differs_and_nothing_unknown() {
    let table: CostTable = serde_json::from_str(r#"{"allocate_ns": 7}"#).unwrap();
    assert_eq!(table, CostTable { allocate_ns: 7, ..CostTable::default() });
    assert!(serde_json::from_str::<CostTable>(r#"{"alocate_ns": 7}"#).is_err());
}

#[test]
fn counters_are_a_map_from_what_was_called() {
    let device = SimDevice::new(1 << 20);
    device.allocate(1).unwrap();
    assert_eq!(serde_json::to_string(&device.calls()).unwrap(), r#"{"Allocate":1}"#);
    assert_eq!(serde_json::to_string(&CallCounts::default()).unwrap(), "{}");
}
