//! Returning memory while others take it.

use std::time::Duration;

use loom::thread;
use vmem_pool::{AutoTrim, PoolConfig};

use crate::support::{GRANULE, Rig, explore};

#[test]
fn trimming_beside_a_request_refuses_nothing_that_fits() {
    explore("trim beside a request", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let (owner, other) = (rig.stream(), rig.stream());
        rig.free(rig.take(1, &owner), &owner);
        let handle = rig.handle.clone();
        let trimming = thread::spawn(move || handle.trim_to(0).unwrap());
        let block = rig.take(1, &other);
        trimming.join().unwrap();
        rig.free(block, &other);
        drop((owner, other));
        rig.finish();
    });
}

#[test]
fn trimming_what_is_complete_beside_a_free_returns_nothing_pending() {
    explore("trim beside a free", 3, |setting| {
        let rig = Rig::new(setting, 2);
        let stream = rig.stream();
        let blocks = [rig.take(1, &stream), rig.take(1, &stream)];
        let handle = rig.handle.clone();
        let trimming = thread::spawn(move || handle.try_trim(0).unwrap());
        for block in blocks {
            rig.touch(&block, &stream);
            rig.free(block, &stream);
        }
        trimming.join().unwrap();
        let all = [rig.take(1, &stream), rig.take(1, &stream)];
        all.into_iter().for_each(|block| rig.free(block, &stream));
        drop(stream);
        rig.finish();
    });
}

#[test]
fn two_trims_return_what_there_is_once() {
    explore("two trims", 3, |setting| {
        let rig = Rig::new(setting, 2);
        let stream = rig.stream();
        rig.free(rig.take(2, &stream), &stream);
        let handle = rig.handle.clone();
        let trimming = thread::spawn(move || handle.trim_to(0).unwrap());
        let mine = rig.handle.trim_to(0).unwrap();
        let theirs = trimming.join().unwrap();
        assert_eq!(mine + theirs, 2 * GRANULE);
        assert_eq!(rig.device.used(), 0);
        drop(stream);
        rig.finish();
    });
}

#[test]
fn memory_that_goes_as_soon_as_it_is_free_is_taken_again_by_others() {
    let at_once = AutoTrim::new(0, Duration::ZERO);
    explore("release beside a request", 2, move |setting| {
        let config = PoolConfig::default().with_auto_trim(at_once);
        let rig = Rig::with(setting, 2, config);
        let (here, there) = (rig.stream(), rig.stream());
        let other = rig.clone();
        let borrowing = thread::spawn(move || {
            assert!(other.borrow(1, &there));
            there
        });
        assert!(rig.borrow(1, &here));
        let there = borrowing.join().unwrap();
        drop((here, there));
        rig.finish();
    });
}
