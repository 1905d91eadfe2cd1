//! Marker batches: what one thread frees while it goes on working, another takes.

use loom::thread;
use vmem_pool::{Batch, PoolConfig};

use crate::support::{Rig, Setting, explore};

/// One thread uses and frees two blocks, one after the other, while another takes two. The marker of
/// the first does not cover the second, and a block costs one wait at most.
fn a_batch_covers_what_was_freed_before_it(batch: Batch) -> impl Fn(Setting) + Copy {
    move |setting| {
        let rig = Rig::with(setting, 2, PoolConfig::default().with_batch(batch));
        let (owner, thief) = (rig.stream(), rig.stream());
        let blocks = [rig.take(1, &owner), rig.take(1, &owner)];
        let other = rig.clone();
        let owning = thread::spawn(move || {
            for block in blocks {
                other.touch(&block, &owner);
                other.free(block, &owner);
            }
            owner
        });
        let taken = [rig.try_take(1, &thief), rig.try_take(1, &thief)];
        let owner = owning.join().unwrap();
        let counters = rig.handle.counters().unwrap();
        assert!(counters.waits <= 2, "{counters:?}");
        let missing = taken.iter().filter(|block| block.is_none()).count();
        let rest: Vec<_> = (0..missing).map(|_| rig.take(1, &thief)).collect();
        taken.into_iter().flatten().chain(rest).for_each(|block| rig.free(block, &thief));
        drop((owner, thief));
        rig.finish();
    }
}

#[test]
fn a_thief_waits_for_all_work_on_what_it_takes() {
    let model = a_batch_covers_what_was_freed_before_it(Batch::default());
    explore("a thief closes batches", 3, model);
}

#[test]
fn an_owner_and_a_thief_may_close_the_same_batch() {
    let model = a_batch_covers_what_was_freed_before_it(Batch::STRICT);
    explore("owner and thief close batches", 2, model);
}
