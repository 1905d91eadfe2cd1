//! The C functions, called as C calls them.

/// Calls a C function whose arguments are numbers, places of this test and live handles.
macro_rules! c {
    ($call:expr) => {{
        // SAFETY: every place passed is one of the test's, as large as the function is told.
        unsafe { $call }
    }};
}

mod captures;
mod contexts;
mod copies;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

unsafe extern "C" {
    fn cuInit(flags: c_uint) -> c_uint;
    fn cuDeviceGetCount(count: *mut c_int) -> c_uint;
    fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) -> c_uint;
    fn cuDevicePrimaryCtxRetain(context: *mut u64, device: c_int) -> c_uint;
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_uint;
    fn cuCtxPushCurrent_v2(context: u64) -> c_uint;
    fn cuCtxPopCurrent_v2(context: *mut u64) -> c_uint;
    fn cuCtxGetCurrent(context: *mut u64) -> c_uint;
    fn cuCtxSetCurrent(context: u64) -> c_uint;
    fn cuStreamCreate(stream: *mut u64, flags: c_uint) -> c_uint;
    fn cuStreamDestroy_v2(stream: u64) -> c_uint;
    fn cuStreamQuery(stream: u64) -> c_uint;
    fn cuStreamSynchronize(stream: u64) -> c_uint;
    fn cuStreamGetCtx(stream: u64, context: *mut u64) -> c_uint;
    fn cuEventQuery(event: u64) -> c_uint;
    fn cuEventCreate(event: *mut u64, flags: c_uint) -> c_uint;
    fn cuEventRecord(event: u64, stream: u64) -> c_uint;
    fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) -> c_uint;
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_uint;
    fn cuMemFree_v2(address: u64) -> c_uint;
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: u64) -> c_uint;
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: u64) -> c_uint;
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: u64) -> c_uint;
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: u64) -> c_uint;
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: u64) -> c_uint;
    fn cuGetErrorName(code: u32, text: *mut *const c_char) -> c_uint;
    fn cuGetProcAddress(
        symbol: *const c_char,
        function: *mut *mut c_void,
        version: c_int,
        flags: u64,
    ) -> c_uint;
    fn vmemSimDriverControl(command: *const c_char, out: *mut c_char, out_len: usize) -> c_int;
}

fn control(command: &str) -> Result<String, String> {
    let command = CString::new(command).unwrap();
    let mut out = vec![0_u8; 1 << 16];
    let done = c!(vmemSimDriverControl(command.as_ptr(), out.as_mut_ptr().cast(), out.len()));
    let text = CStr::from_bytes_until_nul(&out).unwrap().to_str().unwrap().to_owned();
    if done == 0 { Ok(text) } else { Err(text) }
}

/// The process's driver, as new.
fn driver(settings: &str) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    while c!(cuCtxPopCurrent_v2(null_mut())) == 0 {}
    control(&format!("reset {settings}")).unwrap();
    turn
}

/// The primary context of a device, current.
fn enter(device: c_int) -> u64 {
    let mut context = 0;
    assert_eq!(c!(cuInit(0)), 0);
    assert_eq!(c!(cuDevicePrimaryCtxRetain(&raw mut context, device)), 0);
    assert_eq!(c!(cuCtxPushCurrent_v2(context)), 0);
    context
}

#[test]
fn calls_before_initialisation_and_without_a_context_are_refused() {
    let _turn = driver("");
    let mut count = 0;
    assert_eq!(c!(cuDeviceGetCount(&raw mut count)), 3);
    assert_eq!(c!(cuInit(1)), 1);
    assert_eq!(c!(cuInit(0)), 0);
    assert_eq!(c!(cuInit(0)), 0);
    assert_eq!((c!(cuDeviceGetCount(&raw mut count)), count), (0, 1));
    let mut address = 0;
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 256)), 201);
    assert!(control("refused").unwrap().contains("no current context"));
}

#[test]
fn places_that_are_null_and_handles_that_name_nothing_are_refused() {
    let _turn = driver("STRICTNESS=-DEAD_STREAMS");
    enter(0);
    assert_eq!(c!(cuDeviceGetCount(null_mut())), 1);
    assert_eq!(c!(cuMemAlloc_v2(null_mut(), 256)), 1);
    assert_eq!(control("leaks").unwrap(), "");
    assert_eq!(c!(cuStreamQuery(12345)), 400);
    assert_eq!(c!(cuEventQuery(0)), 400);
    assert_eq!(c!(cuMemFree_v2(4096)), 1);
    assert!(control("violations").unwrap().contains("BadHandle in cuStreamQuery"));
}

#[test]
fn every_thread_has_its_own_stack_of_contexts() {
    let _turn = driver("DEVICES=2");
    let (first, second) = (enter(0), enter(1));
    let current = || {
        let mut context = 1;
        assert_eq!(c!(cuCtxGetCurrent(&raw mut context)), 0);
        context
    };
    assert_eq!(current(), second);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(current(), 0));
    });
    let mut popped = 0;
    assert_eq!((c!(cuCtxPopCurrent_v2(&raw mut popped)), popped), (0, second));
    assert_eq!(current(), first);
    assert_eq!(c!(cuCtxSetCurrent(second)), 0);
    assert_eq!(current(), second);
    assert_eq!(c!(cuCtxSetCurrent(0)), 0);
    assert_eq!(c!(cuCtxPopCurrent_v2(null_mut())), 201);
    assert_eq!(c!(cuCtxPushCurrent_v2(77)), 201);
}

