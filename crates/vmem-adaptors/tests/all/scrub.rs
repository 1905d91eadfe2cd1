//! What the next owner of a block finds in it.

use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Scrub};
use vmem_core::author::StreamExt;
use vmem_core::{
    AsyncMemory, Block, Device, DeviceMemory, DriverCode, Features, FreeErrorKind, MemoryResource,
    PinnedMemory, ResourceExt, Stream,
};
use vmem_pool::{Chunks, Pool, PoolConfig, VirtualArena};
use vmem_sim::{CallKind, SimConfig, SimDevice};
use vmem_testkit::Countdown;
use vmem_testkit::conformance::{self, Subject};

use crate::fake::{free, layout};

const SECRET: u8 = 0x5e;

fn device_and_stream() -> (Arc<SimDevice>, Stream) {
    let device = SimDevice::new(1 << 30);
    let stream = Stream::new(device.clone()).unwrap();
    (device, stream)
}

fn pool(device: &Arc<SimDevice>) -> Pool<VirtualArena> {
    small_pool(device, None)
}

fn small_pool(device: &Arc<SimDevice>, ceiling: Option<u64>) -> Pool<VirtualArena> {
    let config = PoolConfig::default().with_ceiling(ceiling);
    Pool::new(VirtualArena::new(device.clone()).unwrap(), config).unwrap()
}

/// Queues a fill of a whole block.
fn write(block: &Block, stream: &Stream) {
    let written = stream.with_raw("write", |device, raw| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block and a
        // valid stream.
        unsafe { device.fill(block.ptr(), SECRET, block.size(), raw) }
    });
    written.unwrap();
}

/// What the block holds once the stream's work is complete.
fn read(block: &Block, stream: &Stream) -> Vec<u8> {
    let mut bytes = vec![0xff; usize::try_from(block.size()).unwrap()];
    let copied = stream.with_raw("read", |device, raw| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live block and a
        // valid stream; devices/host-memory: waited for below.
        unsafe { device.copy_to_host(bytes.as_mut_ptr(), block.ptr(), block.size(), raw) }
    });
    copied.and_then(|()| stream.synchronize()).unwrap();
    bytes
}

/// A block where the one at `place` was, for `stream`: zeros.
fn is_clear_for(memory: &dyn MemoryResource, place: &Block, stream: &Stream) {
    let next = memory.allocate_on(place.layout(), stream).unwrap();
    assert_eq!(next.ptr(), place.ptr(), "the pool hands out what was freed");
    assert!(read(&next, stream).iter().all(|&byte| byte == 0));
    free(memory, next, stream).unwrap();
}

/// The same parts again, to look at or to misuse.
fn copy(block: &Block) -> Block {
    // SAFETY: only read, or given to a resource that must refuse it.
    unsafe { Block::from_raw(block.raw()) }
}

#[test]
fn scrubbed_resources_keep_the_contract() {
    let other_device: Arc<dyn Device> = SimDevice::new(1 << 20);
    let conforms = |scrubbed: &dyn MemoryResource, device: &Arc<SimDevice>| {
        conformance::check(&Subject {
            other_device: Some(other_device.clone()),
            budget: Subject::SMALLEST_BUDGET,
            ..Subject::new(scrubbed)
        });
        device.assert_clean();
    };
    let (device, _) = device_and_stream();
    conforms(&DeviceMemory::new(device.clone()).scrubbed().unwrap(), &device);
    let pinned = PinnedMemory::new(device.clone()).unwrap();
    conforms(&pinned.scrubbed().unwrap(), &device);
    let asynchronous = AsyncMemory::new(device.clone()).unwrap();
    conforms(&asynchronous.scrubbed().unwrap(), &device);
    conforms(&pool(&device).scrubbed().unwrap(), &device);
    let below = DeviceMemory::new(device.clone()).scrubbed().unwrap();
    let chunks = Chunks::new(below);
    conforms(&Pool::new(chunks, PoolConfig::default()).unwrap(), &device);
}

#[test]
fn the_next_owner_finds_zeros_on_whatever_stream_and_label() {
    let (device, stream) = device_and_stream();
    let other = Stream::new(device.clone()).unwrap();
    let memory = pool(&device).scrubbed().unwrap();
    for next in [&stream, &other] {
        let block = memory.allocate_on(layout(4096), &stream).unwrap();
        write(&block, &stream);
        let place = copy(&block);
        free(&memory, block, &stream).unwrap();
        stream.synchronize().unwrap();
        let _scope = vmem_core::label("another owner");
        is_clear_for(&memory, &place, next);
    }
    assert!(!memory.capabilities().has(Features::HOST_ACCESSIBLE));
    assert!(memory.to_string().starts_with("Scrub<Pool<"), "{memory}");
    drop(memory);
    device.assert_clean();
}

