//! Host time of one allocate and free of a size that was just freed, one stream, one thread.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use vmem_benches::{device, driver_calls};
use vmem_core::{BlockLayout, DeviceMemory, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Chunks, Pool, PoolConfig, VirtualArena};

const CAPACITY: u64 = 1 << 30;
const SIZE: u64 = 1 << 20;

fn pairs(criterion: &mut Criterion) {
    let device = device(CAPACITY);
    let stream = Stream::new(device.clone()).expect("a fresh device gives streams");
    let layout = BlockLayout::new(SIZE).expect("the size is valid");
    let arena = VirtualArena::new(device.clone()).expect("the device has virtual memory");
    let on_arena = Pool::new(arena, PoolConfig::default()).expect("nothing is held at first");
    let chunks = Chunks::new(DeviceMemory::new(device.clone()), device.clone());
    let on_chunks = Pool::new(chunks, PoolConfig::default()).expect("nothing is held at first");
    let stacks: [(&str, &dyn MemoryResource); 3] = [
        ("driver calls", &driver_calls(device)),
        ("pool on chunks", &on_chunks),
        ("pool on an arena", &on_arena),
    ];
    let mut group = criterion.benchmark_group("pair of 1 MiB");
    for (name, stack) in stacks {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let block = stack
                    .alloc(black_box(layout), &stream)
                    .expect("the device has room for one block");
                // SAFETY: contract, freeing 1-3: no work was queued on the block, and the stream
                // is a valid one of its device.
                unsafe { stack.deallocate(block, &stream) }.expect("the block is live");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pairs);
criterion_main!(benches);
