//! The leaves: one driver call per block, and blocks that only their owner takes back.

use std::sync::Arc;

use vmem_core::{
    AllocErrorKind, AsyncMemory, Block, BlockLayout, Device, DeviceMemory, DriverCode, Features,
    FreeErrorKind, Label, MemoryResource, PinnedMemory, Request, ResourceExt, Stream,
};
use vmem_sim::{CallKind, Kernel, Parts, SimConfig, SimDevice, Strictness};

use crate::common::{MIB, dyn_device, launch, sim, stream};

fn leaves(device: &Arc<SimDevice>) -> Vec<Arc<dyn MemoryResource>> {
    vec![
        DeviceMemory::new(device.clone()).into_dyn(),
        PinnedMemory::new(device.clone()).unwrap().into_dyn(),
        AsyncMemory::new(device.clone()).unwrap().into_dyn(),
    ]
}

fn layout(size: u64) -> BlockLayout {
    BlockLayout::new(size).unwrap()
}

/// Frees a block that no other stream uses.
fn free(memory: &dyn MemoryResource, block: Block, stream: &Stream) -> Option<FreeErrorKind> {
    // SAFETY: contract, freeing: only work of `stream` uses blocks in these tests; the stale ones
    // are refused.
    unsafe { memory.deallocate(block, stream) }.err().map(|e| e.kind())
}

#[test]
fn blocks_have_the_size_and_alignment_asked_for() {
    let device = sim(0);
    let stream = stream(&device);
    for memory in leaves(&device) {
        for shift in 0..=21 {
            let layout = BlockLayout::with_alignment(1000, 1 << shift).unwrap();
            let block = memory.allocate_on(layout, &stream).unwrap();
            assert!(block.ptr().is_aligned_to(1 << shift), "{memory:?} {layout}");
            assert_eq!(block.layout(), layout);
            launch(&device, &stream, Kernel::write_pattern(block.ptr(), 1000, shift));
            launch(&device, &stream, Kernel::check_pattern(block.ptr(), 1000, shift));
            assert_eq!(free(&*memory, block, &stream), None);
        }
    }
    device.synchronize().unwrap();
    drop(stream);
    assert!(device.leaks().is_empty(), "{}", device.leaks());
    device.assert_clean();
}

#[test]
fn a_freed_block_may_still_be_in_use_by_the_stream() {
    for seed in 0..8 {
        let device = sim(seed);
        let stream = stream(&device);
        for memory in leaves(&device) {
            let block = memory.allocate_on(layout(4096), &stream).unwrap();
            launch(&device, &stream, Kernel::write_pattern(block.ptr(), 4096, 1));
            launch(&device, &stream, Kernel::check_pattern(block.ptr(), 4096, 1));
            assert_eq!(free(&*memory, block, &stream), None);
        }
        device.assert_clean();
    }
}

#[test]
fn foreign_and_stale_blocks_are_refused_and_nothing_else_is_damaged() {
    let device = sim(0);
    let stream = stream(&device);
    for (memory, other) in leaves(&device).into_iter().zip(leaves(&device)) {
        let block = memory.allocate_on(layout(256), &stream).unwrap();
        // SAFETY: contract, freeing: no work uses the block.
        let refused = unsafe { other.deallocate(block, &stream) }.unwrap_err();
        assert_eq!(refused.kind(), FreeErrorKind::Foreign);
        let block = refused.into_block();
        let raw = block.raw();
        assert_eq!(free(&*memory, block, &stream), None);
        let next = memory.allocate_on(layout(256), &stream).unwrap();
        // SAFETY: a stale block on purpose; the leaf refuses it.
        let stale = unsafe { Block::from_raw(raw) };
        assert_eq!(free(&*memory, stale, &stream), Some(FreeErrorKind::Stale));
        assert_eq!(free(&*memory, next, &stream), None);
    }
    device.assert_clean();
}

#[test]
fn streams_of_other_devices_are_refused() {
    let (device, other) = (sim(0), sim(0));
    let (here, there) = (stream(&device), stream(&other));
    for memory in leaves(&device) {
        let refused = memory.allocate_on(layout(1), &there).unwrap_err();
        assert_eq!(refused.kind(), AllocErrorKind::InvalidStream);
        let block = memory.allocate_on(layout(1), &here).unwrap();
        // SAFETY: contract, freeing: no work uses the block; the stream is refused.
        let refused = unsafe { memory.deallocate(block, &there) }.unwrap_err();
        assert_eq!(refused.kind(), FreeErrorKind::InvalidStream);
        assert_eq!(free(&*memory, refused.into_block(), &here), None);
    }
    device.assert_clean();
}

#[test]
fn only_out_of_memory_is_exhaustion() {
    let device = sim(0);
    let stream = stream(&device);
    let memory = DeviceMemory::new(device.clone());
    let refused = memory.allocate_on(layout(65 * MIB), &stream).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::OutOfMemory);
    device.fail_call(Some(CallKind::Allocate), 1, DriverCode::UNKNOWN);
    let refused = memory.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::DeviceFault);
    assert!(!refused.kind().is_exhaustion());
    let largest = layout(BlockLayout::MAX_SIZE);
    for memory in leaves(&device) {
        let refused = memory.allocate_on(largest, &stream).unwrap_err();
        assert_eq!(refused.kind(), AllocErrorKind::OutOfMemory, "{memory:?}");
    }
}

