//! The core's leaves, held to the contract on the simulated device.

use std::sync::Arc;

use vmem_core::{AsyncMemory, Device, DeviceMemory, MemoryResource, PinnedMemory};
use vmem_sim::SimDevice;
use vmem_testkit::Countdown;
use vmem_testkit::conformance::{self, Subject};

fn conforms(resource: &dyn MemoryResource, device: &Arc<SimDevice>) {
    conformance::check(&Subject {
        other_device: Some(SimDevice::new(1 << 20)),
        budget: 16 << 20,
        ..Subject::new(resource)
    });
    device.assert_clean();
}

#[test]
fn device_memory_conforms() {
    let device = SimDevice::new(1 << 30);
    conforms(&DeviceMemory::new(device.clone()), &device);
}

#[test]
fn pinned_memory_conforms() {
    let device = SimDevice::new(1 << 30);
    conforms(&PinnedMemory::new(device.clone()).unwrap(), &device);
}

#[test]
fn async_memory_conforms() {
    let device = SimDevice::new(1 << 30);
    conforms(&AsyncMemory::new(device.clone()).unwrap(), &device);
}

#[test]
fn holders_of_a_resource_conform() {
    let device = SimDevice::new(1 << 30);
    let memory = DeviceMemory::new(device.clone());
    conforms(&&memory, &device);
    conforms(&Box::new(&memory), &device);
    let erased: Arc<dyn MemoryResource> = Arc::new(memory);
    conforms(&erased, &device);
}

#[test]
fn a_resource_behind_an_idle_countdown_conforms() {
    let device = SimDevice::new(1 << 30);
    let countdown = Countdown::new(device.clone());
    for resource in [
        &DeviceMemory::new(countdown.clone()) as &dyn MemoryResource,
        &PinnedMemory::new(countdown.clone()).unwrap(),
        &AsyncMemory::new(countdown.clone()).unwrap(),
    ] {
        let subject = Subject::new(resource);
        conformance::check(&Subject { budget: 16 << 20, ..subject });
    }
    device.assert_clean();
    assert_eq!(countdown.fired(), None);
    assert_ne!(countdown.calls(), 0);
}

#[test]
fn leaves_leak_rather_than_dangle() {
    let device: Arc<dyn Device> = SimDevice::new(1 << 30);
    conformance::check_leak(DeviceMemory::new(device.clone()));
    conformance::check_leak(PinnedMemory::new(device.clone()).unwrap());
    conformance::check_leak(AsyncMemory::new(device.clone()).unwrap());
}
