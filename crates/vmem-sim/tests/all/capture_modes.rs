//! Which calls a capture forbids in which mode, to which threads.

use vmem_core::{Device, DriverCode, DriverError};
use vmem_sim::{Callers, CaptureMode, CaptureStatus, SimConfig};

use crate::common::Driver;

const MODES: [CaptureMode; 3] =
    [CaptureMode::Global, CaptureMode::ThreadLocal, CaptureMode::Relaxed];
const UNSUPPORTED: DriverCode = DriverCode::STREAM_CAPTURE_UNSUPPORTED;

/// A device whose calls are made in the calling thread's mode.
fn driver() -> Driver {
    Driver::new(SimConfig { callers: Callers::TheirOwn, ..SimConfig::default() })
}

fn code<T>(result: Result<T, DriverError>) -> u32 {
    result.map_or_else(|error| error.code().0, |_| 0)
}

/// The codes that unsafe calls answer while a stream captures in `capture` mode, made in `thread` mode
/// by the thread that began it, or by another.
fn unsafe_calls(capture: CaptureMode, thread: CaptureMode, elsewhere: bool) -> Vec<u32> {
    let calls: [fn(&Driver) -> u32; 11] = [
        |d| code(d.0.allocate(1)),
        |d| code(d.free(d.alloc_relaxed(1))),
        |d| code(d.pinned().allocate(1)),
        |d| code(d.managed().allocate(1)),
        |d| code(d.query(d.event())),
        |d| code(d.sync_event(d.event())),
        |d| code(d.query_stream(d.stream())),
        |d| code(d.sync_stream(d.stream())),
        |d| code(d.pool_allocate(1, d.stream())),
        |d| code(d.pool().trim_to(0)),
        |d| code(d.pool().reserved()),
    ];
    let answers = calls.map(|call| {
        let driver = driver();
        let stream = driver.owned_stream();
        driver.begin_capture_as(&stream, capture).unwrap();
        let make = || {
            driver.exchange_capture_mode(thread);
            let answer = call(&driver);
            driver.exchange_capture_mode(CaptureMode::Global);
            answer
        };
        let answer = match elsewhere {
            true => std::thread::scope(|scope| scope.spawn(make).join().unwrap()),
            false => make(),
        };
        let ended = code(driver.end_capture(&stream));
        assert_eq!(ended, if answer == 0 { 0 } else { 901 }, "what is refused breaks the capture");
        answer
    });
    answers.to_vec()
}

impl Driver {
    /// Memory, whatever captures.
    fn alloc_relaxed(&self, bytes: u64) -> vmem_core::DevicePtr {
        let was = self.exchange_capture_mode(CaptureMode::Relaxed);
        let ptr = self.alloc(bytes);
        self.exchange_capture_mode(was);
        ptr
    }
}

#[test]
fn unsafe_calls_are_forbidden_by_the_modes_of_the_capture_and_of_the_thread() {
    use CaptureMode::{Global, Relaxed, ThreadLocal};
    for capture in MODES {
        for thread in MODES {
            for elsewhere in [false, true] {
                let forbidden = match (capture, thread, elsewhere) {
                    (Relaxed, _, _) | (_, Relaxed, _) | (ThreadLocal, _, true) => false,
                    (Global, ThreadLocal, true) => false,
                    (Global | ThreadLocal, Global | ThreadLocal, _) => true,
                };
                let expected = if forbidden { 900 } else { 0 };
                let answers = unsafe_calls(capture, thread, elsewhere);
                let case = (capture, thread, elsewhere);
                assert!(answers.iter().all(|&answer| answer == expected), "{case:?}: {answers:?}");
            }
        }
    }
}

#[test]
fn an_unsafe_call_breaks_the_captures_that_forbid_it_and_no_other() {
    for (elsewhere, expected) in [(false, [901, 901, 0]), (true, [901, 0, 0])] {
        let driver = driver();
        let streams = MODES.map(|mode| {
            let stream = driver.owned_stream();
            driver.begin_capture_as(&stream, mode).unwrap();
            stream
        });
        let refused = match elsewhere {
            true => std::thread::scope(|scope| {
                scope.spawn(|| driver.0.allocate(1).is_err()).join().unwrap()
            }),
            false => driver.0.allocate(1).is_err(),
        };
        assert!(refused);
        assert_eq!(streams.each_ref().map(|stream| code(driver.end_capture(stream))), expected);
    }
}

