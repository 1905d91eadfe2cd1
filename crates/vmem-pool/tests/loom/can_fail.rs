//! The models can fail: over a device that does not do what it says, loom comes to an order in which the
//! checker sees it. What no device can fake is in `xtask/src/mutants.rs`.

use loom::thread;
use vmem_pool::{Batch, PoolConfig};
use vmem_testkit::Carelessness;

use crate::residency::frees_what_rests;
use crate::support::{Rig, explore, explore_moves};

#[test]
#[should_panic(expected = "broken rules")]
fn a_thief_that_skips_its_wait_is_caught() {
    explore("a skipped wait", 3, |setting| {
        let rig = Rig::new(setting, 1).careless(Carelessness::SkipWaits);
        let (owner, thief) = (rig.stream(), rig.stream());
        let block = rig.take(1, &owner);
        let other = rig.clone();
        let freeing = thread::spawn(move || {
            other.free(block, &owner);
            owner
        });
        rig.borrow(1, &thief);
        drop((freeing.join().unwrap(), thief));
        rig.finish();
    });
}

#[test]
#[should_panic(expected = "broken rules")]
fn a_marker_that_covers_nothing_is_caught() {
    explore("a marker of nothing", 3, |setting| {
        let rig = Rig::with(setting, 2, PoolConfig::default().with_batch(Batch::STRICT));
        let rig = rig.careless(Carelessness::SkipRecords);
        let (owner, thief) = (rig.stream(), rig.stream());
        let blocks = [rig.take(1, &owner), rig.take(1, &owner)];
        let other = rig.clone();
        let freeing = thread::spawn(move || {
            for block in blocks {
                other.touch(&block, &owner);
                other.free(block, &owner);
            }
            owner
        });
        rig.borrow(1, &thief);
        rig.borrow(1, &thief);
        drop((freeing.join().unwrap(), thief));
        rig.finish();
    });
}

#[test]
#[should_panic(expected = "broken rules")]
fn memory_of_the_host_that_goes_back_under_pending_work_is_caught() {
    explore_moves("a resting block that is never in use", 2, |setting| {
        frees_what_rests(Rig::new(setting, 1).careless(Carelessness::ClaimCompletion));
    });
}