#[test]
fn a_failed_free_gives_the_block_back_live() {
    let device = sim(0);
    let stream = stream(&device);
    let kinds = [CallKind::Free, CallKind::PinnedFree, CallKind::AsyncFree];
    for (memory, kind) in leaves(&device).into_iter().zip(kinds) {
        let block = memory.allocate_on(layout(256), &stream).unwrap();
        device.fail_call(Some(kind), 1, DriverCode::UNKNOWN);
        // SAFETY: contract, freeing: no work uses the block.
        let refused = unsafe { memory.deallocate(block, &stream) }.unwrap_err();
        assert_eq!(refused.kind(), FreeErrorKind::DeviceFault);
        assert_eq!(free(&*memory, refused.into_block(), &stream), None);
    }
}

#[test]
fn dropping_a_leaf_with_live_blocks_leaks_and_reports() {
    let device = sim(0);
    let stream = stream(&device);
    for (leaf, count) in leaves(&device).into_iter().zip(1..) {
        let block = leaf.allocate_on(layout(256), &stream).unwrap();
        drop(leaf);
        assert_eq!(device.base().drop_failures().count(), count);
        launch(&device, &stream, Kernel::write_pattern(block.ptr(), 256, 1));
    }
    let first = device.base().drop_failures().first().unwrap();
    assert_eq!(first.to_string(), "dropping DeviceMemory: 1 live blocks leak");
    device.assert_clean();
}

#[test]
fn a_device_without_the_part_has_no_such_leaf() {
    let config = SimConfig { parts: Parts::empty(), ..SimConfig::default() };
    let device = dyn_device(&SimDevice::with_config(config).unwrap());
    let refused = PinnedMemory::new(device.clone()).unwrap_err();
    assert_eq!(refused.code(), DriverCode::NOT_SUPPORTED);
    let refused = AsyncMemory::new(device).unwrap_err();
    assert_eq!(refused.code(), DriverCode::NOT_SUPPORTED);
}

#[test]
fn capabilities_say_what_a_leaf_does() {
    let device = sim(0);
    let has = |memory: &Arc<dyn MemoryResource>, feature| memory.capabilities().has(feature);
    let [plain, pinned, pooled] = leaves(&device).try_into().unwrap();
    assert!(has(&pinned, Features::HOST_ACCESSIBLE) && !has(&plain, Features::HOST_ACCESSIBLE));
    assert!(has(&pooled, Features::STREAM_ORDERED) && !has(&plain, Features::STREAM_ORDERED));
    assert!(!has(&pinned, Features::STREAM_ORDERED));
    assert!(has(&pooled, Features::TRIMS));
}

#[test]
fn blocks_carry_the_requests_label() {
    let device = sim(0);
    let stream = stream(&device);
    let memory = DeviceMemory::new(device.clone());
    let _scope = vmem_core::label("scope");
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    assert_eq!(block.label().as_str(), "scope");
    let request = Request::new(layout(1), &stream).with_label(Label::intern("own"));
    let other = memory.allocate(&request).unwrap();
    assert_eq!(other.label().as_str(), "own");
    assert_eq!(free(&memory, block, &stream), None);
    assert_eq!(free(&memory, other, &stream), None);
}

#[test]
fn pinned_blocks_have_a_host_view_once_work_has_completed() {
    let device = sim(0);
    let stream = stream(&device);
    let memory = PinnedMemory::new(device.clone()).unwrap();
    let mut block = memory.allocate_on(layout(16), &stream).unwrap();
    let ptr = block.ptr();
    // SAFETY: no work was queued on the block, and there is no other slice.
    unsafe { memory.host_view(&mut block) }.unwrap().fill(1);
    launch(&device, &stream, Kernel::add_one(ptr, 16));
    let strict = SimConfig::default().strictness.contains(Strictness::HOST_ACCESS);
    // SAFETY: misuse on purpose: the work is pending; the simulation refuses, or runs it before.
    assert_eq!(unsafe { memory.host_view(&mut block) }.is_err(), strict);
    assert_eq!(device.violations().len(), 1);
    device.take_violations();
    stream.synchronize().unwrap();
    // SAFETY: the work has completed and the host saw it, and there is no other slice.
    let view = unsafe { memory.host_view(&mut block) }.unwrap();
    assert_eq!(view, [2; 16]);
    let other = PinnedMemory::new(device.clone()).unwrap();
    // SAFETY: as above; the block is another resource's and refused.
    assert!(unsafe { other.host_view(&mut block) }.is_err());
    assert_eq!(free(&memory, block, &stream), None);
    device.assert_clean();
}

#[test]
fn stream_ordered_blocks_are_freed_behind_retired_and_other_threads_streams() {
    let device = sim(0);
    let memory = AsyncMemory::new(device.clone()).unwrap();
    let retired = stream(&device);
    let block = memory.allocate_on(layout(256), &retired).unwrap();
    launch(&device, &retired, Kernel::write_pattern(block.ptr(), 256, 1));
    retired.retire().unwrap();
    assert_eq!(free(&memory, block, &retired), None);
    let own = Stream::per_thread_default(dyn_device(&device));
    let block = memory.allocate_on(layout(256), &own).unwrap();
    launch(&device, &own, Kernel::write_pattern(block.ptr(), 256, 1));
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(free(&memory, block, &own), None));
    });
    memory.trim_to(0).unwrap();
    device.assert_clean();
}
