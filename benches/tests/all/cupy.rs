//! The model of CuPy's device memory pool against a model that was checked against CuPy.

use vmem_benches::{cupy_pool, device};
use vmem_core::{Block, BlockLayout, MemoryResource, ResourceExt, Stream};

use crate::support::{
    assert_close, assert_smallest_device, baseline, peak_reserved, ratio, smallest_device, trace,
};

const KIB: u64 = 1 << 10;

/// The most bytes reserved on 64 GiB, and the smallest device over peak live.
const REFERENCES: [(&str, u64, f64); 7] = [
    ("pangu_2.6B", 8_004_848_640, 1.0180),
    ("resnet50", 1_651_952_640, 1.0012),
    ("iopddl_G_1", 3_071_115_264, 1.0038),
    ("overlay", 5_251_558_912, 1.1729),
    ("overlay-core", 2_271_014_912, 1.1879),
    ("dissolve", 4_216_319_488, 1.2274),
    ("spatial-join", 301_872_640, 1.0159),
];

/// On these it matters which of several chunks of one size is taken, which CuPy leaves open.
const OPEN: [&str; 2] = ["pangu_2.6B", "overlay"];

#[test]
fn it_reserves_what_cupy_reserves() {
    for (name, reference, _) in REFERENCES {
        let Some(trace) = trace(name) else { continue };
        let reserved = peak_reserved(baseline("cupy"), &trace);
        if name == "pangu_2.6B" {
            assert_close(name, ratio(reserved, &trace), ratio(reference, &trace));
        } else {
            assert_eq!(reserved, reference, "{name}");
        }
    }
}

#[test]
fn it_passes_on_the_devices_that_cupy_passes_on() {
    for (name, _, passed) in REFERENCES {
        let Some(trace) = trace(name) else { continue };
        if OPEN.contains(&name) {
            let smallest = smallest_device(baseline("cupy"), &trace);
            assert_close(name, ratio(smallest, &trace), passed);
        } else {
            assert_smallest_device("cupy", &trace, passed);
        }
    }
}

fn alloc(memory: &impl MemoryResource, bytes: u64, stream: &Stream) -> Block {
    memory.allocate_on(BlockLayout::new(bytes).unwrap(), stream).unwrap()
}

fn free(memory: &impl MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
    unsafe { memory.deallocate(block, stream) }.unwrap();
}

#[test]
fn chunks_split_and_join_inside_their_driver_allocation_only() {
    let device = device(1 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = cupy_pool(device.clone());
    let neighbours = [4 * KIB, 4 * KIB].map(|bytes| alloc(&memory, bytes, &stream));
    for block in neighbours {
        free(&memory, block, &stream);
    }
    let parts = [KIB, 2 * KIB, KIB].map(|bytes| alloc(&memory, bytes, &stream));
    assert_eq!(device.used(), 8 * KIB, "all parts are of one of the two");
    let [first, second, third] = parts;
    for block in [first, third, second] {
        free(&memory, block, &stream);
    }
    let whole = [4 * KIB, 4 * KIB].map(|bytes| alloc(&memory, bytes, &stream));
    assert_eq!(device.used(), 8 * KIB, "the parts are whole again");
    for block in whole {
        free(&memory, block, &stream);
    }
    let larger = alloc(&memory, 4 * KIB + 1, &stream);
    assert_eq!(device.used(), 12 * KIB + 512, "the two never join");
    free(&memory, larger, &stream);
}

#[test]
fn short_of_memory_it_returns_what_is_wholly_free_and_tries_again() {
    let device = device(8 * KIB);
    let [first, second] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let memory = cupy_pool(device.clone());
    let [split, whole] = [4 * KIB, 3 * KIB].map(|bytes| alloc(&memory, bytes, &first));
    free(&memory, split, &first);
    let part = alloc(&memory, KIB, &first);
    free(&memory, whole, &first);
    // Another stream cannot use what is free, but its memory comes from what is returned.
    let other = alloc(&memory, 4 * KIB, &second);
    assert_eq!(device.used(), 8 * KIB);
    assert!(memory.allocate_on(BlockLayout::new(KIB).unwrap(), &second).is_err());
    free(&memory, part, &first);
    free(&memory, other, &second);
}
