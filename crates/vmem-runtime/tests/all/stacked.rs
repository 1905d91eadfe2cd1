//! What every resource of the workspace says of itself, whatever it is stacked on.

use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Answer, Backtraces, Budget, Track};
use vmem_core::{AsyncMemory, Device, DeviceMemory, MemoryResource, PinnedMemory, ResourceExt};
use vmem_managed::{ManagedMemory, Prefetch};
use vmem_pool::{BinningPool, Chunks, Pool, PoolConfig, VirtualArena};
use vmem_runtime::{Registry, Reservations};

use crate::support::device;

type Erased = Arc<dyn MemoryResource>;

fn leaves(device: &Arc<dyn Device>) -> [(&'static str, Erased); 4] {
    let device = || device.clone();
    [
        ("DeviceMemory", DeviceMemory::new(device()).into_dyn()),
        ("PinnedMemory", PinnedMemory::new(device()).unwrap().into_dyn()),
        ("AsyncMemory", AsyncMemory::new(device()).unwrap().into_dyn()),
        ("ManagedMemory", ManagedMemory::new(device()).unwrap().into_dyn()),
    ]
}

fn wrapped(upstream: &Erased) -> [(&'static str, Erased); 9] {
    let up = || upstream.clone();
    let config = PoolConfig::default;
    [
        ("Statistics<…>", up().with_statistics().into_dyn()),
        ("OnFailure<…>", up().on_failure(|_| Answer::GiveUp).into_dyn()),
        ("Limit<…, 4096 B>", up().limited(Budget::new(4096)).into_dyn()),
        ("Track<…, backtraces>", Track::new(up(), Backtraces::Capture).into_dyn()),
        ("Scrub<…>", up().scrubbed().unwrap().into_dyn()),
        ("Prefetch<…>", Prefetch::new(up()).into_dyn()),
        ("Reservations<…>", Reservations::new(up()).into_dyn()),
        ("Pool<Chunks<…>>", Pool::new(Chunks::new(up()), config()).unwrap().into_dyn()),
        ("BinningPool<…>", BinningPool::new(up(), config()).unwrap().into_dyn()),
    ]
}

#[test]
fn every_resource_prints_its_name_around_its_upstreams_and_names_its_upstreams_device() {
    let device: Arc<dyn Device> = device();
    let arena = Pool::new(VirtualArena::new(device.clone()).unwrap(), PoolConfig::default());
    let pool = ("Pool<VirtualArena>", arena.unwrap().into_dyn());
    for (name, leaf) in leaves(&device).into_iter().chain([pool]) {
        assert_eq!(leaf.to_string(), name);
        assert!(Arc::ptr_eq(leaf.device(), &device), "{name}");
        for (pattern, wrapper) in wrapped(&leaf) {
            assert_eq!(wrapper.to_string(), pattern.replace('…', name));
            assert!(Arc::ptr_eq(wrapper.device(), &device), "{wrapper}");
            let boxed: Box<dyn MemoryResource + '_> = Box::new(&*wrapper);
            assert_eq!(boxed.to_string(), wrapper.to_string());
        }
    }
}

#[test]
fn a_resource_becomes_current_on_the_device_it_is_on_and_on_no_other() {
    let (here, there): (Arc<dyn Device>, Arc<dyn Device>) = (device(), device());
    let registry = Registry::new();
    let resource = DeviceMemory::new(there.clone()).into_dyn();
    drop(registry.set(resource.clone()));
    assert!(Arc::ptr_eq(&registry.current(&there), &resource));
    assert_eq!(registry.current(&here).device().id(), here.id());
}
