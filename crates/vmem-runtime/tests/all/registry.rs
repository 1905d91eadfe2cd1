//! Current resources of devices.

use std::sync::Arc;

use vmem_core::{Device, MemoryResource, Stream};
use vmem_runtime::{Recovery, Registry, Stack, Tier};

use crate::support::{MIB, alloc, config, device, free};

fn pool(device: &Arc<dyn Device>) -> Arc<dyn MemoryResource> {
    let stack = Stack::build(Tier::A, device.clone(), &config(), &Recovery::default());
    stack.unwrap().resource
}

/// RMM 1, 2, 18.
#[test]
fn set_returns_the_previous_still_usable_and_reset_restores_the_initial() {
    let device: Arc<dyn Device> = device();
    let stream = Stream::new(device.clone()).unwrap();
    let registry = Registry::new();
    let initial = registry.current(&device);
    let held = alloc(&initial, MIB, &stream);

    let first = pool(&device);
    let previous = registry.set(first.clone());
    assert!(Arc::ptr_eq(&previous, &initial));
    free(&previous, held, &stream);
    let block = alloc(&registry.current(&device), MIB, &stream);

    let previous = registry.set(pool(&device));
    assert!(Arc::ptr_eq(&previous, &first));
    free(&previous, block, &stream);

    drop(registry.reset(&device));
    assert!(Arc::ptr_eq(&registry.current(&device), &initial));
    let block = alloc(&registry.current(&device), MIB, &stream);
    free(&registry.current(&device), block, &stream);
}

/// RMM 13.
#[test]
fn devices_are_apart_when_each_is_set_from_its_own_thread() {
    let registry = Registry::new();
    let devices: Vec<Arc<dyn Device>> = (0..4).map(|_| device() as _).collect();
    let pools: Vec<_> = devices.iter().map(pool).collect();
    std::thread::scope(|scope| {
        for pool in &pools {
            let registry = &registry;
            scope.spawn(move || registry.set(pool.clone()));
        }
    });
    for (device, pool) in devices.iter().zip(&pools) {
        assert!(Arc::ptr_eq(&registry.current(device), pool));
    }
    registry.reset(&devices[0]);
    assert!(Arc::ptr_eq(&registry.current(&devices[1]), &pools[1]));
}

#[test]
fn the_process_has_one_registry_and_forgetting_lets_the_device_go() {
    let device: Arc<dyn Device> = device();
    assert!(Registry::global().forget(device.id()).is_none());
    Registry::global().set(pool(&device));
    assert!(Arc::strong_count(&device) > 1);
    assert!(Registry::global().forget(device.id()).is_some());
    assert_eq!(Arc::strong_count(&device), 1);
}
