//! Memory of live blocks that goes to the host and comes back while others free and request.

use loom::thread;
use vmem_core::{
    Block, Contents, Label, Moved, Residency, ResidencyError, ResidencyErrorKind, Stream, label,
};
use vmem_pool::Pending;
use vmem_sim::Kernel;

use crate::support::{GRANULE, Rig, explore_moves};

/// All memory of the only block.
const WHOLE: Moved = Moved::new(GRANULE, GRANULE, 0);

/// A block of a granule with nothing pending on it.
fn idle_block(rig: &Rig, stream: &Stream) -> Block {
    let block = rig.take(1, stream);
    stream.synchronize().unwrap();
    block
}

/// It moved as a whole, unless the block had been freed before.
fn assert_moved_or_freed(moved: Result<Moved, ResidencyError>) {
    match moved {
        Ok(moved) => assert_eq!(moved, WHOLE),
        Err(error) => assert_eq!(error.kind(), ResidencyErrorKind::NotLive, "{error}"),
    }
}

/// Ends a model whose pool may hold one granule: it is had once, and the host has its own back.
fn finish_with_one(rig: Rig, streams: [Stream; 2]) {
    let block = rig.take(1, &streams[1]);
    assert!(rig.try_take(1, &streams[0]).is_none(), "memory that exists once was had twice");
    rig.free(block, &streams[1]);
    rig.handle.trim_to(0).unwrap();
    rig.device.assert_clean();
    assert_eq!((rig.device.used(), rig.device.host_used()), (0, 0));
    assert_eq!(rig.handle.counters().map(|counters| counters.on_host), Some(0));
    drop(streams);
    rig.finish();
}

#[test]
fn a_block_freed_while_it_goes_to_the_host_leaves_its_memory_to_others_once() {
    explore_moves("free beside a demotion", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let (owner, other) = (rig.stream(), rig.stream());
        let block = idle_block(&rig, &owner);
        let raw = block.raw();
        let freeing = rig.clone();
        let freeing = thread::spawn(move || {
            freeing.free(block, &owner);
            owner
        });
        // SAFETY: contract, moving/nothing-pending: nothing is pending on the block, nor queued.
        assert_moved_or_freed(unsafe { rig.handle.demote(&[raw], Contents::Kept) });
        // Its memory is the device's or the pool's again, whether it has been freed yet or not.
        let early = rig.take(1, &other);
        rig.free(early, &other);
        let owner = freeing.join().unwrap();
        finish_with_one(rig, [owner, other]);
    });
}

#[test]
fn a_block_freed_while_it_comes_back_from_the_host_leaves_its_memory_to_others_once() {
    explore_moves("free beside a promotion", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let (owner, other) = (rig.stream(), rig.stream());
        let block = idle_block(&rig, &owner);
        let raw = block.raw();
        // SAFETY: contract, moving/nothing-pending: nothing is pending on the block, nor queued.
        assert_eq!(unsafe { rig.handle.demote(&[raw], Contents::Kept) }.unwrap(), WHOLE);
        let freeing = rig.clone();
        let freeing = thread::spawn(move || {
            freeing.free(block, &owner);
            owner
        });
        // SAFETY: contract, moving/nothing-pending: as above.
        assert_moved_or_freed(unsafe { rig.handle.promote(&[raw]) });
        rig.borrow(1, &other);
        let owner = freeing.join().unwrap();
        finish_with_one(rig, [owner, other]);
    });
}

/// Frees a block that rests on the host, with work pending on it there, while another thread returns
/// what it can.
pub(crate) fn frees_what_rests(rig: Rig) {
    let (owner, other) = (rig.stream(), rig.stream());
    let block = idle_block(&rig, &owner);
    // SAFETY: contract, moving/nothing-pending: nothing is pending on the block, nor queued.
    assert_eq!(unsafe { rig.handle.demote(&[block.raw()], Contents::Kept) }.unwrap(), WHOLE);
    rig.touch(&block, &owner);
    let handle = rig.handle.clone();
    let trimming = thread::spawn(move || handle.try_trim(0).unwrap());
    rig.free(block, &owner);
    trimming.join().unwrap();
    finish_with_one(rig, [owner, other]);
}

#[test]
fn a_block_freed_where_it_rests_keeps_the_hosts_memory_until_the_work_on_it_is_complete() {
    explore_moves("free of what rests beside a trim", 3, |setting| {
        frees_what_rests(Rig::new(setting, 1));
    });
}

/// Requests a granule of a pool that may hold so many, while a block that has one of them goes to sleep;
/// and wakes the block, which has what it held.
fn requests_beside_a_sleep(name: &'static str, granules: u64) {
    explore_moves(name, 3, move |setting| {
        let rig = Rig::new(setting, granules);
        let (owner, other) = (rig.stream(), rig.stream());
        let asleep = Label::intern("asleep");
        let block = {
            let _label = label("asleep");
            rig.take(1, &owner)
        };
        rig.launch(Kernel::write_pattern(block.ptr(), block.size(), 7), &owner);
        let handle = rig.handle.clone();
        let sleeping = thread::spawn(move || {
            // SAFETY: contract, moving/nothing-pending: nothing is queued on it until it was woken.
            unsafe { handle.sleep(Some(asleep), Contents::Kept, Pending::Wait) }.unwrap()
        });
        let early = rig.try_take(1, &other);
        assert!(early.is_some() || granules == 1, "what fits is not refused");
        assert_eq!(sleeping.join().unwrap(), WHOLE);
        // What sleeps takes nothing of the device.
        let late: Vec<Block> =
            (u64::from(early.is_some())..granules).map(|_| rig.take(1, &other)).collect();
        assert!(rig.try_take(1, &other).is_none(), "more than the pool may hold");
        assert_eq!(rig.device.used(), granules * GRANULE);
        // SAFETY: as above.
        let full = unsafe { rig.handle.wake(Some(asleep), Pending::Wait) }.unwrap_err();
        assert_eq!(full.kind(), ResidencyErrorKind::DeviceFull);
        early.into_iter().chain(late).for_each(|block| rig.free(block, &other));
        // SAFETY: as above.
        let woken = unsafe { rig.handle.wake(Some(asleep), Pending::Wait) }.unwrap();
        assert_eq!(woken, WHOLE);
        rig.launch(Kernel::check_pattern(block.ptr(), block.size(), 7), &owner);
        rig.free(block, &owner);
        assert_eq!(rig.device.host_used(), 0);
        drop((owner, other));
        rig.finish();
    });
}

#[test]
fn a_request_that_fits_is_not_refused_while_others_go_to_sleep() {
    requests_beside_a_sleep("a request that fits beside a sleep", 2);
}

#[test]
fn a_request_beside_a_sleep_is_refused_for_now_or_served_from_what_that_gave_up() {
    requests_beside_a_sleep("a request that misses beside a sleep", 1);
}
