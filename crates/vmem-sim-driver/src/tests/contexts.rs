//! Which context must be current, dead handles, and forked processes.

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;

use super::{control, driver, enter};

unsafe extern "C" {
    fn cuCtxPopCurrent_v2(context: *mut u64) -> c_uint;
    fn cuCtxGetCurrent(context: *mut u64) -> c_uint;
    fn cuCtxSynchronize() -> c_uint;
    fn cuEventCreate(event: *mut u64, flags: c_uint) -> c_uint;
    fn cuEventDestroy_v2(event: u64) -> c_uint;
    fn cuEventQuery(event: u64) -> c_uint;
    fn cuEventRecord(event: u64, stream: u64) -> c_uint;
    fn cuEventSynchronize(event: u64) -> c_uint;
    fn cuInit(flags: c_uint) -> c_uint;
    fn cuMemAddressReserve(
        address: *mut u64,
        bytes: usize,
        alignment: usize,
        hint: u64,
        flags: u64,
    ) -> c_uint;
    fn cuMemAddressFree(address: u64, bytes: usize) -> c_uint;
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_uint;
    fn cuMemFree_v2(address: u64) -> c_uint;
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) -> c_uint;
    fn cuStreamCreate(stream: *mut u64, flags: c_uint) -> c_uint;
    fn cuStreamDestroy_v2(stream: u64) -> c_uint;
    fn cuStreamGetId(stream: u64, id: *mut u64) -> c_uint;
    fn cuStreamQuery(stream: u64) -> c_uint;
    fn cuStreamSynchronize(stream: u64) -> c_uint;
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: c_uint) -> c_uint;
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn alarm(seconds: c_uint) -> c_uint;
    fn _exit(status: c_int) -> !;
}

/// What there is on the device whose context is current.
struct Things {
    stream: u64,
    event: u64,
    memory: u64,
    space: u64,
}

const MIB: usize = 1 << 20;

fn things() -> Things {
    let (mut stream, mut event, mut memory, mut space) = (0, 0, 0, 0);
    assert_eq!(c!(cuStreamCreate(&raw mut stream, 1)), 0);
    assert_eq!(c!(cuEventCreate(&raw mut event, 2)), 0);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut memory, 256)), 0);
    assert_eq!(c!(cuMemAddressReserve(&raw mut space, 2 * MIB, 0, 0, 0)), 0);
    Things { stream, event, memory, space }
}

/// What names things that have a device of their own, from the first use to the end.
fn use_and_destroy(things: &Things) -> [c_uint; 10] {
    let &Things { stream, event, memory, space } = things;
    [
        c!(cuMemsetD8Async(memory, 1, 256, stream)),
        c!(cuEventRecord(event, stream)),
        c!(cuStreamWaitEvent(stream, event, 0)),
        c!(cuEventSynchronize(event)),
        c!(cuEventQuery(event)),
        c!(cuStreamSynchronize(stream)),
        c!(cuMemFree_v2(memory)),
        c!(cuMemAddressFree(space, 2 * MIB)),
        c!(cuEventDestroy_v2(event)),
        c!(cuStreamDestroy_v2(stream)),
    ]
}

#[test]
fn things_have_a_context_of_their_own_unless_the_driver_is_strict() {
    for (settings, expected) in [("", 201), ("STRICTNESS=-CONTEXTS", 0)] {
        let _turn = driver(&format!("DEVICES=2 {settings}"));
        enter(0);
        let first = things();
        assert_eq!(c!(cuCtxPopCurrent_v2(null_mut())), 0);
        let answers = use_and_destroy(&first);
        assert!(answers.iter().all(|&answer| answer == expected), "{settings}: {answers:?}");
        // What makes something needs a context however lax the driver.
        let mut made = 0;
        assert_eq!(c!(cuMemAlloc_v2(&raw mut made, 1)), 201);
        assert_eq!(c!(cuStreamCreate(&raw mut made, 1)), 201);
        assert_eq!(c!(cuCtxSynchronize()), 201);
    }
}

#[test]
fn streams_wait_for_events_of_another_device_and_record_none() {
    let _turn = driver("DEVICES=2 STRICTNESS=-CONTEXTS");
    enter(0);
    let first = things();
    enter(1);
    let second = things();
    assert_eq!(c!(cuMemsetD8Async(first.memory, 1, 256, first.stream)), 0);
    assert_eq!(c!(cuEventRecord(first.event, first.stream)), 0);
    assert_eq!(c!(cuStreamWaitEvent(second.stream, first.event, 0)), 0);
    assert_eq!(c!(cuEventRecord(second.event, first.stream)), 400);
    assert_eq!(c!(cuEventRecord(first.event, second.stream)), 400);
    assert_eq!(c!(cuMemsetD8Async(first.memory, 1, 256, second.stream)), 1);
    assert_eq!(use_and_destroy(&first), [0; 10]);
    assert_eq!(use_and_destroy(&second), [0; 10]);
    assert!(control("violations").unwrap().contains("BadAddress"));
}

