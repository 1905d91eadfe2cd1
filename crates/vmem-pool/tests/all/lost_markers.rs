//! Markers that a capture took: it began and ended between the questions before and after the record, as
//! another thread's may. The driver answers whoever asks about such an event that it is none.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Block, Device, MemoryResource, ResourceExt, Stream};
use vmem_pool::{AutoTrim, Growth, Placement, PoolConfig, PoolHandle};
use vmem_sim::{CallKind, SimDevice, Violation};
use vmem_testkit::Countdown;

use crate::support::{MIB, alloc, arena, bins, chunks, device, free, layout, touch};

type Build = fn(Arc<dyn Device>, PoolConfig) -> (Box<dyn MemoryResource>, PoolHandle);

const BUILDS: [(&str, Build); 3] = [
    ("arena", |device, config| {
        let pool = arena(device, config);
        let handle = pool.handle();
        (Box::new(pool), handle)
    }),
    ("chunks", |device, config| {
        let pool = chunks(device, config);
        let handle = pool.handle();
        (Box::new(pool), handle)
    }),
    ("bins", |device, config| {
        let pool = bins(device, config);
        let handle = pool.handle();
        (Box::new(pool), handle)
    }),
];

/// A pool with a small block in use and 8 MiB that `home` freed, as much as it may have. Its first marker is
/// one of a capture.
struct Played {
    device: Arc<SimDevice>,
    pool: Box<dyn MemoryResource>,
    handle: PoolHandle,
    home: Stream,
    other: Stream,
    small: Block,
}

fn play(build: Build, config: PoolConfig) -> Played {
    let device = device();
    let watched = Countdown::new(device.clone());
    let (pool, handle) =
        build(watched.clone(), config.with_ceiling(10 * MIB).with_growth(Growth::Exact));
    let [home, other] = [(); 2].map(|()| Stream::new(watched.clone()).unwrap());
    let small = alloc(&*pool, 1, &home);
    let block = alloc(&*pool, 8 * MIB, &home);
    touch(&device, &block, &home);
    let (sim, raw) = (device.clone(), home.raw());
    watched.before("Device::record_event", move || {
        // SAFETY: contract, devices: a valid stream.
        unsafe { sim.begin_capture_raw(raw) }.unwrap();
    });
    let sim = device.clone();
    watched.after("Device::record_event", move || {
        // SAFETY: contract, devices: a valid stream.
        drop(unsafe { sim.end_capture_raw(raw) }.unwrap());
    });
    free(&*pool, block, &home);
    Played { device, pool, handle, home, other, small }
}

impl Played {
    /// The driver was asked about the event, refused, and nothing else was wrong. The pool returns all.
    fn end(self) {
        let Self { device, pool, handle, home, other, small } = self;
        free(&*pool, small, &home);
        let asked = device.take_violations();
        let of_the_capture = |v: &Violation| v.to_string().contains("a capture that is over");
        assert!(!asked.is_empty() && asked.iter().all(of_the_capture), "{asked:?}");
        assert_eq!(handle.counters().unwrap().quarantined, 0);
        handle.check_invariants();
        drop((home, other, pool));
        device.assert_clean();
        assert!(device.leaks().is_empty(), "{:?}", device.leaks());
        assert_eq!(device.base().drop_failures().count(), 0);
        assert_eq!(device.calls().of(CallKind::Synchronize), 0, "nobody waited for the device");
    }
}

#[test]
fn a_capture_that_begins_and_ends_while_a_stream_is_marked_costs_no_memory() {
    for (name, build) in BUILDS {
        for placement in [Placement::ByCompletion, Placement::Reproducible] {
            // Nor does that take a wait on the host.
            let config = PoolConfig::default().with_host_wait(Duration::ZERO);
            let played = play(build, config.with_placement(placement));
            let Played { device, pool, other, .. } = &played;
            for _ in 0..3 {
                let block = pool.allocate_on(layout(8 * MIB), other);
                let block = block.unwrap_or_else(|e| panic!("{name}, {placement:?}: {e:?}"));
                touch(device, &block, other);
                free(&**pool, block, other);
            }
            played.end();
        }
    }
}

#[test]
fn a_trim_marks_again_what_a_capture_took_the_marker_of() {
    for (name, build) in BUILDS {
        let played = play(build, PoolConfig::default());
        // It marks the stream, then finds the marker lost and marks it once more.
        let at_once = played.handle.try_trim(0).unwrap();
        played.home.synchronize().unwrap();
        assert_eq!(at_once + played.handle.try_trim(0).unwrap(), 8 * MIB, "{name}");
        played.end();
        let played = play(build, PoolConfig::default());
        assert_eq!(played.handle.trim_to(0).unwrap(), 8 * MIB, "{name}");
        played.end();
    }
}

#[test]
fn memory_goes_back_unasked_although_a_capture_took_a_marker() {
    for (name, build) in BUILDS {
        let config = PoolConfig::default().with_auto_trim(AutoTrim::new(0, Duration::ZERO));
        let mut played = play(build, config);
        for _ in 0..3 {
            free(&*played.pool, played.small, &played.home);
            played.home.synchronize().unwrap();
            played.small = alloc(&*played.pool, 1, &played.home);
        }
        let used = played.device.used();
        assert!(used <= 2 * MIB, "{name}: {used} B are kept");
        played.end();
    }
}

#[test]
fn a_pool_that_ends_marks_again_what_a_capture_took_the_marker_of() {
    for (name, build) in BUILDS {
        let Played { device, pool, home, other, small, .. } = play(build, PoolConfig::default());
        // Its batch is not full: nothing is marked before the end.
        free(&*pool, small, &home);
        drop(pool);
        assert_eq!(device.used(), 0, "{name}");
        assert_eq!(device.base().drop_failures().count(), 0, "{name}");
        assert!(!device.take_violations().is_empty(), "{name}: the marker was a good one");
        drop((home, other));
        device.assert_clean();
        assert!(device.leaks().is_empty(), "{name}: {:?}", device.leaks());
    }
}
