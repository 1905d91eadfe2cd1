//! What needs two threads at exact points of a request's slow, played on one.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{BlockLayout, PinnedMemory, Request, Stream};
use vmem_sim::{Kernel, SimConfig, SimDevice};

use super::{Control, Core, Slow, Wait};
use crate::space::{CLEAN, Fit, Need, RangeState, visits};
use crate::{Chunks, PoolConfig, VirtualArena};

const SIZE: u64 = 1 << 20;

/// A request looks while a free is pending; then the work ends and another thread's trim notes that,
/// which leaves the request no marker to wait for.
#[test]
fn a_request_looks_again_after_others_found_its_memory_complete() {
    let mut played = 0;
    for (seed, wait) in (0..16).flat_map(|seed| [(seed, Wait::ForMarkers), (seed, Wait::ForOthers)])
    {
        let config = SimConfig { capacity: 64 << 20, seed, ..Default::default() };
        let device = SimDevice::with_config(config).unwrap();
        let pinned = PinnedMemory::new(device.clone()).unwrap();
        let config = PoolConfig::default().with_ceiling(SIZE);
        let chunks = Chunks::new(pinned);
        let core: Arc<Core<Chunks<PinnedMemory>>> = Core::new(chunks, config, Fit::Best).unwrap();
        let [used, wanting] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        let layout = BlockLayout::new(SIZE).unwrap();
        let block = core.allocate(&Request::new(layout, &used)).unwrap();
        let work = Kernel::write_pattern(block.ptr(), SIZE, 1).taking(Duration::from_secs(1000));
        // SAFETY: contract, devices/handles and devices/ranges: a live block and a live stream of
        // the device.
        unsafe { device.launch(&used, work) }.unwrap();
        core.deallocate(block, &used).unwrap();

        let request = Request::new(layout, &wanting);
        let (state, lane) = core.streams.enter(core.streams.lock(), &wanting);
        drop(state);
        let mut slow = Slow::new(&request, lane, Need { size: SIZE, alignment: 256 });
        let looked = core.share(&mut slow).unwrap();
        let looked = looked.or_else(|| core.grow_for(&mut slow).unwrap());
        let looked = looked.or_else(|| core.make_room(&mut slow).unwrap());
        // Unless the device was quick.
        let (mut state, slot) = looked.unwrap_or_else(|| {
            played += 1;
            used.synchronize().unwrap();
            core.try_trim(u64::MAX).unwrap();
            assert!(core.wait(&mut slow, wait).unwrap(), "{wait:?}: nothing to look for");
            core.share(&mut slow).unwrap().expect("the memory is complete")
        });
        state.space.set_state(slot, RangeState::Free(CLEAN));
        drop(state);
        core.shut_down();
        drop((core, used, wanting));
        device.assert_clean();
    }
    assert!(played > 0, "the work was never pending");
}

/// What a slow notes of the pool's progress, and settling when nothing has changed, under all locks.
#[test]
fn a_slow_does_not_add_up_what_is_in_quarantine() {
    let device = SimDevice::new(64 << 20);
    let arena = VirtualArena::new(device.clone()).unwrap();
    let core = Core::new(arena, PoolConfig::default(), Fit::Best).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let layout = BlockLayout::new(SIZE).unwrap();
    let blocks = (0..40).map(|_| core.allocate(&Request::new(layout, &stream)).unwrap());
    let (holes, kept): (Vec<_>, Vec<_>) =
        blocks.enumerate().partition(|(number, _)| number % 2 == 0);
    holes.into_iter().for_each(|(_, block)| core.deallocate(block, &stream).unwrap());
    let (mut state, lane) = core.streams.enter(core.streams.lock(), &stream);
    state.lanes.poison(lane);
    assert_eq!(state.quarantined(), 20 * SIZE);
    state.settle();
    visits::take();
    let _ = state.progress();
    state.settle();
    assert_eq!(visits::take(), 0, "ranges in quarantine were looked at");
    drop(state);
    kept.into_iter().for_each(|(_, block)| core.deallocate(block, &stream).unwrap());
    core.synchronize().unwrap();
    core.shut_down();
    drop((core, stream));
    device.assert_clean();
}