#[test]
fn a_context_is_gone_with_its_last_reference_and_what_was_in_it_is_reported() {
    let _turn = driver("CAPACITY=1MiB");
    let context = enter(0);
    let mut again = 0;
    assert_eq!(c!(cuDevicePrimaryCtxRetain(&raw mut again, 0)), 0);
    assert_eq!(again, context);
    assert_eq!(control("contexts").unwrap(), "0 2\n");
    let mut address = 0;
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 1 << 20)), 0);
    assert_eq!(c!(cuDevicePrimaryCtxRelease_v2(0)), 0);
    assert_eq!(c!(cuDevicePrimaryCtxRelease_v2(0)), 0);
    assert_eq!(c!(cuDevicePrimaryCtxRelease_v2(0)), 201);
    assert_eq!(c!(cuMemFree_v2(address)), 201);
    let leaks = control("leaks").unwrap();
    assert_eq!(leaks, "device 0: outstanding: 1 plain allocations (1048576 B)\n");
    // The memory came back with the context.
    enter(0);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 1 << 20)), 0);
    assert_eq!(c!(cuMemFree_v2(address)), 0);
}

#[test]
fn streams_belong_to_the_context_they_were_made_in() {
    let _turn = driver("DEVICES=2 STRICTNESS=-DEAD_STREAMS");
    let (first, second) = (enter(0), enter(1));
    let (mut stream, mut context) = (0, 0);
    assert_eq!(c!(cuStreamCreate(&raw mut stream, 2)), 1);
    assert_eq!(c!(cuStreamCreate(&raw mut stream, 1)), 0);
    assert_eq!((c!(cuStreamGetCtx(stream, &raw mut context)), context), (0, second));
    assert_eq!(c!(cuCtxPopCurrent_v2(null_mut())), 0);
    assert_eq!((c!(cuStreamGetCtx(stream, &raw mut context)), context), (0, second));
    assert_eq!((c!(cuStreamGetCtx(1, &raw mut context)), context), (0, first));
    assert_eq!(c!(cuStreamSynchronize(stream)), 201);
    assert_eq!(c!(cuCtxPushCurrent_v2(second)), 0);
    assert_eq!(c!(cuStreamDestroy_v2(stream)), 0);
    assert_eq!(c!(cuStreamGetCtx(stream, &raw mut context)), 400);
}

#[test]
fn memory_is_freed_on_the_device_that_its_address_belongs_to() {
    let _turn = driver("DEVICES=2");
    enter(1);
    let mut address = 0;
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 256)), 0);
    enter(0);
    assert!(control("leaks").unwrap().starts_with("device 1"));
    assert_eq!(c!(cuMemFree_v2(address)), 0);
    assert_eq!(control("leaks").unwrap(), "");
}

#[test]
fn memory_with_pending_work_is_not_freed() {
    let _turn = driver("");
    enter(0);
    let mut address = 0;
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 256)), 0);
    assert_eq!(c!(cuMemsetD8Async(address, 1, 256, 1)), 0);
    assert_eq!(c!(cuMemFree_v2(address)), 1);
    assert_eq!(c!(cuStreamSynchronize(1)), 0);
    assert_eq!(c!(cuMemFree_v2(address)), 0);
    assert!(control("violations").unwrap().contains("PendingWork in cuMemFree"));
}

#[test]
fn events_with_timing_tell_how_long_fills_took() {
    let _turn = driver("");
    enter(0);
    let (mut address, mut elapsed) = (0, -1.0);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 1 << 20)), 0);
    let create = |flags| {
        let mut event = 0;
        assert_eq!(c!(cuEventCreate(&raw mut event, flags)), 0);
        event
    };
    let (start, end, untimed) = (create(0), create(1), create(2));
    assert_eq!(c!(cuEventRecord(start, 1)), 0);
    assert_eq!(c!(cuMemsetD16Async(address, 0x0102, 1 << 19, 1)), 0);
    assert_eq!(c!(cuMemsetD32Async(address, 0x0102_0304, 1 << 18, 1)), 0);
    assert_eq!(c!(cuEventRecord(end, 1)), 0);
    assert_eq!(c!(cuEventRecord(untimed, 1)), 0);
    assert_eq!(c!(cuStreamSynchronize(1)), 0);
    assert_eq!(c!(cuEventElapsedTime(&raw mut elapsed, start, end)), 0);
    assert!(elapsed > 0.0 && elapsed < 1.0, "{elapsed} ms");
    assert_eq!(c!(cuEventElapsedTime(&raw mut elapsed, start, untimed)), 400);
    assert_eq!(c!(cuMemsetD32Async(address + 2, 0, 1, 1)), 1);
}

