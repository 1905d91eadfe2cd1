//! Default streams that belong to threads: what others ask of them, and what is left when their
//! threads end.

use loom::thread;
use vmem_core::DeviceBuffer;

use crate::support::{GRANULE, Rig, Setting, explore};

/// Another thread uses a block on a stream of its own, asks the home stream to wait for that, and
/// frees the block there, while the home stream's thread allocates.
fn pending_wait(setting: Setting) {
    let rig = Rig::new(setting, 1);
    let home = rig.own_default();
    let block = rig.take(1, &home);
    let (other, there) = (rig.clone(), home.clone());
    let ready = home.marker().unwrap();
    let user = thread::spawn(move || {
        let stream = other.stream();
        stream.wait(&ready).unwrap();
        other.touch(&block, &stream);
        there.wait(&stream.marker().unwrap()).unwrap();
        other.free(block, &there);
    });
    let early = rig.borrow(1, &home);
    user.join().unwrap();
    assert!(early || rig.borrow(1, &home));
    drop(home);
    rig.finish();
}

#[test]
fn a_thread_waits_for_what_others_asked_of_its_stream_before_it_reuses_a_block() {
    explore("pending wait", 3, pending_wait);
}

#[test]
fn a_buffer_dropped_on_another_thread_is_reused_behind_its_recorded_uses() {
    explore("dropped buffer", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let home = rig.own_default();
        let mut buffer = DeviceBuffer::new(rig.pool.clone(), GRANULE, &home).unwrap();
        let stream = rig.stream();
        let (other, using) = (rig.clone(), stream.clone());
        let user = thread::spawn(move || {
            let block = buffer.block().unwrap();
            other.touch(block, &using);
            buffer.record_use(&using).unwrap();
            drop(buffer);
        });
        let early = rig.borrow(1, &home);
        user.join().unwrap();
        assert!(early || rig.borrow(1, &home));
        drop((home, stream));
        rig.finish();
    });
}

#[test]
fn a_wait_asked_of_a_threads_stream_while_it_retires_is_not_lost() {
    explore("pending wait beside retire", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let home = rig.own_default();
        let mut buffer = DeviceBuffer::new(rig.pool.clone(), GRANULE, &home).unwrap();
        let stream = rig.stream();
        let (other, using) = (rig.clone(), stream.clone());
        let user = thread::spawn(move || {
            let block = buffer.block().unwrap();
            other.touch(block, &using);
            buffer.record_use(&using).unwrap();
            drop(buffer);
        });
        home.retire().unwrap();
        user.join().unwrap();
        let thief = rig.stream();
        assert!(rig.borrow(1, &thief));
        drop((home, stream, thief));
        rig.finish();
    });
}

#[test]
fn two_threads_free_on_a_third_ones_stream() {
    explore("two threads' pending waits", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let home = rig.own_default();
        let blocks = [rig.take(1, &home), rig.take(1, &home)];
        let ready = home.marker().unwrap();
        let mut threads = Vec::new();
        for block in blocks {
            let (rig, home, ready) = (rig.clone(), home.clone(), ready.clone());
            threads.push(thread::spawn(move || {
                let stream = rig.stream();
                stream.wait(&ready).unwrap();
                rig.touch(&block, &stream);
                home.wait(&stream.marker().unwrap()).unwrap();
                rig.free(block, &home);
            }));
        }
        rig.borrow(1, &home);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let all = [rig.take(1, &home), rig.take(1, &home)];
        all.into_iter().for_each(|block| rig.free(block, &home));
        drop((home, ready));
        rig.finish();
    });
}

#[test]
fn memory_of_a_thread_that_ends_serves_others_behind_its_work() {
    explore("a thread ends with its stream", 3, |setting| {
        let rig = Rig::new(setting, 1);
        let other = rig.clone();
        let ending = thread::spawn(move || {
            let own = other.own_default();
            other.borrow(1, &own);
        });
        let stream = rig.stream();
        rig.borrow(1, &stream);
        ending.join().unwrap();
        let block = rig.take(1, &stream);
        rig.free(block, &stream);
        drop(stream);
        rig.finish();
    });
}

#[test]
fn memory_of_a_thread_that_ends_before_its_stream_serves_others_once_the_device_was_waited_for() {
    explore("a thread ends before its stream", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let other = rig.clone();
        let ending = thread::spawn(move || {
            let own = other.own_default();
            other.borrow(1, &own);
            own
        });
        let stream = rig.stream();
        rig.borrow(1, &stream);
        let orphan = ending.join().unwrap();
        // Whoever used it last: nobody else can mark the ended thread's stream.
        rig.handle.synchronize().unwrap();
        assert!(rig.borrow(1, &stream));
        drop((orphan, stream));
        rig.finish();
    });
}

#[test]
fn a_thread_marks_for_a_thief_what_only_it_can_mark() {
    explore("a wanted lane", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let other = rig.clone();
        let bound = thread::spawn(move || {
            let own = other.own_default();
            // The second call closes the lane if the thief asked meanwhile.
            other.borrow(1, &own);
            other.borrow(1, &own);
        });
        let stream = rig.stream();
        let block = rig.take(1, &stream);
        bound.join().unwrap();
        let all = [block, rig.take(1, &stream)];
        all.into_iter().for_each(|block| rig.free(block, &stream));
        drop(stream);
        rig.finish();
    });
}

/// A thread that marks its lane for a thief lets go of the lock in the middle of its request. What
/// others freed on its stream by then relies on waits that they asked for by then.
#[test]
fn a_thread_that_marks_for_a_thief_still_waits_for_what_others_asked_of_its_stream() {
    explore("pending wait beside a wanted lane", 2, |setting| {
        let rig = Rig::new(setting, 2);
        let home = rig.own_default();
        let block = rig.take(1, &home);
        rig.borrow(1, &home);
        // A thief, which makes the home stream's lane one that others want.
        let thief = rig.stream();
        let stolen = rig.take(1, &thief);
        let ready = home.marker().unwrap();
        let (other, there) = (rig.clone(), home.clone());
        let user = thread::spawn(move || {
            let stream = other.stream();
            stream.wait(&ready).unwrap();
            other.touch(&block, &stream);
            there.wait(&stream.marker().unwrap()).unwrap();
            other.free(block, &there);
        });
        rig.borrow(1, &home);
        user.join().unwrap();
        rig.free(stolen, &thief);
        drop((home, thief));
        rig.finish();
    });
}

/// The last handle of a thread's stream goes on another thread, with a block freed there and a wait that
/// the stream owes; the thread goes on, on its next default stream, beside a thief.
#[test]
fn a_threads_next_stream_covers_what_was_freed_on_the_one_before_when_that_ended_elsewhere() {
    explore("a stream ends elsewhere", 2, |setting| {
        let rig = Rig::new(setting, 1);
        let home = rig.own_default();
        let block = rig.take(1, &home);
        let ready = home.marker().unwrap();
        let other = rig.clone();
        let ending = thread::spawn(move || {
            let stream = other.stream();
            stream.wait(&ready).unwrap();
            other.touch(&block, &stream);
            home.wait(&stream.marker().unwrap()).unwrap();
            other.free(block, &home);
            drop(home);
        });
        let early = rig.own_default();
        rig.borrow(1, &early);
        ending.join().unwrap();
        drop(early);
        let home = rig.own_default();
        rig.borrow(1, &home);
        rig.borrow(1, &home);
        let thief = rig.stream();
        rig.borrow(1, &thief);
        drop((home, thief));
        rig.handle.synchronize().unwrap();
        rig.finish();
    });
}
