//! What was freed on a stream that nobody could name then, and that was retired since, goes back when the
//! program asks for free memory: no wait for the device is needed.

use std::time::Duration;

use vmem_core::author::StreamExt;
use vmem_core::{Device, MemoryResource, Request, Stream};
use vmem_sim::{CallKind, Kernel};

use crate::support::{KINDS, MIB, alloc, finish, free, layout};

#[test]
fn of_memory_and_reservations_on_every_tier() {
    for kind in KINDS {
        let (runtime, device) = kind.runtime();
        let home = Stream::new(device.clone()).unwrap();
        let raw = device.create_blocking_stream().unwrap();
        // SAFETY: the stream was just made.
        let borrowed = unsafe { Stream::borrowed(device.clone(), raw) }.unwrap();
        let memory = runtime.resource().unwrap();
        let reservation = runtime.reserve(MIB, &home).unwrap();
        let drawn = Request::new(layout(MIB), &home).with_reservation(reservation.id());
        let drawn = memory.allocate(&drawn).unwrap();
        // SAFETY: it is destroyed below.
        let block = unsafe { borrowed.vouched(|| alloc(&memory, MIB, &borrowed)) };
        let kernel = Kernel::write_pattern(block.ptr(), MIB, 1).taking(Duration::from_millis(5));
        let launch = || {
            // SAFETY: a live block and stream.
            unsafe { device.launch(&borrowed, kernel) }
        };
        // SAFETY: as above.
        unsafe { borrowed.vouched(launch) }.unwrap();
        free(&memory, block, &borrowed);
        free(&memory, drawn, &borrowed);
        drop(reservation);
        // SAFETY: nothing names it after this.
        unsafe { borrowed.vouched(|| borrowed.retire()) }.unwrap();
        drop(borrowed);
        // SAFETY: as above.
        unsafe { device.destroy_stream(raw) }.unwrap();
        assert_ne!(device.used(), 0, "{kind:?}: work is pending");
        let waits = device.calls().of(CallKind::Synchronize);
        assert_ne!(runtime.free_pool_memory(), 0, "{kind:?}");
        assert_eq!(device.used(), 0, "{kind:?}");
        assert_eq!(device.calls().of(CallKind::Synchronize), waits, "{kind:?}");
        drop((memory, runtime, home));
        finish(&device);
    }
}
