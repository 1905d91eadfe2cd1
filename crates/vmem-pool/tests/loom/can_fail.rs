//! The models can fail: with a fault planted in the pool, loom comes to an order in which the checker
//! sees it.

use loom::thread;
use vmem_pool::sabotage::{Fault, plant};
use vmem_pool::{Batch, PoolConfig};

use crate::inbox::pending_wait;
use crate::support::{Rig, explore};

/// A fault for as long as it lives.
struct Planted;

impl Planted {
    fn new(fault: Fault) -> Self {
        plant(Some(fault));
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(None);
    }
}

#[test]
#[should_panic(expected = "broken rules")]
fn a_thief_that_skips_its_wait_is_caught() {
    let _planted = Planted::new(Fault::SkipWait);
    explore("a skipped wait", 3, |setting| {
        let rig = Rig::new(setting, 1);
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
fn a_batch_closed_before_what_it_covers_is_caught() {
    let _planted = Planted::new(Fault::CloseEarly);
    explore("a batch closed early", 3, |setting| {
        let rig = Rig::with(setting, 2, PoolConfig::default().with_batch(Batch::STRICT));
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

/// Called one after the other, all is well: the free and the wait before it must come between the
/// look and the lock.
#[test]
#[should_panic(expected = "broken rules")]
fn looking_for_pending_waits_without_the_lock_is_caught() {
    let _planted = Planted::new(Fault::LookUnlocked);
    explore("an unlocked look", 3, pending_wait);
}