#[test]
fn what_is_freed_while_its_stream_captures_is_cleared_after_the_capture_and_not_by_the_graph() {
    let (device, stream) = device_and_stream();
    let other = Stream::new(device.clone()).unwrap();
    let memory = pool(&device).scrubbed().unwrap();
    let handle = memory.handle();
    let block = memory.allocate_on(layout(4096), &stream).unwrap();
    let place = copy(&block);
    write(&block, &stream);
    device.begin_capture(&stream).unwrap();
    free(&memory, block, &stream).unwrap();
    assert_eq!(handle.quarantined().unwrap().blocks, 1);
    assert_eq!(free(&memory, copy(&place), &other).unwrap_err().kind(), FreeErrorKind::Stale);
    // Nobody is handed it meanwhile.
    let elsewhere = memory.allocate_on(layout(4096), &other).unwrap();
    assert_ne!(elsewhere.ptr(), place.ptr());
    free(&memory, elsewhere, &other).unwrap();
    let graph = device.end_capture(&stream).unwrap();
    assert_eq!(graph.len(), 0, "nothing of it was recorded");
    is_clear_for(&memory, &place, &stream);
    assert_eq!(handle.quarantined().unwrap().blocks, 0);
    drop(memory);
    device.assert_clean();
    assert_eq!(device.base().drop_failures().count(), 0);
}

/// A capture begins, or the driver fails, after the question whether the stream captures.
#[test]
fn what_a_graph_may_clear_because_its_capture_began_during_the_free_is_nobodys() {
    for begins in [true, false] {
        let device = SimDevice::new(1 << 30);
        let watched = Countdown::new(device.clone());
        let stream = Stream::new(watched.clone()).unwrap();
        let arena = VirtualArena::new(watched.clone()).unwrap();
        let memory = Pool::new(arena, PoolConfig::default()).unwrap().scrubbed().unwrap();
        let handle = memory.handle();
        let block = memory.allocate_on(layout(4096), &stream).unwrap();
        let place = copy(&block);
        let (other, raw) = (device.clone(), stream.raw());
        if begins {
            // SAFETY: contract, devices/handles: a valid stream.
            let begin = move || unsafe { other.begin_capture_raw(raw) }.unwrap();
            watched.after("Device::is_capturing", begin);
        } else {
            device.fail_call(Some(CallKind::IsCapturing), 2, DriverCode::UNKNOWN);
        }
        free(&memory, block, &stream).unwrap();
        let graph = begins.then(|| device.end_capture(&stream).unwrap());
        assert!(graph.as_ref().is_none_or(|graph| graph.len() == 1), "the graph has the clearing");
        assert_eq!(free(&memory, copy(&place), &stream).unwrap_err().kind(), FreeErrorKind::Stale);
        handle.synchronize().unwrap();
        assert_eq!(handle.quarantined().unwrap().bytes, 4096);

        let next = memory.allocate_on(layout(4096), &stream).unwrap();
        assert_ne!(next.ptr(), place.ptr());
        write(&next, &stream);
        if let Some(graph) = &graph {
            // SAFETY: what the graph clears is nobody's.
            unsafe { device.launch_graph(&stream, graph) }.unwrap();
        }
        assert_eq!(read(&next, &stream), vec![SECRET; 4096]);
        free(&memory, next, &stream).unwrap();
        drop(memory);
        device.assert_clean();
        assert_ne!(device.base().drop_failures().count(), 0);
    }
}

#[test]
fn what_is_freed_on_another_threads_default_stream_is_cleared_on_that_thread() {
    let (device, _) = device_and_stream();
    let memory = pool(&device).scrubbed().unwrap();
    let handle = memory.handle();
    let mine = Stream::per_thread_default(device.clone());
    let block = memory.allocate_on(layout(4096), &mine).unwrap();
    let place = copy(&block);
    write(&block, &mine);
    std::thread::scope(|scope| {
        scope.spawn(|| free(&memory, block, &mine).unwrap()).join().unwrap()
    });
    assert_eq!(handle.quarantined().unwrap().blocks, 1);
    is_clear_for(&memory, &place, &mine);
    assert_eq!(handle.quarantined().unwrap().blocks, 0);
    drop(memory);
    device.assert_clean();
}

