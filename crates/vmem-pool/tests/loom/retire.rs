//! Streams that end while others use their lanes.

use loom::thread;
use vmem_core::{AllocErrorKind, ResourceExt, Stream};
use vmem_pool::{Batch, PoolConfig};

use crate::support::{Rig, explore, layout};

/// Ends a stream while another thread takes what was freed on it.
fn ends_beside_a_thief(name: &'static str, end: fn(Stream)) {
    explore(name, 3, move |setting| {
        let rig = Rig::new(setting, 1);
        let (owner, thief) = (rig.stream(), rig.stream());
        rig.free(rig.take(1, &owner), &owner);
        let ending = thread::spawn(move || end(owner));
        let block = rig.take(1, &thief);
        ending.join().unwrap();
        rig.free(block, &thief);
        drop(thief);
        rig.finish();
    });
}

#[test]
fn retiring_beside_a_thief_that_closes_the_lane_strands_nothing() {
    ends_beside_a_thief("retire beside a thief", |stream| stream.retire().unwrap());
}

#[test]
fn the_last_drop_beside_a_thief_that_closes_the_lane_strands_nothing() {
    ends_beside_a_thief("last drop beside a thief", drop);
}

/// Frees on a stream while another thread retires it.
fn retires_beside_a_free(name: &'static str, batch: Batch) {
    explore(name, 3, move |setting| {
        let rig = Rig::with(setting, 1, PoolConfig::default().with_batch(batch));
        let (owner, thief) = (rig.stream(), rig.stream());
        let block = rig.take(1, &owner);
        let handle = owner.clone();
        let ending = thread::spawn(move || handle.retire().unwrap());
        rig.free(block, &owner);
        let early = rig.borrow(1, &thief);
        ending.join().unwrap();
        assert!(early && rig.borrow(1, &thief));
        drop((owner, thief));
        rig.finish();
    });
}

#[test]
fn what_is_freed_on_a_stream_while_it_retires_is_reused_behind_its_work() {
    retires_beside_a_free("retire beside a free", Batch::default());
}

#[test]
fn a_batch_may_be_closed_by_its_owner_while_the_stream_retires() {
    retires_beside_a_free("retire beside a free that closes", Batch::STRICT);
}

#[test]
fn the_lane_of_a_stream_that_ended_may_go_to_a_new_one() {
    explore("streams that come and go", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let other = rig.clone();
        let short = thread::spawn(move || {
            let stream = other.stream();
            other.borrow(1, &stream);
        });
        for _ in 0..2 {
            let stream = rig.stream();
            rig.borrow(1, &stream);
        }
        short.join().unwrap();
        let stream = rig.stream();
        assert!(rig.borrow(1, &stream));
        drop(stream);
        rig.finish();
    });
}

#[test]
fn a_request_on_a_stream_that_retires_is_served_or_refused_as_such() {
    explore("retire beside a request", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let (owner, other) = (rig.stream(), rig.stream());
        // The pool meets the stream for the first time.
        rig.free(rig.take(1, &other), &other);
        let handle = owner.clone();
        let ending = thread::spawn(move || handle.retire().unwrap());
        match rig.pool.allocate_on(layout(1), &owner) {
            Ok(block) => rig.free(block, &owner),
            Err(error) => assert_eq!(error.kind(), AllocErrorKind::InvalidStream),
        }
        ending.join().unwrap();
        assert!(rig.borrow(1, &other));
        drop((owner, other));
        rig.finish();
    });
}

#[test]
fn a_pool_may_end_while_a_stream_does() {
    explore("retire beside the end of the pool", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let owner = rig.stream();
        rig.free(rig.take(1, &owner), &owner);
        let ending = thread::spawn(move || drop(owner));
        let device = rig.device.clone();
        drop(rig);
        ending.join().unwrap();
        device.assert_clean();
        assert!(device.leaks().is_empty(), "{:?}", device.leaks());
    });
}
