//! The model of PyTorch's caching allocator against PyTorch's caching allocator.

use std::sync::Arc;

use vmem_benches::{Segments, device, torch_caching_allocator};
use vmem_core::{
    AllocErrorKind, Block, BlockLayout, Device, DriverCode, MemoryResource, Request, ResourceExt,
    Stream,
};
use vmem_sim::{CallKind, Leaks, SimDevice};
use vmem_testkit::{Countdown, FAULT_CODES, TrackedBlock, sweep};

use crate::support::{assert_smallest_device, baseline, peak_reserved, trace};

const MIB: u64 = 1 << 20;

const BOTH: [Segments; 2] = [Segments::Native, Segments::Expandable];

/// What PyTorch 2.15.0 itself came to over a stand-in for the CUDA runtime: the most bytes reserved
/// on 64 GiB, and the smallest device that passed over peak live, rounded up to a multiple of 1/400.
struct Reference {
    trace: &'static str,
    native: (u64, f64),
    expandable: (u64, f64),
}

const REFERENCES: [Reference; 7] = [
    Reference {
        trace: "pangu_2.6B",
        native: (8_107_589_632, 1.0570),
        expandable: (6_610_223_104, 1.0291),
    },
    Reference {
        trace: "resnet50",
        native: (1_688_207_360, 1.0553),
        expandable: (1_547_698_176, 1.0161),
    },
    Reference {
        trace: "iopddl_G_1",
        native: (3_099_590_656, 1.0236),
        expandable: (3_047_161_856, 1.0064),
    },
    Reference {
        trace: "overlay",
        native: (5_335_154_688, 1.1610),
        expandable: (3_080_716_288, 1.0170),
    },
    Reference {
        trace: "overlay-core",
        native: (2_241_855_488, 1.1764),
        expandable: (1_430_257_664, 1.0880),
    },
    Reference {
        trace: "dissolve",
        native: (3_693_084_672, 1.1619),
        expandable: (3_441_426_432, 1.0613),
    },
    Reference {
        trace: "spatial-join",
        native: (318_767_104, 1.0739),
        expandable: (308_281_344, 1.0387),
    },
];

#[test]
fn it_reserves_what_pytorch_reserves_to_the_byte() {
    for Reference { trace: name, native, expandable } in REFERENCES {
        let Some(trace) = trace(name) else { continue };
        assert_eq!(peak_reserved(baseline("torch"), &trace), native.0, "native, {name}");
        let reserved = peak_reserved(baseline("torch-expandable"), &trace);
        assert_eq!(reserved, expandable.0, "expandable, {name}");
    }
}

#[test]
fn it_passes_on_the_devices_that_pytorch_passes_on() {
    for Reference { trace: name, native, expandable } in REFERENCES {
        let Some(trace) = trace(name) else { continue };
        assert_smallest_device("torch", &trace, native.1);
        assert_smallest_device("torch-expandable", &trace, expandable.1);
    }
}

fn alloc(memory: &impl MemoryResource, bytes: u64, stream: &Stream) -> Block {
    memory.allocate_on(BlockLayout::new(bytes).unwrap(), stream).unwrap()
}

fn free(memory: &impl MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
    unsafe { memory.deallocate(block, stream) }.unwrap();
}

fn tracked(memory: &impl MemoryResource, bytes: u64, stream: &Stream) -> Option<TrackedBlock> {
    let layout = BlockLayout::new(bytes).unwrap();
    TrackedBlock::allocate(memory, &Request::new(layout, stream)).ok()
}

