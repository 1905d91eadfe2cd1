//! Stacks to replay over: plain device memory on the simulated device; and reading.

use std::sync::Arc;

use vmem_benches::{SimStack, replay_stack};
use vmem_core::{BoxedError, DeviceMemory, MemoryResource};
use vmem_sim::{Bytes, Checker, SimConfig, SimDevice};
use vmem_trace::{
    Irregularity, ReadError, ReadOptions, Reading, Strictness, Trace, Workload, WorkloadOptions,
    read,
};

pub(crate) fn device(capacity: u64, checker: Checker) -> Arc<SimDevice> {
    SimDevice::with_config(SimConfig {
        capacity,
        bytes: Bytes::None,
        checker,
        ..SimConfig::default()
    })
    .unwrap()
}

pub(crate) fn stack_of(
    device: &Arc<SimDevice>,
    wrap: impl FnOnce(DeviceMemory) -> Arc<dyn MemoryResource>,
) -> SimStack {
    let resource = wrap(DeviceMemory::new(device.clone()));
    replay_stack("DeviceMemory", device.clone(), resource)
}

pub(crate) fn plain(device: &Arc<SimDevice>) -> SimStack {
    stack_of(device, |memory| Arc::new(memory))
}

pub(crate) fn plain_factory(capacity: u64) -> Result<SimStack, BoxedError> {
    Ok(plain(&device(capacity, Checker::Off)))
}

pub(crate) fn generate(workload: Workload, scale: &str) -> Trace {
    let options = WorkloadOptions { scale: scale.parse().unwrap(), ..workload.defaults() };
    workload.generate(&options).unwrap()
}

/// Reads what is as it should be, or the first thing that is not.
pub(crate) fn strictly(name: &str, bytes: &[u8]) -> Result<Trace, ReadError> {
    let mut options = ReadOptions::default();
    options.strictness = Strictness::Strict;
    let reading = options.read(name, bytes)?;
    assert_eq!(reading.notes, [], "{name}");
    Ok(reading.trace)
}

/// Reads what is there.
pub(crate) fn tolerantly(name: &str, bytes: &[u8]) -> Result<Reading, ReadError> {
    read(name, bytes)
}

/// How often something was got over.
pub(crate) fn count(reading: &Reading, what: Irregularity) -> u64 {
    let note = reading.notes.iter().find(|note| note.what == what);
    note.map_or(0, |note| note.count)
}

/// A file from the folder of samples.
pub(crate) fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    std::fs::read(std::path::Path::new(folder).join(name)).unwrap()
}
