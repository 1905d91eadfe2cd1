//! What moves when, and in which order.

use std::thread;

use vmem_adaptors::{Spill, Spillable};
use vmem_core::{Contents, Device, DeviceBuffer, DevicePtr, DriverCode, Residency, Stream};
use vmem_sim::{Kernel, SimDevice};

use super::mover::Memory;
use super::{Bench, SIZE, address};

#[test]
fn cold_buffers_move_out_least_recently_leased_first_and_no_more_than_is_missing() {
    let bench = Bench::new(0, 4, 4);
    let buffers = bench.buffers(4);
    for index in [2, 0, 3, 1] {
        drop(buffers[index].lease(&bench.stream).unwrap());
    }
    bench.stream.synchronize().unwrap();
    assert_eq!(bench.spill.room(), 4 * SIZE);
    assert_eq!(bench.spill.demote(SIZE + 1), 2 * SIZE);
    let moved = [(address(&buffers[2]), "out"), (address(&buffers[0]), "out")];
    assert_eq!(bench.mover.moves(), moved);
    assert_eq!(bench.spill.demote(0), 0);
    assert_eq!(bench.spill.counts().demoted_bytes, 2 * SIZE);
    assert_eq!((bench.spill.counts().host_bytes, bench.spill.room()), (2 * SIZE, 2 * SIZE));
    drop(buffers);
    bench.finish();
}

#[test]
fn nothing_moves_that_is_leased_or_has_work_pending() {
    for seed in 0..8 {
        let bench = Bench::new(seed, 2, 2);
        let buffers = bench.buffers(2);
        let other = Stream::new(bench.device.clone()).unwrap();
        let lease = buffers[0].lease(&other).unwrap();
        bench.write(&buffers[1], &bench.stream, 1);
        // What is pending may be over by chance, and moves then, which the checker would find too early.
        bench.spill.demote(u64::MAX);
        assert!(buffers[0].is_on_device());
        bench.launch(&other, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, 2));
        drop(lease);
        bench.spill.demote(u64::MAX);
        bench.device.settle();
        bench.spill.demote(u64::MAX);
        assert!(buffers.iter().all(|buffer| !buffer.is_on_device()), "seed {seed}");
        bench.check(&buffers[0], &bench.stream, 2);
        bench.check(&buffers[1], &other, 1);
        drop((buffers, other));
        bench.finish();
    }
}

#[test]
fn work_through_the_buffers_own_methods_under_a_lease_of_another_stream_is_waited_for() {
    for seed in 0..8 {
        let bench = Bench::new(seed, 1, 1);
        let buffer = bench.buffer();
        let other = Stream::new(bench.device.clone()).unwrap();
        let lease = buffer.lease(&other).unwrap();
        let ptr = lease.memory().ptr().unwrap();
        bench.launch(&bench.stream, Kernel::write_pattern(ptr, SIZE, 3));
        drop(lease);
        bench.spill.demote(SIZE);
        bench.check(&buffer, &other, 3);
        drop((buffer, other));
        bench.finish();
    }
}

#[test]
fn leases_of_several_streams_are_ordered_after_those_that_ended() {
    for seed in 0..16 {
        let bench = Bench::new(seed, 1, 1);
        let buffer = bench.buffer();
        let streams: Vec<_> = (0..3).map(|_| Stream::new(bench.device.clone()).unwrap()).collect();
        for (tag, stream) in (0..).zip(&streams) {
            bench.write(&buffer, stream, tag);
        }
        for stream in &streams {
            bench.check(&buffer, stream, 2);
        }
        bench.spill.demote(SIZE);
        drop(buffer);
        drop(streams);
        bench.finish();
    }
}

#[test]
fn a_lease_brings_memory_back_if_there_is_room_or_by_moving_out_what_is_colder() {
    let bench = Bench::new(0, 2, 2);
    let (first, second) = (bench.buffer(), bench.buffer());
    bench.stream.synchronize().unwrap();
    assert_eq!(bench.spill.demote(SIZE), SIZE);
    let third = bench.buffer();
    bench.stream.synchronize().unwrap();
    bench.mover.moves();
    // Leased once on the host, it is hotter than the second.
    drop(first.lease(&bench.stream).unwrap());
    assert_eq!((bench.mover.moves().len(), bench.spill.counts().left_on_host), (0, 1));
    bench.stream.synchronize().unwrap();
    drop(first.lease(&bench.stream).unwrap());
    assert_eq!(bench.mover.moves(), [(address(&second), "out"), (address(&first), "in")]);
    assert!(first.is_on_device() && third.is_on_device() && !second.is_on_device());
    // With room nothing has to go.
    drop(third);
    drop(second.lease(&bench.stream).unwrap());
    assert_eq!(bench.mover.moves(), [(address(&second), "in")]);
    drop((first, second));
    bench.finish();
}

