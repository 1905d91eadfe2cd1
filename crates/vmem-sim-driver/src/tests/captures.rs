//! What calls answer while a stream captures, and what they do to the capture: as NVIDIA's driver
//! answered (an H200, version 580), for every mode of capture and thread.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;

use super::{control, driver, enter};

unsafe extern "C" {
    fn cuCtxSetCurrent(context: u64) -> c_uint;
    fn cuCtxSynchronize() -> c_uint;
    fn cuEventCreate(event: *mut u64, flags: c_uint) -> c_uint;
    fn cuEventDestroy_v2(event: u64) -> c_uint;
    fn cuEventQuery(event: u64) -> c_uint;
    fn cuEventRecord(event: u64, stream: u64) -> c_uint;
    fn cuEventSynchronize(event: u64) -> c_uint;
    fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: u64) -> c_uint;
    fn cuMemAllocManaged(address: *mut u64, bytes: usize, flags: c_uint) -> c_uint;
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_uint;
    fn cuMemFreeAsync(address: u64, stream: u64) -> c_uint;
    fn cuMemFree_v2(address: u64) -> c_uint;
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_uint;
    fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, flags: c_uint) -> c_uint;
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) -> c_uint;
    fn cuStreamBeginCapture_v2(stream: u64, mode: c_int) -> c_uint;
    fn cuStreamCreate(stream: *mut u64, flags: c_uint) -> c_uint;
    fn cuStreamDestroy_v2(stream: u64) -> c_uint;
    fn cuStreamEndCapture(stream: u64, graph: *mut u64) -> c_uint;
    fn cuStreamGetCtx(stream: u64, context: *mut u64) -> c_uint;
    fn cuStreamGetId(stream: u64, id: *mut u64) -> c_uint;
    fn cuStreamIsCapturing(stream: u64, status: *mut c_int) -> c_uint;
    fn cuStreamQuery(stream: u64) -> c_uint;
    fn cuStreamSynchronize(stream: u64) -> c_uint;
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: c_uint) -> c_uint;
    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_int) -> c_uint;
}

const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;
const MODES: [c_int; 3] = [GLOBAL, THREAD_LOCAL, RELAXED];
const GLOBAL: c_int = 0;
const THREAD_LOCAL: c_int = 1;
const RELAXED: c_int = 2;

/// A value that a call puts in a place of its own.
fn put<T: Default>(call: impl FnOnce(*mut T) -> c_uint) -> T {
    let mut value = T::default();
    assert_eq!(call(&raw mut value), 0);
    value
}

fn stream(flags: c_uint) -> u64 {
    put(|stream| c!(cuStreamCreate(stream, flags)))
}

fn event() -> u64 {
    put(|event| c!(cuEventCreate(event, 2)))
}

fn memory() -> u64 {
    put(|address| c!(cuMemAlloc_v2(address, 4096)))
}

fn status(stream: u64) -> c_int {
    put(|status| c!(cuStreamIsCapturing(stream, status)))
}

fn end(stream: u64) -> c_uint {
    let mut graph = 0;
    c!(cuStreamEndCapture(stream, &raw mut graph))
}

/// Sets the thread's mode and returns what it was.
fn exchange(mut mode: c_int) -> c_int {
    assert_eq!(c!(cuThreadExchangeStreamCaptureMode(&raw mut mode)), 0);
    mode
}

/// What a call needs, made before the capture begins.
struct Scene {
    /// It captures.
    itself: u64,
    other: u64,
    /// Recorded on the other stream, never recorded, recorded in the capture.
    outside: u64,
    fresh: u64,
    captured: u64,
    memory: u64,
    doomed: u64,
    ordered: u64,
}

impl Scene {
    fn new(mode: c_int, blocking: bool) -> Self {
        let (itself, other) = (stream(c_uint::from(!blocking)), stream(1));
        let ordered = put(|address| c!(cuMemAllocAsync(address, 64, other)));
        let [outside, fresh, captured] = [(); 3].map(|()| event());
        assert_eq!(c!(cuEventRecord(outside, other)), 0);
        assert_eq!(c!(cuCtxSynchronize()), 0);
        let (memory, doomed) = (memory(), memory());
        assert_eq!(c!(cuStreamBeginCapture_v2(itself, mode)), 0);
        assert_eq!(c!(cuEventRecord(captured, itself)), 0);
        Self { itself, other, outside, fresh, captured, memory, doomed, ordered }
    }
}

/// When a call is refused, and with what. What is refused breaks the capture, unless it is said.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Never,
    Always(c_uint),
    /// Refused, and the capture goes on.
    Harmless(c_uint),
    /// 900 if the modes of capture and thread forbid unsafe calls.
    Unsafe,
    /// It names the legacy default stream: 906 if the capturing stream is a blocking one, else never,
    /// or as an unsafe call.
    Legacy,
    LegacyUnsafe,
    /// The same, and the capture goes on.
    LegacyHarmless,
}
use Answer::{Always, Harmless, Legacy, LegacyHarmless, LegacyUnsafe, Never, Unsafe};

