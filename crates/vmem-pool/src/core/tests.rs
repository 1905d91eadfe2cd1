//! What needs two threads at exact points, played on one.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Block, BlockLayout, Request, Stream};
use vmem_sim::{Kernel, SimDevice};

use super::Core;
use crate::space::Fit;
use crate::{PoolConfig, VirtualArena};

const SIZE: u64 = 8 << 20;

fn alloc(core: &Core<VirtualArena>, stream: &Stream) -> Block {
    core.allocate(&Request::new(BlockLayout::new(SIZE).unwrap(), stream)).unwrap()
}

fn launch(device: &SimDevice, block: &Block, stream: &Stream, duration: Duration) {
    let kernel = Kernel::write_pattern(block.ptr(), block.size(), 1).taking(duration);
    // SAFETY: contract, devices 1 and 2: a live block and a live stream of the device.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// One thread collects markers to wait for; meanwhile a stream ends, its lane's memory is used up,
/// and a new stream comes. Had the new one got the ended one's number, the old marker, which covers
/// everything, would have declared the new stream's work complete.
#[test]
fn a_lane_is_not_given_to_another_stream_while_somebody_knows_its_number() {
    let device = SimDevice::new(64 << 20);
    let arena = VirtualArena::new(device.clone()).unwrap();
    let config = PoolConfig { ceiling: Some(SIZE), ..Default::default() };
    let core: Arc<Core<VirtualArena>> = Core::new(arena, config, Fit::Best).unwrap();
    let [ended, thief] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    core.deallocate(alloc(&core, &ended), &ended).unwrap();
    drop(ended);

    let pin = core.pin();
    let markers = core.all_markers();
    assert_eq!(markers.len(), 1);

    let block = alloc(&core, &thief);
    let short = Stream::new(device.clone()).unwrap();
    drop(core.enter(&short));
    drop(short);
    let newcomer = Stream::new(device.clone()).unwrap();
    core.deallocate(block, &thief).unwrap();
    let block = alloc(&core, &newcomer);
    launch(&device, &block, &newcomer, Duration::from_secs(1000));
    core.deallocate(block, &newcomer).unwrap();

    for (lane, epoch, marker) in markers {
        marker.synchronize().unwrap();
        core.note_complete(lane, epoch);
    }
    drop(pin);
    let block = alloc(&core, &thief);
    launch(&device, &block, &thief, Duration::ZERO);
    thief.synchronize().unwrap();
    core.deallocate(block, &thief).unwrap();
    device.assert_clean();
}