#[test]
fn a_pass_over_more_than_the_device_holds_moves_out_nothing_that_is_as_hot() {
    let bench = Bench::new(0, 4, 4);
    let buffers = bench.buffers(6);
    bench.mover.moves();
    for _ in 0..5 {
        for buffer in &buffers {
            drop(buffer.lease(&bench.stream).unwrap());
            bench.stream.synchronize().unwrap();
        }
    }
    assert_eq!(bench.mover.moves(), []);
    assert_eq!(bench.spill.counts().left_on_host, 5 * 2);
    drop(buffers);
    bench.finish();
}

#[test]
fn no_more_of_the_host_is_used_than_the_limit() {
    let bench = Bench::new(0, 4, 4);
    let buffers = bench.buffers(3);
    let limited = bench.spill.clone().with_host_limit(2 * SIZE - 1);
    assert_eq!(limited.room(), 2 * SIZE - 1);
    assert_eq!(limited.demote(u64::MAX), SIZE);
    assert_eq!(bench.spill.counts().host_bytes, SIZE);
    assert_eq!(limited.demote(u64::MAX), 0);
    assert_eq!(bench.spill.demote(u64::MAX), 2 * SIZE);
    drop((buffers, limited));
    bench.finish();
}

#[test]
fn memory_that_cannot_move_is_leased_all_the_same() {
    let bench = Bench::new(0, 4, 4);
    let elsewhere = Bench::new(0, 1, 1);
    let other =
        DeviceBuffer::new(Memory(elsewhere.mover.clone()), SIZE, &elsewhere.stream).unwrap();
    let memory = Memory(bench.mover.clone());
    let empty = DeviceBuffer::new(memory.clone(), 0, &bench.stream).unwrap();
    let never = DeviceBuffer::new(memory, SIZE, &bench.stream).unwrap();
    let (other, empty) = (bench.spill.adopt(other), bench.spill.adopt(empty));
    let never = Spill::none().adopt(never);
    assert!(empty.lease(&bench.stream).unwrap().ptr().is_none());
    bench.write(&never, &bench.stream, 1);
    elsewhere.write(&other, &elsewhere.stream, 1);
    assert_eq!((bench.spill.room(), bench.spill.demote(u64::MAX)), (0, 0));
    drop((other, empty, never));
    bench.finish();
    elsewhere.finish();
}

#[test]
fn exclusive_work_may_resize_and_needs_that_nobody_leases() {
    let bench = Bench::new(0, 4, 4);
    let mut buffer = bench.buffer();
    bench.write(&buffer, &Stream::new(bench.device.clone()).unwrap(), 5);
    let lease = buffer.lease(&bench.stream).unwrap();
    assert_eq!(buffer.with(|_| ()).unwrap_err().code(), DriverCode::NOT_PERMITTED);
    let buffer_again = buffer.into_inner().unwrap_err();
    drop(lease);
    buffer = buffer_again;
    let resized = buffer.with(|buffer| buffer.resize(2 * SIZE)).unwrap();
    resized.unwrap();
    bench.check(&buffer, &bench.stream, 5);
    bench.stream.synchronize().unwrap();
    // The new block moves.
    assert_eq!(bench.spill.demote(1), 2 * SIZE);
    let buffer = buffer.into_inner().unwrap();
    assert_eq!(bench.spill.counts().buffers, 0);
    bench.launch(&bench.stream, Kernel::check_pattern(buffer.ptr().unwrap(), SIZE, 5));
    drop(buffer);
    bench.finish();
}

#[test]
fn a_lease_finds_out_what_was_moved_by_hand_and_brings_it_back() {
    let bench = Bench::new(0, 2, 2);
    let buffers = [bench.buffer(), bench.buffer()];
    bench.write(&buffers[0], &bench.stream, 1);
    bench.stream.synchronize().unwrap();
    let block = |buffer| bench.mover.block_at(DevicePtr::new(address(buffer)).unwrap()).unwrap();
    // SAFETY: nothing is pending on the buffer.
    unsafe { bench.mover.demote(&[block(&buffers[0])], Contents::Kept) }.unwrap();
    // It is not moved out twice.
    assert_eq!(bench.spill.demote(u64::MAX), SIZE);
    bench.check(&buffers[0], &bench.stream, 1);
    // SAFETY: nothing is pending on the buffer.
    unsafe { bench.mover.promote(&[block(&buffers[1])]) }.unwrap();
    bench.check(&buffers[0], &bench.stream, 1);
    drop(buffers[1].lease(&bench.stream).unwrap());
    assert!(buffers.iter().all(Spillable::is_on_device));
    assert_eq!(bench.spill.counts().host_bytes, 0);
    // What is older makes room for it as for any other.
    bench.stream.synchronize().unwrap();
    // SAFETY: nothing is pending on the buffer.
    unsafe { bench.mover.demote(&[block(&buffers[1])], Contents::Kept) }.unwrap();
    let other = bench.buffer();
    assert_eq!(bench.mover.used(), 2 * SIZE);
    drop(other.lease(&bench.stream).unwrap());
    bench.stream.synchronize().unwrap();
    drop(buffers[1].lease(&bench.stream).unwrap());
    assert_eq!(buffers.each_ref().map(Spillable::is_on_device), [false, true]);
    drop((buffers, other));
    bench.finish();
}