#[test]
fn what_conflicts_with_a_capture_by_its_nature_breaks_it_in_every_mode() {
    type Call = fn(&Driver, vmem_core::RawStream, vmem_core::RawEvent) -> u32;
    let calls: [(Call, u32); 5] = [
        (|d, _, _| code(d.sync()), 900),
        (|d, stream, _| code(d.sync_stream(stream)), 900),
        (|d, stream, _| code(d.query_stream(stream)), 900),
        (|d, _, event| code(d.query(event)), 907),
        (|d, _, event| code(d.sync_event(event)), 907),
    ];
    for mode in MODES {
        for (call, expected) in calls {
            let driver = driver();
            driver.exchange_capture_mode(CaptureMode::Relaxed);
            let (stream, event) = (driver.owned_stream(), driver.event());
            driver.begin_capture_as(&stream, mode).unwrap();
            driver.record(event, stream.raw()).unwrap();
            assert_eq!(call(&driver, stream.raw(), event), expected, "{mode:?}");
            // SAFETY: the stream is live.
            let status = unsafe { driver.capture_status(stream.raw()) };
            assert_eq!(status.unwrap(), CaptureStatus::Invalidated);
            assert_eq!(code(driver.end_capture(&stream)), 901);
            driver.exchange_capture_mode(CaptureMode::Global);
        }
    }
}

#[test]
fn virtual_memory_events_and_work_elsewhere_are_free_in_every_mode() {
    for mode in MODES {
        let driver = driver();
        let (stream, other, ptr) = (driver.owned_stream(), driver.stream(), driver.alloc(1));
        driver.begin_capture_as(&stream, mode).unwrap();
        let (base, handle) = driver.mapped(1);
        driver.unmap(base, crate::common::GRANULE).unwrap();
        driver.release(handle).unwrap();
        let event = driver.event();
        driver.record(event, other).unwrap();
        driver.wait(other, event).unwrap();
        driver.fill(ptr, 1, 1, other).unwrap();
        driver.destroy_event(event).unwrap();
        driver.0.memory_info().unwrap();
        driver.end_capture(&stream).unwrap();
        driver.assert_clean();
    }
}

#[test]
fn a_thread_exchanges_its_own_mode() {
    let driver = driver();
    assert_eq!(driver.exchange_capture_mode(CaptureMode::ThreadLocal), CaptureMode::Global);
    assert_eq!(driver.exchange_capture_mode(CaptureMode::Relaxed), CaptureMode::ThreadLocal);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| driver.exchange_capture_mode(CaptureMode::Global));
        assert_eq!(other.join().unwrap(), CaptureMode::Global);
    });
    assert_eq!(driver.exchange_capture_mode(CaptureMode::Global), CaptureMode::Relaxed);
}

/// As vmem's CUDA device makes its calls, whatever the threads' modes are.
#[test]
fn relaxed_callers_are_forbidden_allocations_alone_and_those_only_if_the_device_is_so_strict() {
    use vmem_sim::Strictness;
    for strictness in [Strictness::all(), Strictness::all() - Strictness::ALLOCATION_IN_CAPTURE] {
        let driver = Driver::new(SimConfig { strictness, ..SimConfig::default() });
        let (stream, other, event) = (driver.owned_stream(), driver.stream(), driver.event());
        driver.begin_capture(&stream).unwrap();
        driver.query(event).unwrap();
        driver.sync_stream(other).unwrap();
        driver.pool_allocate(1, other).unwrap();
        let strict = strictness.contains(Strictness::ALLOCATION_IN_CAPTURE);
        assert_eq!(code(driver.0.allocate(1)), if strict { UNSUPPORTED.0 } else { 0 });
        assert_eq!(driver.end_capture(&stream).is_err(), strict);
    }
}
