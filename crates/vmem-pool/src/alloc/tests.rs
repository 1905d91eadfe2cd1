//! What needs two threads at exact points, played on one.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Block, BlockLayout, DeviceMemory, Event, Request, Stream};
use vmem_sim::{Kernel, SimDevice};

use super::{Control, Core};
use crate::space::{Fit, StreamIx, visits};
use crate::{Chunks, Growth, PoolConfig, VirtualArena};

const SIZE: u64 = 8 << 20;

/// An arena's pool on a device, and a stream.
fn over(device: &Arc<SimDevice>) -> (Arc<Core<VirtualArena>>, Stream) {
    let arena = VirtualArena::new(device.clone()).unwrap();
    let core = Core::new(arena, PoolConfig::default(), Fit::Best).unwrap();
    (core, Stream::new(device.clone()).unwrap())
}

fn alloc(core: &Core<VirtualArena>, stream: &Stream) -> Block {
    core.allocate(&Request::new(BlockLayout::new(SIZE).unwrap(), stream)).unwrap()
}

fn launch(device: &SimDevice, block: &Block, stream: &Stream, duration: Duration) {
    let kernel = Kernel::write_pattern(block.ptr(), block.size(), 1).taking(duration);
    // SAFETY: contract, devices/handles and devices/ranges: a live block and a live stream of the
    // device.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// One thread collects markers to wait for; meanwhile a stream ends, its lane's memory is used up,
/// and a new stream comes. Had the new one got the ended one's number, the old marker, which covers
/// everything, would have declared the new stream's work complete.
#[test]
fn a_lane_is_not_given_to_another_stream_while_somebody_knows_its_number() {
    let device = SimDevice::new(64 << 20);
    let arena = VirtualArena::new(device.clone()).unwrap();
    let config = PoolConfig::default().with_ceiling(SIZE);
    let core: Arc<Core<VirtualArena>> = Core::new(arena, config, Fit::Best).unwrap();
    let [ended, thief] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    core.deallocate(alloc(&core, &ended), &ended).unwrap();
    drop(ended);

    let pin = core.streams.pin();
    let markers = core.streams.newest_markers();
    assert_eq!(markers.len(), 1);

    let block = alloc(&core, &thief);
    let short = Stream::new(device.clone()).unwrap();
    drop(core.streams.enter(core.streams.lock(), &short));
    drop(short);
    let newcomer = Stream::new(device.clone()).unwrap();
    core.deallocate(block, &thief).unwrap();
    let block = alloc(&core, &newcomer);
    launch(&device, &block, &newcomer, Duration::from_secs(1000));
    core.deallocate(block, &newcomer).unwrap();

    for (lane, epoch, marker) in markers {
        marker.synchronize().unwrap();
        core.streams.note_complete(lane, epoch);
    }
    drop(pin);
    let block = alloc(&core, &thief);
    launch(&device, &block, &thief, Duration::ZERO);
    thief.synchronize().unwrap();
    core.deallocate(block, &thief).unwrap();
    device.assert_clean();
}

#[test]
fn a_lane_that_is_set_aside_is_until_its_marker_was_waited_for_though_its_stream_ends() {
    let device = SimDevice::new(64 << 20);
    let (core, stream) = over(&device);
    core.deallocate(alloc(&core, &stream), &stream).unwrap();
    core.streams.close_all().unwrap();
    let (lane, ..) = core.streams.newest_markers().remove(0);
    core.streams.lock().lanes.poison(lane);
    let set_aside = || {
        let state = core.streams.lock();
        (state.lanes.poisoned().len(), state.quarantined() > 0)
    };
    assert_eq!(set_aside(), (1, true));
    drop(stream);
    assert_eq!(set_aside(), (1, true), "its last marker is not relied on yet");
    core.streams.wait_for_markers().unwrap();
    assert_eq!(set_aside(), (0, false));
    core.shut_down();
    drop(core);
    device.assert_clean();
}

/// One thread waits for a stream's latest marker; meanwhile a later one is recorded and cannot be queried.
#[test]
fn a_lane_is_trusted_only_if_no_marker_came_after_the_one_that_was_waited_for() {
    let device = SimDevice::new(64 << 20);
    let (core, stream) = over(&device);
    let mark = || {
        core.deallocate(alloc(&core, &stream), &stream).unwrap();
        core.streams.close_all().unwrap();
        core.streams.newest_markers().remove(0)
    };
    let poisoned = || !core.streams.lock().lanes.poisoned().is_empty();
    let see = |(lane, epoch, marker): (StreamIx, u64, Event)| {
        marker.synchronize().unwrap();
        core.streams.note_complete(lane, epoch);
        core.streams.lock().lanes.trust(lane);
    };
    let first = mark();
    let later = mark();
    core.streams.lock().lanes.poison(later.0);
    see(first);
    assert!(poisoned(), "nobody has waited for the later marker");
    see(later);
    assert!(!poisoned());

    let epochs = core.streams.lock().lanes.table.before_device_sync();
    let later = mark();
    core.streams.lock().lanes.poison(later.0);
    for (lane, epoch) in epochs {
        let done = core.streams.lock().lanes.after_device_sync(lane, epoch);
        core.streams.recycle(done);
    }
    assert!(poisoned(), "the device was waited for before the later marker");
    core.synchronize().unwrap();
    assert!(!poisoned());
    drop(later);
    core.shut_down();
    drop((core, stream));
    device.assert_clean();
}

#[test]
fn returning_many_chunks_takes_a_few_steps_for_each() {
    const MANY: u64 = 500;
    let device = SimDevice::new(64 << 20);
    let chunks = Chunks::new(DeviceMemory::new(device.clone()));
    let config = PoolConfig::default().with_growth(Growth::Exact);
    let core = Core::new(chunks, config, Fit::Best).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let layout = BlockLayout::new(256).unwrap();
    let take = |_| core.allocate(&Request::new(layout, &stream)).unwrap();
    let blocks: Vec<Block> = (0..MANY).map(take).collect();
    blocks.into_iter().for_each(|block| core.deallocate(block, &stream).unwrap());
    visits::take();
    assert_eq!(core.trim_to(0).unwrap(), 256 * MANY);
    let visited = visits::take();
    assert!(visited <= 20 * MANY, "{visited} for {MANY} chunks");
    core.shut_down();
    drop((core, stream));
    device.assert_clean();
}

/// Every lock that another stream's request or free may need, growth's included.
fn locks<R>(call: impl FnOnce() -> R) -> (R, u64) {
    visits::take_locks();
    let result = call();
    (result, visits::take_locks())
}

const MOST_LOCKS: u64 = 6;

#[test]
fn a_request_takes_few_locks() {
    let device = SimDevice::new(64 << 20);
    let arena = VirtualArena::new(device.clone()).unwrap();
    let core = Core::new(arena, PoolConfig::default(), Fit::Best).unwrap();
    let [first, second] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let layout = BlockLayout::new(2 << 20).unwrap();
    let take = |stream: &Stream| locks(|| core.allocate(&Request::new(layout, stream)).unwrap());
    let free = |block: Block, stream: &Stream| locks(|| core.deallocate(block, stream).unwrap()).1;
    let (block, new) = take(&first);
    assert!(new <= MOST_LOCKS, "{new} for the first request");
    assert_eq!(free(block, &first), 1, "a free");
    let (block, hit) = take(&first);
    assert_eq!(hit, 1, "a hit");
    let (more, grown) = take(&first);
    assert!(grown <= MOST_LOCKS, "{grown} for a granule more");
    free(more, &first);
    free(block, &first);
    // Another stream's memory, which must be marked first.
    core.deallocate(take(&second).0, &second).unwrap();
    let (block, stolen) = take(&second);
    assert!(stolen <= MOST_LOCKS, "{stolen} for what another stream freed");
    free(block, &second);
    core.shut_down();
    drop((core, first, second));
    device.assert_clean();
}

#[test]
fn a_request_takes_few_locks_over_chunks_too() {
    let device = SimDevice::new(64 << 20);
    let chunks = Chunks::new(DeviceMemory::new(device.clone()));
    let core = Core::new(chunks, PoolConfig::default(), Fit::Best).unwrap();
    let [first, second] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let layout = BlockLayout::new(2 << 20).unwrap();
    let mut blocks = Vec::new();
    for (stream, what) in [(&first, "first"), (&first, "second"), (&second, "other stream's")] {
        let (block, taken) = locks(|| core.allocate(&Request::new(layout, stream)).unwrap());
        assert!(taken <= MOST_LOCKS, "{taken} for the {what} chunk");
        blocks.push((block, stream));
    }
    blocks.into_iter().for_each(|(block, stream)| core.deallocate(block, stream).unwrap());
    core.shut_down();
    drop((core, first, second));
    device.assert_clean();
}

/// Once each has taken from the other a few times, what one frees is marked for the other.
#[test]
fn a_block_that_goes_back_and_forth_is_handed_over_in_few_locks_and_calls() {
    let device = SimDevice::new(64 << 20);
    let arena = VirtualArena::new(device.clone()).unwrap();
    let config = PoolConfig::default().with_ceiling(2 << 20);
    let core = Core::new(arena, config, Fit::Best).unwrap();
    let streams = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let layout = BlockLayout::new(2 << 20).unwrap();
    let mut late = 0;
    for turn in 0..200 {
        let stream = &streams[turn % 2];
        let calls = device.calls().total();
        visits::take_locks();
        let block = core.allocate(&Request::new(layout, stream)).unwrap();
        let taken = visits::take_locks();
        core.deallocate(block, stream).unwrap();
        let freed = visits::take_locks();
        let calls = device.calls().total() - calls;
        if turn > 3 {
            assert!(taken <= 3, "turn {turn}: {taken} to take what another stream freed");
            // Every sixteenth asks how far the stream has come, and keeps the events.
            assert!(freed <= 6, "turn {turn}: {freed} to free it");
            // The device may be late, so that events are made and destroyed instead.
            assert!(calls <= 8, "turn {turn}: {calls} calls");
        }
        if turn >= 100 {
            late += calls;
        }
    }
    assert!(late <= 480, "{late} calls in a hundred turns");
    let counters = core.counters();
    assert!(counters.waits + counters.completed > 190, "{counters:?}");
    core.shut_down();
    drop((core, streams));
    device.assert_clean();
}