#[test]
fn a_block_freed_on_another_stream_returns_to_its_own_once_that_work_is_done() {
    for segments in BOTH {
        let device = SimDevice::new(1 << 30);
        let memory = torch_caching_allocator(device.clone(), segments).unwrap();
        let [home, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        let mut used = tracked(&memory, 20 * MIB, &home).unwrap();
        let place = used.ptr();
        used.write(&other).unwrap();
        used.free(&memory, &other).unwrap();
        let meanwhile = alloc(&memory, 20 * MIB, &home);
        assert_ne!(meanwhile.ptr(), place, "work on it is pending");
        other.synchronize().unwrap();
        let elsewhere = alloc(&memory, 20 * MIB, &other);
        assert_ne!(elsewhere.ptr(), place, "it is not the other stream's");
        let again = alloc(&memory, 20 * MIB, &home);
        assert_eq!(again.ptr(), place);
        for (block, stream) in [(meanwhile, &home), (elsewhere, &other), (again, &home)] {
            free(&memory, block, stream);
        }
        device.assert_clean();
    }
}

#[test]
fn an_event_is_recorded_again_once_it_is_complete() {
    let device = device(1 << 30);
    let memory = torch_caching_allocator(device.clone(), Segments::Native).unwrap();
    let [home, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    for _ in 0..3 {
        let block = alloc(&memory, MIB, &home);
        free(&memory, block, &other);
        other.synchronize().unwrap();
    }
    assert_eq!(device.calls().of(CallKind::RecordEvent), 3);
    assert_eq!(device.calls().of(CallKind::CreateEvent), 1);
}

#[test]
fn what_is_cached_for_one_stream_is_given_back_when_another_needs_it() {
    for segments in BOTH {
        let device = device(100 * MIB);
        let memory = torch_caching_allocator(device.clone(), segments).unwrap();
        let [first, second] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        let cached = alloc(&memory, 60 * MIB, &first);
        let kept = alloc(&memory, 512, &first);
        free(&memory, cached, &first);
        assert_eq!(device.used(), 62 * MIB);
        let block = alloc(&memory, 80 * MIB, &second);
        assert_eq!(device.used(), 82 * MIB);
        // What the second stream has and the small block's segment; the empty one is gone.
        let Leaks { plain, ranges, .. } = device.leaks();
        assert_eq!(plain.count + ranges.count, 2, "{segments:?}");
        free(&memory, block, &second);
        free(&memory, kept, &first);
    }
}

#[test]
fn expandable_segments_map_only_what_is_missing_after_a_free_block() {
    let device = device(1 << 30);
    let memory = torch_caching_allocator(device.clone(), Segments::Expandable).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let first = alloc(&memory, 15 * MIB, &stream);
    assert_eq!(device.used(), 20 * MIB);
    // 5 MiB are there, and two pages hold the other 25.
    let second = alloc(&memory, 30 * MIB, &stream);
    assert_eq!(device.used(), 60 * MIB);
    assert_eq!(second.ptr().checked_offset_from(first.ptr()), Some(15 * MIB));
    for block in [first, second] {
        free(&memory, block, &stream);
    }
}

#[test]
fn expandable_segments_give_back_whole_pages_of_holes_and_fill_them_first() {
    let device = device(100 * MIB);
    let memory = torch_caching_allocator(device.clone(), Segments::Expandable).unwrap();
    let [stream, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let [hole, kept] = [30 * MIB, 10 * MIB].map(|bytes| alloc(&memory, bytes, &stream));
    let start = hole.ptr();
    free(&memory, hole, &stream);
    // The hole is a page and a half: the page is given back, for another stream's four.
    let elsewhere = alloc(&memory, 80 * MIB, &other);
    assert_eq!(device.used(), 100 * MIB);
    free(&memory, elsewhere, &other);
    // The page and the half beside it are a lower place than the end of the segment.
    let filling = alloc(&memory, 25 * MIB, &stream);
    assert_eq!(filling.ptr(), start);
    assert_eq!(device.used(), 40 * MIB);
    for block in [kept, filling] {
        free(&memory, block, &stream);
    }
}

#[test]
fn pages_given_back_before_the_driver_failed_are_mapped_again() {
    let device = device(100 * MIB);
    let memory = torch_caching_allocator(device.clone(), Segments::Expandable).unwrap();
    let [stream, other] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let block = alloc(&memory, 60 * MIB, &stream);
    free(&memory, block, &stream);
    device.fail_call(Some(CallKind::Unmap), 2, DriverCode::UNKNOWN);
    let error = memory.allocate_on(BlockLayout::new(80 * MIB).unwrap(), &other).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    assert_eq!(device.used(), 40 * MIB);
    let block = alloc(&memory, 60 * MIB, &stream);
    assert_eq!(device.used(), 60 * MIB);
    free(&memory, block, &stream);
}

/// Two streams that grow, reuse, free on one another, and run out of memory.
fn strained(memory: &impl MemoryResource, streams: &[Stream; 2]) {
    let sizes = [3 * MIB, 100, MIB, 5 * MIB, 700, 2 * MIB, 19 * MIB, 30 * MIB];
    let mut blocks = Vec::new();
    for round in 0..3 {
        for (i, &size) in sizes.iter().enumerate() {
            let stream = &streams[(i + round) % 2];
            if let Some(mut block) = tracked(memory, size, stream) {
                // Fails if it is the one call that does; the device reports bad addresses itself.
                let _ = block.write(stream);
                blocks.push(block);
            }
            if i % 3 == 2 && !blocks.is_empty() {
                let block = blocks.swap_remove(blocks.len() / 2);
                blocks.extend(freed(memory, block, stream));
            }
        }
        for block in std::mem::take(&mut blocks) {
            blocks.extend(freed(memory, block, &streams[round % 2]));
        }
    }
    for block in blocks {
        assert!(freed(memory, block, &streams[0]).is_none(), "only one call fails");
    }
}

/// Frees a block; gives it back if that failed.
fn freed(
    memory: &impl MemoryResource,
    block: TrackedBlock,
    stream: &Stream,
) -> Option<TrackedBlock> {
    block.free(memory, stream).err().map(|failed| failed.into_block())
}

#[test]
fn a_failed_driver_call_breaks_nothing() {
    for segments in BOTH {
        sweep(&FAULT_CODES, 500, |fault| {
            let device = device(64 * MIB);
            let countdown = Countdown::new(device.clone());
            let driver: Arc<dyn Device> = countdown.clone();
            let streams = [(); 2].map(|()| Stream::new(driver.clone()).unwrap());
            let memory = torch_caching_allocator(driver, segments).unwrap();
            fault.arm(&countdown);
            strained(&memory, &streams);
            let fired = countdown.fired();
            countdown.disarm();
            drop((memory, streams));
            device.assert_clean();
            // What such a call should have given up is out of everyone's reach.
            let lost = ["VirtualMemory::release", "VirtualMemory::free_range"];
            let is_lost = fired.is_some_and(|call| lost.contains(&call));
            assert!(is_lost || device.used() == 0, "{fault:?} {fired:?}: {:?}", device.leaks());
            countdown
        });
    }
}