#[test]
fn a_lease_moves_out_what_is_missing_of_the_room_it_needs_and_no_more() {
    let bench = Bench::new(0, 4, 4);
    let colder = bench.buffers(2);
    let large = DeviceBuffer::new(Memory(bench.mover.clone()), 2 * SIZE, &bench.stream).unwrap();
    let large = bench.spill.adopt(large);
    bench.stream.synchronize().unwrap();
    let block = bench.mover.block_at(DevicePtr::new(address(&large)).unwrap()).unwrap();
    // SAFETY: nothing is pending on the buffer.
    unsafe { bench.mover.demote(&[block], Contents::Kept) }.unwrap();
    let hotter = bench.buffer();
    bench.stream.synchronize().unwrap();
    bench.mover.moves();
    // There is room for half of it.
    drop(large.lease(&bench.stream).unwrap());
    assert_eq!(bench.mover.moves(), [(address(&colder[0]), "out"), (address(&large), "in")]);
    assert!(colder[1].is_on_device() && hotter.is_on_device() && large.is_on_device());
    drop((colder, large, hotter));
    bench.finish();
}

#[test]
fn what_is_counted_on_the_host_is_what_is_there_whoever_moved_it() {
    let bench = Bench::new(0, 4, 4);
    let buffers = bench.buffers(2);
    let spill = bench.spill.clone().with_host_limit(SIZE);
    let block = |buffer| bench.mover.block_at(DevicePtr::new(address(buffer)).unwrap()).unwrap();
    assert_eq!((spill.demote(SIZE), spill.counts().host_bytes), (SIZE, SIZE));
    // SAFETY: nothing is pending on the buffer.
    unsafe { bench.mover.promote(&[block(&buffers[0])]) }.unwrap();
    assert_eq!(spill.counts().host_bytes, 0);
    // SAFETY: as above.
    unsafe { bench.mover.demote(&[block(&buffers[1])], Contents::Kept) }.unwrap();
    assert_eq!(spill.counts().host_bytes, SIZE);
    assert_eq!(spill.demote(SIZE), 0, "the limit is reached");
    // A limit that is not reached any more is none, also if nobody asked meanwhile.
    // SAFETY: as above.
    unsafe { bench.mover.promote(&[block(&buffers[1])]) }.unwrap();
    assert_eq!(spill.demote(u64::MAX), SIZE);
    drop((buffers, spill));
    bench.finish();
}

#[test]
fn a_stream_of_another_device_gets_no_lease() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffer();
    let elsewhere = Stream::new(SimDevice::new(1 << 20)).unwrap();
    assert_eq!(buffer.lease(&elsewhere).unwrap_err().code(), DriverCode::INVALID_CONTEXT);
    assert_eq!(bench.spill.counts().leased, 0);
    drop(buffer);
    bench.finish();
}

#[test]
fn thousands_of_leases_with_work_pending_are_a_short_list() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffer();
    for tag in 0..2000 {
        bench.write(&buffer, &bench.stream, tag);
        if tag % 8 == 0 {
            bench.stream.synchronize().unwrap();
        }
    }
    assert!(bench.device.leaks().events < 100, "{}", bench.device.leaks());
    drop(buffer);
    bench.finish();
}

#[test]
fn a_buffer_of_a_threads_default_stream_is_freed_on_it_after_the_thread_has_ended() {
    let bench = Bench::new(0, 2, 2);
    let (device, spill) = (bench.device.clone(), bench.spill.clone());
    let memory = Memory(bench.mover.clone());
    let made = thread::spawn(move || {
        let own = Stream::per_thread_default(device.clone());
        spill.adopt(DeviceBuffer::new(memory, SIZE, &own).unwrap())
    });
    let mut buffer = made.join().unwrap();
    // Nobody can mark the end of this any more.
    let _ = buffer.with(|_| ());
    bench.device.settle();
    assert_eq!(bench.spill.demote(SIZE), 0);
    bench.device.synchronize().unwrap();
    drop(buffer);
    bench.mover.synchronize();
    assert_eq!(bench.device.base().drop_failures().count(), 0);
    bench.finish();
}
