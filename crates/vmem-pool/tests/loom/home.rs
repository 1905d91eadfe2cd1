//! Blocks that go home, and those that want them.

use loom::thread;
use vmem_pool::{Batch, PoolConfig};

use crate::support::{Rig, explore};

/// A block of one stream is freed on another in one thread while its stream wants it back in another.
fn comes_home(name: &'static str, batch: Batch) {
    explore(name, 2, move |setting| {
        let rig = Rig::with(setting, 1, PoolConfig::default().with_batch(batch));
        let (home, away) = (rig.stream(), rig.stream());
        let block = rig.take(1, &home);
        let marker = home.marker().unwrap();
        away.wait(&marker).unwrap();
        let other = rig.clone();
        let freeing = thread::spawn(move || {
            other.touch(&block, &away);
            other.free(block, &away);
            away
        });
        let early = rig.borrow(1, &home);
        let away = freeing.join().unwrap();
        assert!(early || rig.borrow(1, &home));
        drop((home, away, marker));
        rig.finish();
    });
}

#[test]
fn a_block_comes_home_while_it_is_freed_elsewhere() {
    comes_home("home", Batch::default());
}

#[test]
fn a_block_comes_home_while_the_free_of_it_is_marked() {
    comes_home("home, marked", Batch::STRICT);
}

/// It is at home on one stream, free on a second, and a third wants it too.
#[test]
fn of_its_home_and_a_thief_one_gets_a_block_that_is_away() {
    explore("home and a thief", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let (home, away, thief) = (rig.stream(), rig.stream(), rig.stream());
        let block = rig.take(1, &home);
        let marker = home.marker().unwrap();
        away.wait(&marker).unwrap();
        rig.touch(&block, &away);
        rig.free(block, &away);
        let other = rig.clone();
        let stealing = thread::spawn(move || (other.try_take(1, &thief), thief));
        let mine = rig.try_take(1, &home);
        let (theirs, thief) = stealing.join().unwrap();
        assert!(mine.is_some() != theirs.is_some(), "it was free until one of them had it");
        mine.into_iter().for_each(|block| rig.free(block, &home));
        theirs.into_iter().for_each(|block| rig.free(block, &thief));
        assert!(rig.borrow(1, &home) && rig.borrow(1, &away));
        drop((home, away, thief, marker));
        rig.finish();
    });
}

/// The home stream ends while what is away is taken by the stream that freed it.
#[test]
fn a_home_that_ends_leaves_what_is_away_to_the_stream_that_freed_it() {
    explore("home ends", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let (home, away) = (rig.stream(), rig.stream());
        let block = rig.take(1, &home);
        let marker = home.marker().unwrap();
        away.wait(&marker).unwrap();
        rig.touch(&block, &away);
        rig.free(block, &away);
        let ending = thread::spawn(move || drop(home));
        assert!(rig.borrow(1, &away), "nobody else wants it");
        ending.join().unwrap();
        let next = rig.stream();
        assert!(rig.borrow(1, &next) && rig.borrow(1, &away));
        drop((next, away, marker));
        rig.finish();
    });
}
