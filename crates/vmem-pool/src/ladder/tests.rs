//! What needs two threads at exact points of a request's climb, played on one.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{BlockLayout, PinnedMemory, Request, Stream};
use vmem_sim::{Kernel, SimConfig, SimDevice};

use super::{Climb, Wait};
use crate::core::{Control, Core};
use crate::lanes::CLEAN;
use crate::space::{Fit, Need, State as Range};
use crate::{Chunks, PoolConfig};

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
        let config = PoolConfig { ceiling: Some(SIZE), ..Default::default() };
        let chunks = Chunks::new(pinned, device.clone());
        let core: Arc<Core<Chunks<PinnedMemory>>> = Core::new(chunks, config, Fit::Best).unwrap();
        let [used, wanting] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
        let layout = BlockLayout::new(SIZE).unwrap();
        let block = core.allocate(&Request::new(layout, &used)).unwrap();
        let work = Kernel::write_pattern(block.ptr(), SIZE, 1).taking(Duration::from_secs(1000));
        // SAFETY: contract, devices 1 and 2: a live block and a live stream of the device.
        unsafe { device.launch(&used, work) }.unwrap();
        core.deallocate(block, &used).unwrap();

        let request = Request::new(layout, &wanting);
        let (state, lane) = core.enter(&wanting);
        drop(state);
        let mut climb = Climb::new(&request, lane, Need { size: SIZE, alignment: 256 });
        let looked = core.share(&mut climb).unwrap();
        let looked = looked.or_else(|| core.grow_for(&mut climb).unwrap());
        let looked = looked.or_else(|| core.make_room(&mut climb).unwrap());
        let slot = match looked {
            // The device was quick.
            Some(slot) => slot,
            None => {
                played += 1;
                used.synchronize().unwrap();
                core.try_trim(u64::MAX).unwrap();
                assert!(core.wait(&mut climb, wait).unwrap(), "{wait:?}: nothing to look for");
                core.share(&mut climb).unwrap().expect("the memory is complete")
            }
        };
        core.lock().space.release(slot, Range::Free(CLEAN));
        core.shut_down();
        drop((core, used, wanting));
        device.assert_clean();
    }
    assert!(played > 0, "the work was never pending");
}
