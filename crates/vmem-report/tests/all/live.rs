//! A program that is looked at while it runs.

use std::fs;

use vmem_core::{Contents, ResourceExt, label};
use vmem_pool::Pending;
use vmem_report::Live;
use vmem_trace::{Record, read_path};

use crate::{MIB, folder, pool};

#[test]
fn a_recording_that_begins_late_has_what_was_live_and_ends_when_it_is_told_to() {
    let (pool, stream) = pool(64 * MIB);
    let live = Live::new(folder("late"));
    live.add_pool("pool", pool.handle());
    let memory = Record::new(pool, live.observer());
    let _label = label("early");
    let early = memory.buffer(3 * MIB, &stream).unwrap();
    assert!(live.stop_recording().unwrap().is_none());
    live.start_recording().unwrap();
    assert!(live.is_recording());
    drop(memory.buffer(2 * MIB, &stream).unwrap());
    drop(early);
    let path = live.stop_recording().unwrap().unwrap();
    assert!(!live.is_recording());
    drop(memory.buffer(MIB, &stream).unwrap());

    let reading = read_path(path).unwrap();
    assert!(reading.notes.is_empty(), "{:?}", reading.notes);
    assert_eq!((reading.trace.allocations(), reading.trace.peak_live()), (2, 5 * MIB));
    assert_eq!(reading.trace.events().len(), 4, "both were freed while it was recorded");
}

#[test]
fn a_snapshot_is_a_page_for_each_pool_that_exists() {
    let (first, stream) = pool(64 * MIB);
    let (second, _) = pool(64 * MIB);
    let live = Live::new(folder("snapshot"));
    live.add_pool("first", first.handle());
    live.add_pool("second", second.handle());
    drop(second);
    let held = first.buffer(MIB, &stream).unwrap();
    let pages = live.snapshot().unwrap();
    assert_eq!(pages.len(), 1);
    let page = fs::read_to_string(&pages[0]).unwrap();
    assert!(page.contains("At this moment <data value=\"1048576\""));
    drop(held);
}

#[test]
#[expect(unsafe_code, reason = "memory of live blocks moves")]
fn a_snapshot_tells_what_sleeps_and_what_the_host_has_of_it() {
    let (pool, stream) = pool(64 * MIB);
    let handle = pool.handle();
    let live = Live::new(folder("asleep"));
    live.add_pool("pool", handle.clone());
    let held = pool.buffer(4 * MIB, &stream).unwrap();
    let page = || fs::read_to_string(&live.snapshot().unwrap()[0]).unwrap();
    assert!(!page().contains("class=\"resting\""), "nothing ever slept");
    handle.fill_host_reserve(6 * MIB).unwrap();
    // SAFETY: contract, moving/nothing-pending: what is pending is waited for, and nothing else uses it.
    unsafe { handle.sleep(None, Contents::Kept, Pending::Wait) }.unwrap();
    let figures = |page: &str| -> Vec<u64> {
        let text = page.split_once("class=\"resting\"").unwrap().1.split_once("</p>").unwrap().0;
        let values = text.split("value=\"").skip(1);
        values.map(|text| text.split_once('"').unwrap().0.parse().unwrap()).collect()
    };
    assert_eq!(figures(&page()), [4, 4, 2, 4, 0].map(|mib| mib * MIB));
    // SAFETY: as above.
    unsafe { handle.wake(None, Pending::Wait) }.unwrap();
    assert_eq!(figures(&page()), [0, 0, 6, 4, 4].map(|mib| mib * MIB));
    #[cfg(feature = "openmetrics")]
    for line in [
        "vmem_pool_away_bytes{pool=\"pool\"} 0",
        "vmem_pool_host_reserve_bytes{pool=\"pool\"} 6291456",
        "vmem_pool_demoted_bytes_total{pool=\"pool\"} 4194304",
        "vmem_pool_promoted_bytes_total{pool=\"pool\"} 4194304",
    ] {
        assert!(live.openmetrics().lines().any(|found| found == line), "{line}");
    }
    drop(held);
}

#[cfg(feature = "openmetrics")]
#[test]
fn counters_are_told_as_openmetrics_asks() {
    let (pool, stream) = pool(64 * MIB);
    let live = Live::new(".");
    live.add_pool("a \"quoted\" pool", pool.handle());
    let held = pool.buffer(1500, &stream).unwrap();
    let text = live.openmetrics();
    for line in [
        "# TYPE vmem_pool_live_bytes gauge",
        "# UNIT vmem_pool_live_bytes bytes",
        "vmem_pool_live_bytes{pool=\"a \\\"quoted\\\" pool\"} 1500",
        "# TYPE vmem_pool_allocations counter",
        "vmem_pool_allocations_total{pool=\"a \\\"quoted\\\" pool\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    drop(held);
}

#[cfg(all(unix, feature = "signals"))]
#[test]
fn signals_begin_and_end_a_recording_and_ask_for_snapshots() {
    use std::thread;

    use signal_hook::low_level::raise;
    use vmem_report::Signals;

    let (pool, stream) = pool(64 * MIB);
    let folder = folder("signals");
    let live = Live::new(&folder);
    live.add_pool("pool", pool.handle());
    let memory = Record::new(pool, live.observer());
    let signals = Signals::default();
    let listener = live.listen(signals).unwrap();
    let until = |met: &dyn Fn() -> bool| {
        while !met() {
            thread::yield_now();
        }
    };
    raise(signals.recording).unwrap();
    until(&|| live.is_recording());
    drop(memory.buffer(MIB, &stream).unwrap());
    raise(signals.recording).unwrap();
    until(&|| !live.is_recording());
    raise(signals.snapshot).unwrap();
    let written = |extension: &str| {
        let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|own| own == extension))
            .collect::<Vec<_>>()
    };
    until(&|| !written("html").is_empty());
    drop(listener);
    let trace = read_path(&written("trace")[0]).unwrap().trace;
    assert_eq!((trace.allocations(), trace.peak_live()), (1, MIB));
}