type Call = (&'static str, Answer, fn(&Scene) -> c_uint);

const CALLS: &[Call] = &[
    ("nothing", Never, |_| 0),
    ("cuCtxSynchronize", Always(900), |_| c!(cuCtxSynchronize())),
    ("cuStreamSynchronize(itself)", Always(900), |x| c!(cuStreamSynchronize(x.itself))),
    ("cuStreamSynchronize(other)", Unsafe, |x| c!(cuStreamSynchronize(x.other))),
    ("cuStreamSynchronize(legacy)", LegacyUnsafe, |_| c!(cuStreamSynchronize(LEGACY))),
    ("cuStreamSynchronize(per-thread)", Unsafe, |_| c!(cuStreamSynchronize(PER_THREAD))),
    ("cuStreamQuery(itself)", Always(900), |x| c!(cuStreamQuery(x.itself))),
    ("cuStreamQuery(other)", Unsafe, |x| c!(cuStreamQuery(x.other))),
    ("cuStreamQuery(legacy)", LegacyUnsafe, |_| c!(cuStreamQuery(LEGACY))),
    ("cuStreamIsCapturing(other)", Never, |x| is_capturing(x.other)),
    ("cuStreamIsCapturing(legacy)", LegacyHarmless, |_| is_capturing(LEGACY)),
    ("cuStreamIsCapturing(per-thread)", Never, |_| is_capturing(PER_THREAD)),
    ("cuStreamGetCtx(itself)", Never, |x| out(|place| c!(cuStreamGetCtx(x.itself, place)))),
    ("cuStreamGetCtx(legacy)", Legacy, |_| out(|place| c!(cuStreamGetCtx(LEGACY, place)))),
    ("cuStreamGetId(itself)", Always(900), |x| out(|place| c!(cuStreamGetId(x.itself, place)))),
    ("cuStreamGetId(legacy)", Legacy, |_| out(|place| c!(cuStreamGetId(LEGACY, place)))),
    ("cuStreamCreate", Never, |_| out(|place| c!(cuStreamCreate(place, 1)))),
    ("cuStreamDestroy(other)", Never, |x| c!(cuStreamDestroy_v2(x.other))),
    ("cuEventCreate", Never, |_| out(|place| c!(cuEventCreate(place, 2)))),
    ("cuEventDestroy(captured)", Never, |x| c!(cuEventDestroy_v2(x.captured))),
    ("cuEventDestroy(outside)", Never, |x| c!(cuEventDestroy_v2(x.outside))),
    ("cuEventQuery(captured)", Always(907), |x| c!(cuEventQuery(x.captured))),
    ("cuEventQuery(outside)", Unsafe, |x| c!(cuEventQuery(x.outside))),
    ("cuEventQuery(never recorded)", Unsafe, |x| c!(cuEventQuery(x.fresh))),
    ("cuEventSynchronize(captured)", Always(907), |x| c!(cuEventSynchronize(x.captured))),
    ("cuEventSynchronize(outside)", Unsafe, |x| c!(cuEventSynchronize(x.outside))),
    ("cuEventRecord(itself)", Never, |x| c!(cuEventRecord(x.fresh, x.itself))),
    ("cuEventRecord(other)", Never, |x| c!(cuEventRecord(x.fresh, x.other))),
    ("cuEventRecord(captured, other)", Never, |x| c!(cuEventRecord(x.captured, x.other))),
    ("cuEventRecord(legacy)", Legacy, |x| c!(cuEventRecord(x.fresh, LEGACY))),
    ("cuEventRecord(per-thread)", Never, |x| c!(cuEventRecord(x.fresh, PER_THREAD))),
    ("cuStreamWaitEvent(itself, outside)", Always(905), |x| wait(x.itself, x.outside)),
    ("cuStreamWaitEvent(itself, never recorded)", Never, |x| wait(x.itself, x.fresh)),
    ("cuStreamWaitEvent(legacy, outside)", Legacy, |x| wait(LEGACY, x.outside)),
    ("cuStreamWaitEvent(other, captured)", Never, |x| wait(x.other, x.captured)),
    ("cuMemAlloc", Unsafe, |_| out(|place| c!(cuMemAlloc_v2(place, 4096)))),
    ("cuMemFree", Unsafe, |x| c!(cuMemFree_v2(x.doomed))),
    ("cuMemAllocAsync(itself)", Never, |x| out(|place| c!(cuMemAllocAsync(place, 64, x.itself)))),
    ("cuMemAllocAsync(other)", Unsafe, |x| out(|place| c!(cuMemAllocAsync(place, 64, x.other)))),
    ("cuMemFreeAsync(itself)", Harmless(1), |x| c!(cuMemFreeAsync(x.ordered, x.itself))),
    ("cuMemFreeAsync(other)", Unsafe, |x| c!(cuMemFreeAsync(x.ordered, x.other))),
    ("cuMemFreeAsync(legacy)", LegacyUnsafe, |x| c!(cuMemFreeAsync(x.ordered, LEGACY))),
    ("cuMemAllocManaged", Unsafe, |_| out(|place| c!(cuMemAllocManaged(place, 4096, 1)))),
    ("cuMemHostAlloc", Unsafe, |_| {
        let mut place = null_mut();
        c!(cuMemHostAlloc(&raw mut place, 4096, 0))
    }),
    ("cuMemGetInfo", Never, |_| {
        let (mut free, mut total) = (0, 0);
        c!(cuMemGetInfo_v2(&raw mut free, &raw mut total))
    }),
    ("cuMemsetD8Async(itself)", Never, |x| c!(cuMemsetD8Async(x.memory, 2, 64, x.itself))),
    ("cuMemsetD8Async(other)", Never, |x| c!(cuMemsetD8Async(x.memory, 2, 64, x.other))),
    ("cuMemsetD8Async(legacy)", Legacy, |x| c!(cuMemsetD8Async(x.memory, 2, 64, LEGACY))),
    ("cuStreamEndCapture(other)", Harmless(401), |x| end(x.other)),
];

fn out(call: impl FnOnce(*mut u64) -> c_uint) -> c_uint {
    let mut place = 0;
    call(&raw mut place)
}

fn is_capturing(stream: u64) -> c_uint {
    let mut place = 0;
    c!(cuStreamIsCapturing(stream, &raw mut place))
}

fn wait(stream: u64, event: u64) -> c_uint {
    c!(cuStreamWaitEvent(stream, event, 0))
}

impl Answer {
    /// The code, and whether the call breaks the capture.
    fn of(self, forbidden: bool, blocking: bool) -> (c_uint, bool) {
        match self {
            Always(code) => (code, true),
            Harmless(code) => (code, false),
            LegacyHarmless if blocking => (906, false),
            Legacy | LegacyUnsafe if blocking => (906, true),
            Unsafe | LegacyUnsafe if forbidden => (900, true),
            _ => (0, false),
        }
    }
}

#[test]
fn every_call_answers_as_nvidias_driver_does_while_a_stream_captures() {
    let _turn = driver("STRICTNESS=none");
    let context = enter(0);
    for capture in MODES {
        for blocking in [false, true] {
            for elsewhere in [false, true] {
                for mode in [GLOBAL, THREAD_LOCAL, RELAXED] {
                    let forbidden = mode != RELAXED
                        && match capture {
                            GLOBAL => !elsewhere || mode == GLOBAL,
                            THREAD_LOCAL => !elsewhere,
                            _ => false,
                        };
                    for &(name, answer, call) in CALLS {
                        let scene = Scene::new(capture, blocking);
                        let make = || {
                            let was = exchange(mode);
                            let code = call(&scene);
                            exchange(was);
                            code
                        };
                        let code = match elsewhere {
                            true => std::thread::scope(|scope| {
                                let there = || {
                                    assert_eq!(c!(cuCtxSetCurrent(context)), 0);
                                    make()
                                };
                                scope.spawn(there).join().unwrap()
                            }),
                            false => make(),
                        };
                        let case = (name, capture, blocking, elsewhere, mode);
                        let (expected, breaks) = answer.of(forbidden, blocking);
                        assert_eq!(code, expected, "{case:?}");
                        assert_eq!(status(scene.itself), if breaks { 2 } else { 1 }, "{case:?}");
                        assert_eq!(end(scene.itself), if breaks { 901 } else { 0 }, "{case:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn only_the_thread_that_began_a_capture_ends_it_unless_it_is_relaxed() {
    let _turn = driver("");
    let context = enter(0);
    for mode in MODES {
        let scene = Scene::new(mode, false);
        let ended = std::thread::scope(|scope| {
            let there = || {
                assert_eq!(c!(cuCtxSetCurrent(context)), 0);
                end(scene.itself)
            };
            scope.spawn(there).join().unwrap()
        });
        assert_eq!(ended, if mode == RELAXED { 0 } else { 908 });
        assert_eq!((status(scene.itself), end(scene.itself)), (0, 401));
    }
    assert_eq!(c!(cuStreamBeginCapture_v2(stream(1), 3)), 1);
}

/// Captures are the process's: an unsafe call on one device breaks those on another.
#[test]
fn an_unsafe_call_on_another_device_breaks_a_capture_but_waiting_for_that_device_does_not() {
    let _turn = driver("DEVICES=2");
    enter(0);
    let stream = stream(1);
    for mode in [GLOBAL, RELAXED] {
        assert_eq!(c!(cuStreamBeginCapture_v2(stream, mode)), 0);
        enter(1);
        let mut address = 0;
        let refused = c!(cuMemAlloc_v2(&raw mut address, 1));
        assert_eq!(refused, if mode == GLOBAL { 900 } else { 0 });
        assert_eq!(c!(cuCtxSynchronize()), 0);
        enter(0);
        assert_eq!(end(stream), if mode == GLOBAL { 901 } else { 0 });
    }
}

#[test]
fn what_is_no_capture_mode_is_refused() {
    let _turn = driver("");
    enter(0);
    let mut mode = 7;
    assert_eq!(c!(cuThreadExchangeStreamCaptureMode(&raw mut mode)), 1);
    assert_eq!(exchange(THREAD_LOCAL), GLOBAL);
    assert_eq!(exchange(GLOBAL), THREAD_LOCAL);
    assert_eq!(control("violations").unwrap(), "");
}