#[test]
fn a_streams_handle_comes_again_at_once_and_its_number_never() {
    let _turn = driver("STRICTNESS=-DEAD_STREAMS");
    enter(0);
    let id = |stream| {
        let mut id = 0;
        assert_eq!(c!(cuStreamGetId(stream, &raw mut id)), 0);
        id
    };
    let (mut first, mut second) = (0, 0);
    assert_eq!(c!(cuStreamCreate(&raw mut first, 1)), 0);
    let number = id(first);
    assert_eq!(number, id(first));
    assert_eq!(c!(cuStreamDestroy_v2(first)), 0);
    assert_eq!(c!(cuStreamQuery(first)), 400);
    assert!(control("violations").unwrap().contains("BadHandle in cuStreamQuery"));
    assert_eq!(c!(cuStreamCreate(&raw mut second, 1)), 0);
    assert_eq!(second, first);
    assert_ne!(id(second), number);
    // The legacy default stream has two handles, and every thread a stream of its own.
    assert_eq!(id(0), id(1));
    assert_ne!(id(1), id(2));
    let context = {
        let mut context = 0;
        assert_eq!(c!(cuCtxGetCurrent(&raw mut context)), 0);
        context
    };
    let elsewhere = std::thread::scope(|scope| {
        let there = || {
            assert_eq!(c!(super::cuCtxPushCurrent_v2(context)), 0);
            id(2)
        };
        scope.spawn(there).join().unwrap()
    });
    assert_ne!(elsewhere, id(2));
}

/// In a child of its own, which the driver ends.
#[test]
fn a_call_that_names_a_destroyed_stream_ends_the_process_as_the_real_driver_crashes() {
    const NAMED: &str = "NAME_A_DESTROYED_STREAM_IN";
    type Call = fn(u64, u64) -> c_uint;
    let calls: [(&str, Call); 6] = [
        ("cuStreamGetId", |stream, _| c!(cuStreamGetId(stream, &mut 0))),
        ("cuStreamQuery", |stream, _| c!(cuStreamQuery(stream))),
        ("cuStreamSynchronize", |stream, _| c!(cuStreamSynchronize(stream))),
        ("cuStreamDestroy_v2", |stream, _| c!(cuStreamDestroy_v2(stream))),
        ("cuEventRecord", |stream, event| c!(cuEventRecord(event, stream))),
        ("cuStreamWaitEvent", |stream, event| c!(cuStreamWaitEvent(stream, event, 0))),
    ];
    if let Ok(named) = std::env::var(NAMED) {
        let _turn = driver("");
        enter(0);
        let things = things();
        assert_eq!(c!(cuEventRecord(things.event, things.stream)), 0);
        assert_eq!(c!(cuStreamDestroy_v2(things.stream)), 0);
        let (_, call) = calls.iter().find(|(name, _)| *name == named).unwrap();
        call(things.stream, things.event);
        return;
    }
    for (name, _) in calls {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["destroyed_stream_ends_the_process", "--nocapture"]).env(NAMED, name);
        let output = child.output().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&output.status),
            Some(6),
            "{name}"
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(&format!("{name} answered 400")) && said.contains("destroyed"),
            "{said}"
        );
    }
}

/// The lock may be held, when the process forks, by a thread that the child does not have.
#[test]
fn a_forked_child_is_refused_every_call_whatever_was_under_way() {
    let _turn = driver("");
    enter(0);
    let held = crate::driver::lock();
    // The child makes calls that take no lock, then ends without running anything else.
    let child = c!(fork());
    if child == 0 {
        // A child that hangs is ended.
        c!(alarm(10));
        let mut place = 0;
        let refused = [
            c!(cuInit(0)),
            c!(cuCtxGetCurrent(&raw mut place)),
            c!(cuMemAlloc_v2(&raw mut place, 1)),
            c!(cuStreamQuery(1)),
        ];
        c!(_exit(c_int::from(refused != [3; 4])));
    }
    drop(held);
    let mut status = -1;
    assert_eq!(c!(waitpid(child, &raw mut status, 0)), child);
    assert_eq!(status, 0, "a signal, or an answer that was not 3");
    assert_eq!(c!(cuStreamQuery(1)), 0);
}
