//! The model of RMM's pool against RMM's pool.

use vmem_benches::{RmmSize, device, rmm_pool};
use vmem_core::{Block, BlockLayout, MemoryResource, Request, ResourceExt, Stream};
use vmem_sim::{CallKind, SimDevice};
use vmem_testkit::TrackedBlock;

use crate::support::{assert_smallest_device, baseline, peak_reserved, trace};

const KIB: u64 = 1 << 10;

/// What RMM 26.08 itself came to over a stand-in for the CUDA runtime: the most bytes reserved on
/// 64 GiB by a pool that grows, and the smallest device over peak live on which that and a pool of
/// one reservation passed.
const REFERENCES: [(&str, u64, f64, f64); 7] = [
    ("pangu_2.6B", 6_823_150_080, 1.2314, 1.2314),
    ("resnet50", 2_877_292_544, 1.0066, 1.0025),
    ("iopddl_G_1", 5_235_418_112, 1.0197, 1.0064),
    ("overlay", 4_505_600_512, 1.0302, 1.0103),
    ("overlay-core", 2_252_800_512, 1.2599, 1.2206),
    ("dissolve", 5_632_000_000, 1.0928, 1.0689),
    ("spatial-join", 512_000_000, 1.0774, 1.0159),
];

#[test]
fn it_reserves_what_rmm_reserves() {
    // The stand-in rounded every driver allocation up to 512 bytes, the simulated device to 256.
    const ROUNDING: u64 = 2 * KIB;

    for (name, reference, ..) in REFERENCES {
        let Some(trace) = trace(name) else { continue };
        let reserved = peak_reserved(baseline("rmm"), &trace);
        assert!(
            (reference - ROUNDING..=reference).contains(&reserved),
            "{name}: {reserved}, RMM {reference}"
        );
    }
}

#[test]
fn it_passes_on_the_devices_that_rmm_passes_on() {
    for (name, _, growing, fixed) in REFERENCES {
        let Some(trace) = trace(name) else { continue };
        assert_smallest_device("rmm", &trace, growing);
        assert_smallest_device("rmm-fixed", &trace, fixed);
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
fn it_grows_by_what_it_holds_and_by_half_as_much_while_that_fails() {
    let device = device(10 * KIB);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = rmm_pool(device.clone(), RmmSize::GROWING).unwrap();
    let mut blocks = vec![alloc(&memory, 2 * KIB, &stream)];
    assert_eq!(device.used(), 2 * KIB);
    blocks.push(alloc(&memory, KIB, &stream));
    assert_eq!(device.used(), 4 * KIB);
    blocks.push(alloc(&memory, 2 * KIB, &stream));
    assert_eq!(device.used(), 8 * KIB);
    // What is left in the two pieces is 1 KiB and 2 KiB: they never join.
    blocks.push(alloc(&memory, 2 * KIB, &stream));
    blocks.push(alloc(&memory, KIB, &stream));
    // Of 8 KiB, 4 and 2, the device has only 2 left.
    blocks.push(alloc(&memory, KIB, &stream));
    assert_eq!(device.used(), 10 * KIB);
    for block in blocks {
        free(&memory, block, &stream);
    }
    assert_eq!(device.used(), 10 * KIB, "nothing is returned before the end");
    assert!(memory.allocate_on(BlockLayout::new(5 * KIB).unwrap(), &stream).is_err());
    drop(memory);
    assert_eq!(device.used(), 0);
}

#[test]
fn under_a_maximum_it_grows_by_half_of_what_is_left() {
    let device = device(1 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let size = RmmSize { initial: 0, maximum: Some(16 * KIB) };
    let memory = rmm_pool(device.clone(), size).unwrap();
    let block = alloc(&memory, KIB, &stream);
    assert_eq!(device.used(), 8 * KIB);
    let second = alloc(&memory, 7 * KIB + 256, &stream);
    assert_eq!(device.used(), 8 * KIB + 7 * KIB + 256);
    // 768 bytes are left under the maximum.
    let error = memory.allocate_on(BlockLayout::new(8 * KIB).unwrap(), &stream).unwrap_err();
    assert!(error.kind().is_exhaustion());
    for block in [block, second] {
        free(&memory, block, &stream);
    }
}

#[test]
fn every_free_records_an_event() {
    let device = device(1 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = rmm_pool(device.clone(), RmmSize::GROWING).unwrap();
    let block = alloc(&memory, KIB, &stream);
    free(&memory, block, &stream);
    let before = device.calls();
    for _ in 0..10 {
        let block = alloc(&memory, KIB, &stream);
        free(&memory, block, &stream);
    }
    let calls = device.calls() - before;
    assert_eq!((calls.total(), calls.of(CallKind::RecordEvent)), (10, 10));
}

/// A merge brings the second stream's memory into the first one's list, where what the request does
/// not need of it stays. A third stream that takes that must wait for the second stream's work,
/// though nothing was freed on the first stream since the merge.
#[test]
fn merged_memory_is_taken_behind_the_work_of_the_stream_it_came_from() {
    let device = SimDevice::new(4 * KIB);
    let [first, second, third] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let memory = rmm_pool(device.clone(), RmmSize::fixed(4 * KIB)).unwrap();
    let tracked = |stream, bytes| {
        let layout = BlockLayout::new(bytes).unwrap();
        TrackedBlock::allocate(&memory, &Request::new(layout, stream)).unwrap()
    };
    let [own, mut other] = [tracked(&first, 2 * KIB), tracked(&second, 2 * KIB)];
    other.write(&second).unwrap();
    own.free(&memory, &first).unwrap();
    other.free(&memory, &second).unwrap();
    let mut merged = tracked(&first, 3 * KIB);
    let mut rest = tracked(&third, KIB);
    rest.write(&third).unwrap();
    merged.write(&first).unwrap();
    merged.free(&memory, &first).unwrap();
    rest.free(&memory, &third).unwrap();
    device.assert_clean();
}