#[test]
fn what_an_ended_thread_freed_on_its_default_stream_waits_until_the_program_asks() {
    let (device, stream) = device_and_stream();
    let memory = DeviceMemory::new(device.clone()).scrubbed().unwrap();
    let handle = memory.handle();
    let erased: Arc<dyn Device> = device.clone();
    let (block, theirs) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let own = Stream::per_thread_default(erased.clone());
            let block = memory.allocate_on(layout(4096), &own).unwrap();
            write(&block, &own);
            (block, own)
        });
        thread.join().unwrap()
    });
    free(&memory, block, &theirs).unwrap();
    free(&memory, memory.allocate_on(layout(1), &stream).unwrap(), &stream).unwrap();
    assert_eq!(
        (handle.quarantined().unwrap().blocks, memory.upstream().to_string()),
        (1, "DeviceMemory".into())
    );
    assert_ne!(device.used(), 0);
    handle.synchronize().unwrap();
    assert_eq!((handle.quarantined().unwrap().blocks, device.used()), (0, 0));
    drop(memory);
    assert!(handle.synchronize().is_err_and(|error| error.is_gone()));
    device.assert_clean();
}

#[test]
fn what_is_set_aside_while_the_device_is_waited_for_waits_for_the_next_time() {
    for seed in 0..4 {
        let device = SimDevice::with_config(SimConfig { seed, ..SimConfig::default() }).unwrap();
        let watched = Countdown::new(device.clone());
        let memory = DeviceMemory::new(watched.clone()).scrubbed().unwrap();
        let (handle, memory) = (memory.handle(), Arc::new(memory));
        let (inner, erased): (_, Arc<dyn Device>) = (memory.clone(), watched.clone());
        // As another thread may, when the wait is over and its caller does not know yet.
        watched.after("Device::synchronize", move || {
            let used = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let own = Stream::per_thread_default(erased.clone());
                    let block = inner.allocate_on(layout(4096), &own).unwrap();
                    write(&block, &own);
                    (block, own)
                });
                thread.join().unwrap()
            });
            free(&*inner, used.0, &used.1).unwrap();
        });
        handle.synchronize().unwrap();
        assert_eq!(handle.quarantined().unwrap().blocks, 1);
        device.assert_clean();
        handle.synchronize().unwrap();
        assert_eq!((handle.quarantined().unwrap().blocks, device.used()), (0, 0));
        device.assert_clean();
    }
}

#[test]
fn what_a_retired_stream_frees_is_cleared_after_its_last_work() {
    let (device, stream) = device_and_stream();
    // With room for one block, so that the next one lies where it lay.
    let memory = small_pool(&device, Some(2 << 20)).scrubbed().unwrap();
    let retired = Stream::new(device.clone()).unwrap();
    let block = memory.allocate_on(layout(2 << 20), &retired).unwrap();
    let place = copy(&block);
    write(&block, &retired);
    retired.retire().unwrap();
    free(&memory, block, &retired).unwrap();
    assert_eq!(memory.handle().quarantined().unwrap().blocks, 0);
    is_clear_for(&memory, &place, &stream);
    drop(memory);
    device.assert_clean();
}

#[test]
fn a_block_that_cannot_be_cleared_stays_live() {
    let (device, stream) = device_and_stream();
    let memory = pool(&device).scrubbed().unwrap();
    let mut block = memory.allocate_on(layout(4096), &stream).unwrap();
    for kind in [CallKind::Fill, CallKind::IsCapturing] {
        device.fail_call(Some(kind), 1, DriverCode::UNKNOWN);
        let error = free(&memory, block, &stream).unwrap_err();
        assert_eq!(error.kind(), FreeErrorKind::DeviceFault, "{error}");
        block = error.into_block();
        device.clear_failures();
    }
    free(&memory, block, &stream).unwrap();
}

#[test]
fn what_passed_it_by_is_not_touched() {
    let (device, stream) = device_and_stream();
    let memory = Scrub::new(pool(&device)).unwrap();
    let block = memory.upstream().allocate_on(layout(4096), &stream).unwrap();
    let place = copy(&block);
    write(&block, &stream);
    free(&memory, block, &stream).unwrap();
    // A second free of it must not clear what is another's by now.
    let next = memory.allocate_on(layout(4096), &stream).unwrap();
    assert_eq!(next.ptr(), place.ptr());
    write(&next, &stream);
    free(&memory, place, &stream).unwrap_err();
    assert_eq!(read(&next, &stream), vec![SECRET; 4096]);
    free(&memory, next, &stream).unwrap();
}