#[test]
fn functions_are_found_by_name_as_old_as_the_program_and_the_driver() {
    let look_up = |name: &CStr, version| {
        let mut function = null_mut();
        let code = c!(cuGetProcAddress(name.as_ptr(), &raw mut function, version, 0));
        (code, function.addr())
    };
    let symbol = |name| (crate::api::find(name).unwrap().address)().addr();
    {
        let _turn = driver("VERSION=12.6");
        assert_eq!(look_up(c"cuStreamGetCtx", 12_050), (0, symbol("cuStreamGetCtx_v2")));
        assert_eq!(look_up(c"cuStreamGetCtx", 12_040), (0, symbol("cuStreamGetCtx")));
        assert_eq!(look_up(c"cuMemAlloc", 12_040), (0, symbol("cuMemAlloc_v2")));
        assert_eq!(look_up(c"cuNoSuch", 12_040), (500, 0));
    }
    let _turn = driver("VERSION=11.4");
    assert_eq!(look_up(c"cuStreamGetCtx", 12_050), (0, symbol("cuStreamGetCtx")));
}

#[test]
fn texts_are_cut_to_the_room_there_is() {
    let _turn = driver("");
    assert_eq!(c!(cuInit(0)), 0);
    let mut name = [b'x'; 5];
    assert_eq!(c!(cuDeviceGetName(name.as_mut_ptr().cast(), 4, 0)), 0);
    assert_eq!(name, *b"sim\0x");
    assert_eq!(c!(cuDeviceGetName(name.as_mut_ptr().cast(), 0, 0)), 1);
}

#[test]
fn unknown_codes_have_no_name() {
    let mut text = std::ptr::null();
    assert_eq!(c!(cuGetErrorName(600, &raw mut text)), 0);
    let known = c!(CStr::from_ptr(text));
    assert_eq!(known, c"CUDA_ERROR_NOT_READY");
    assert_eq!((c!(cuGetErrorName(9999, &raw mut text)), text.addr()), (1, 0));
}

#[test]
fn a_call_fails_as_ordered_and_a_lost_device_fails_for_ever() {
    let _turn = driver("FAIL=1,9999,cuInit");
    assert_eq!(c!(cuInit(0)), 9999);
    assert_eq!(control("fired").unwrap(), "cuInit");
    enter(0);
    let mut address = 0;
    assert_eq!(control("fail 2 2"), Ok(String::new()));
    assert_eq!(c!(cuStreamQuery(1)), 0);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 256)), 2);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 256)), 0);
    control("fail 1 2").unwrap();
    control("clear").unwrap();
    control("lose 0").unwrap();
    assert_eq!(c!(cuMemFree_v2(address)), 719);
    assert_eq!(c!(cuStreamQuery(1)), 719);
    let calls = control("calls").unwrap();
    assert!(calls.contains("cuMemAlloc_v2 2\n") && calls.contains("cuStreamQuery 2\n"), "{calls}");
}

#[test]
fn a_second_call_fails_after_the_first() {
    let _turn = driver("");
    enter(0);
    control("fail 1 2 cuMemAlloc_v2").unwrap();
    control("then 2 999").unwrap();
    let mut address = 0;
    assert_eq!(c!(cuStreamQuery(1)), 0);
    assert_eq!(c!(cuMemAlloc_v2(&raw mut address, 256)), 2);
    assert_eq!(c!(cuStreamQuery(1)), 0);
    assert_eq!(c!(cuStreamQuery(1)), 999);
    control("clear").unwrap();
    assert_eq!(c!(cuStreamQuery(1)), 0);
    assert_eq!(control("fired").unwrap(), "cuStreamQuery");
    assert_eq!(control("failed").unwrap(), "cuMemAlloc_v2\ncuStreamQuery");
    assert_eq!(control("since").unwrap(), "cuStreamQuery\ncuStreamQuery");
}

#[test]
fn no_device_and_bad_settings_are_said() {
    let _turn = driver("DEVICES=0");
    assert_eq!(c!(cuInit(0)), 100);
    assert!(control("reset DEVICES=x").unwrap_err().contains("accepted"));
    assert!(control("reset DEVICES").unwrap_err().contains("SETTING=VALUE"));
    assert!(control("leak").unwrap_err().contains("no command"));
    assert!(control("lose 0").is_err());
}

#[test]
fn answers_that_do_not_fit_say_so() {
    let ask = |room| {
        let mut out = [0x7f_u8; 8];
        let done = c!(vmemSimDriverControl(c"functions".as_ptr(), out.as_mut_ptr().cast(), room));
        (done, out)
    };
    assert_eq!(ask(4), (2, *b"cuA\0\x7f\x7f\x7f\x7f"));
    assert_eq!(ask(0), (2, [0x7f; 8]));
    assert_eq!(c!(vmemSimDriverControl(std::ptr::null(), null_mut(), 0)), 2);
}

#[test]
fn a_panic_stays_on_this_side_of_the_boundary() {
    let _turn = driver("");
    assert_eq!(crate::driver::enter("cuInit", |_| panic!("on purpose")), 999);
    assert_eq!(c!(cuInit(0)), 0);
}
