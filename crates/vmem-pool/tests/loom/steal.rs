//! Thieves, and those they take from.

use loom::thread;

use crate::support::{Rig, explore};

#[test]
fn one_of_two_thieves_gets_a_freed_block() {
    explore("two thieves", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let owner = rig.stream();
        rig.free(rig.take(1, &owner), &owner);
        let streams = [rig.stream(), rig.stream()];
        let [first, second] = streams.map(|stream| {
            let rig = rig.clone();
            thread::spawn(move || (rig.try_take(1, &stream), stream))
        });
        let taken = [first.join().unwrap(), second.join().unwrap()];
        assert_eq!(taken.iter().filter(|(block, _)| block.is_some()).count(), 1);
        for (block, stream) in taken {
            block.into_iter().for_each(|block| rig.free(block, &stream));
        }
        drop(owner);
        rig.finish();
    });
}

#[test]
fn two_thieves_hand_a_block_to_each_other() {
    explore("two thieves that free", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let owner = rig.stream();
        rig.free(rig.take(1, &owner), &owner);
        let (here, there) = (rig.stream(), rig.stream());
        let other = rig.clone();
        let thief = thread::spawn(move || (other.borrow(1, &there), there));
        let mine = rig.borrow(1, &here);
        let (theirs, there) = thief.join().unwrap();
        assert!(mine || theirs, "the block was free all the time until one of them had it");
        assert!(rig.borrow(1, &here) && rig.borrow(1, &there));
        drop((owner, here, there));
        rig.finish();
    });
}

/// While one of them holds all of it, the other may be refused, but not for longer.
#[test]
fn two_thieves_share_a_block_that_is_large_enough_for_both() {
    explore("two thieves of one large block", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let owner = rig.stream();
        rig.free(rig.take(2, &owner), &owner);
        let (here, there) = (rig.stream(), rig.stream());
        let other = rig.clone();
        let thief = thread::spawn(move || (other.try_take(1, &there), there));
        let mine = rig.try_take(1, &here);
        let (theirs, there) = thief.join().unwrap();
        let mine = mine.unwrap_or_else(|| rig.take(1, &here));
        let theirs = theirs.unwrap_or_else(|| rig.take(1, &there));
        rig.free(mine, &here);
        rig.free(theirs, &there);
        drop((owner, here, there));
        rig.finish();
    });
}

#[test]
fn neighbours_that_two_threads_free_are_joined_behind_both() {
    explore("merge", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let streams = [rig.stream(), rig.stream()];
        // One chunk or two granules side by side, in halves.
        let thief = rig.stream();
        rig.free(rig.take(2, &thief), &thief);
        let blocks = [rig.take(1, &thief), rig.take(1, &thief)];
        let marker = thief.marker().unwrap();
        streams.iter().for_each(|stream| stream.wait(&marker).unwrap());
        let mut threads = Vec::new();
        for (stream, block) in streams.into_iter().zip(blocks) {
            let rig = rig.clone();
            threads.push(thread::spawn(move || {
                rig.touch(&block, &stream);
                rig.free(block, &stream);
                stream
            }));
        }
        let early = rig.borrow(2, &thief);
        let streams: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(early || rig.borrow(2, &thief));
        drop((streams, thief, marker));
        rig.finish();
    });
}
