//! Requests that miss while others free or grow.

use loom::thread;
use vmem_pool::{Growth, PoolConfig};

use crate::support::{GRANULE, Rig, explore};

#[test]
fn a_refusal_is_not_remembered_beyond_a_free_that_came_too_late_for_it() {
    explore("free beside a miss", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let (owner, other) = (rig.stream(), rig.stream());
        let block = rig.take(1, &owner);
        let freeing = rig.clone();
        let freeing = thread::spawn(move || {
            freeing.free(block, &owner);
            owner
        });
        let early = rig.borrow(1, &other);
        let owner = freeing.join().unwrap();
        assert!(early || rig.borrow(1, &other));
        drop((owner, other));
        rig.finish();
    });
}

#[test]
fn what_fits_at_every_moment_is_not_refused() {
    explore("free and request beside a miss", 3, |setting| {
        let rig = Rig::new(setting, 2);
        let (owner, other) = (rig.stream(), rig.stream());
        let block = rig.take(1, &owner);
        let exchanging = rig.clone();
        let exchanging = thread::spawn(move || {
            exchanging.free(block, &owner);
            (exchanging.take(1, &owner), owner)
        });
        let block = rig.take(1, &other);
        rig.free(block, &other);
        let (block, owner) = exchanging.join().unwrap();
        rig.free(block, &owner);
        drop((owner, other));
        rig.finish();
    });
}

#[test]
fn what_fits_at_every_moment_is_not_refused_on_whatever_stream() {
    explore("free and request elsewhere beside a miss", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let (owner, second, other) = (rig.stream(), rig.stream(), rig.stream());
        let block = rig.take(1, &owner);
        let exchanging = rig.clone();
        let exchanging = thread::spawn(move || {
            exchanging.free(block, &owner);
            (exchanging.take(1, &second), owner, second)
        });
        let block = rig.take(1, &other);
        rig.free(block, &other);
        let (block, owner, second) = exchanging.join().unwrap();
        rig.free(block, &second);
        drop((owner, second, other));
        rig.finish();
    });
}

#[test]
fn two_threads_that_grow_at_once_get_what_fits() {
    explore("two growths", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let (here, there) = (rig.stream(), rig.stream());
        let other = rig.clone();
        let growing = thread::spawn(move || (other.take(1, &there), there));
        let mine = rig.take(1, &here);
        let (theirs, there) = growing.join().unwrap();
        rig.free(mine, &here);
        rig.free(theirs, &there);
        drop((here, there));
        rig.finish();
    });
}

#[test]
fn what_a_growth_leaves_over_serves_who_waited_for_its_turn() {
    explore("a growth by policy", 2, |setting| {
        let growth = Some(Growth::AtLeast(2 * GRANULE));
        let rig = Rig::with(setting, 2, PoolConfig::default().with_growth(growth));
        let (here, there) = (rig.stream(), rig.stream());
        let other = rig.clone();
        let growing = thread::spawn(move || (other.take(1, &there), there));
        let mine = rig.take(1, &here);
        let (theirs, there) = growing.join().unwrap();
        rig.free(mine, &here);
        rig.free(theirs, &there);
        drop((here, there));
        rig.finish();
    });
}
