//! Moves and calls that fail.

use vmem_core::{DriverCode, ResidencyErrorKind, Stream};
use vmem_sim::{CallKind, Kernel};

use super::{Bench, SIZE};

#[test]
fn one_buffer_that_cannot_move_does_not_keep_the_others() {
    let bench = Bench::new(0, 3, 3);
    let buffers = bench.buffers(3);
    // All three, then the first alone.
    bench.mover.fail(&[ResidencyErrorKind::Driver, ResidencyErrorKind::Busy]);
    assert_eq!(bench.spill.demote(u64::MAX), 2 * SIZE);
    assert!(buffers[0].is_on_device());
    assert_eq!(bench.spill.demote(u64::MAX), SIZE);
    drop(buffers);
    bench.finish();
}

#[test]
fn a_demotion_that_fails_leaves_everything_usable() {
    use ResidencyErrorKind::{Busy, Driver, Gone, HostFull, NotLive, Unsupported};
    for kind in [Busy, Driver, Gone, HostFull, NotLive, Unsupported] {
        let bench = Bench::new(0, 1, 1);
        let buffer = bench.buffers(1).remove(0);
        bench.write(&buffer, &bench.stream, 1);
        bench.stream.synchronize().unwrap();
        bench.mover.fail(&[kind]);
        assert_eq!(bench.spill.demote(SIZE), 0, "{kind:?}");
        assert!(buffer.is_on_device());
        assert_eq!(bench.spill.counts().host_bytes, 0);
        bench.check(&buffer, &bench.stream, 1);
        drop(buffer);
        bench.finish();
    }
}

#[test]
fn a_promotion_that_fails_leaves_the_memory_on_the_host_where_it_is_used() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffers(1).remove(0);
    bench.write(&buffer, &bench.stream, 1);
    bench.stream.synchronize().unwrap();
    assert_eq!(bench.spill.demote(SIZE), SIZE);
    bench.mover.fail(&[ResidencyErrorKind::Driver]);
    bench.check(&buffer, &bench.stream, 1);
    assert!(!buffer.is_on_device());
    assert_eq!(bench.spill.counts().left_on_host, 1);
    bench.check(&buffer, &bench.stream, 1);
    assert!(buffer.is_on_device());
    drop(buffer);
    bench.finish();
}

#[test]
fn memory_that_is_not_mapped_after_two_failures_is_mended_by_the_next_lease_or_not_leased() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffers(1).remove(0);
    bench.write(&buffer, &bench.stream, 1);
    bench.stream.synchronize().unwrap();
    bench.mover.fail(&[ResidencyErrorKind::Split, ResidencyErrorKind::Driver]);
    assert_eq!(bench.spill.demote(SIZE), 0);
    assert!(!buffer.is_on_device());
    let refused = buffer.lease(&bench.stream).unwrap_err();
    assert_eq!(refused.code(), DriverCode::ILLEGAL_STATE);
    assert_eq!(bench.spill.counts().leased, 0);
    bench.check(&buffer, &bench.stream, 1);
    assert!(buffer.is_on_device());
    drop(buffer);
    bench.finish();
}

#[test]
fn work_that_can_be_neither_marked_nor_waited_for_keeps_the_memory_until_it_can() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffers(1).remove(0);
    let other = Stream::new(bench.device.clone()).unwrap();
    let lease = buffer.lease(&other).unwrap();
    bench.launch(&other, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, 4));
    bench.device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    bench.device.fail_call(Some(CallKind::SynchronizeStream), 1, DriverCode::UNKNOWN);
    drop(lease);
    bench.device.settle();
    bench.device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    assert_eq!(bench.spill.demote(SIZE), 0);
    // Marked now, and over once that is seen.
    bench.spill.demote(SIZE);
    bench.device.settle();
    bench.spill.demote(SIZE);
    assert!(!buffer.is_on_device());
    bench.check(&buffer, &bench.stream, 4);
    drop((buffer, other));
    bench.finish();
}

#[test]
fn whichever_driver_call_fails_no_memory_moves_under_work_and_none_is_lost() {
    for n in 1.. {
        let bench = Bench::new(n, 2, 2);
        let buffers = bench.buffers(2);
        let other = Stream::new(bench.device.clone()).unwrap();
        let before = bench.device.calls().total();
        bench.device.fail_call(None, n, DriverCode::UNKNOWN);
        for (tag, stream) in [(1, &bench.stream), (2, &other), (3, &bench.stream)] {
            for buffer in &buffers {
                let Ok(lease) = buffer.lease(stream) else { continue };
                let kernel = Kernel::write_pattern(lease.ptr().unwrap(), SIZE, tag);
                // SAFETY: contract, devices/ranges: live memory.
                let _ = unsafe { bench.device.launch(stream, kernel) };
            }
        }
        let made = bench.device.calls().total() - before;
        bench.device.clear_failures();
        bench.device.settle();
        bench.spill.demote(u64::MAX);
        drop((buffers, other));
        assert_eq!(bench.spill.counts().buffers, 0);
        bench.device.assert_clean();
        if made < n {
            return;
        }
    }
}
