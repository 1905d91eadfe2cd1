//! The device under test, and the software driver's control. A process has one driver, so that its
//! tests take turns.

use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vmem_core::{Block, BlockLayout, Device, MemoryResource, ResourceExt, Stream};
use vmem_cuda::testing::CONTROL_SYMBOL;
use vmem_cuda::{CudaDevice, Driver, OpenError, driver};
use vmem_runtime::{PoolLimit, RuntimeConfig, Size};

pub(crate) const MIB: u64 = 1 << 20;

/// Set where a machine without a driver or a device fails these tests; elsewhere they are skipped.
/// `cargo xtask driver` sets it.
pub(crate) const REQUIRED: &str = "REQUIRE_CUDA_DRIVER";

/// The driver, with no other test using it.
#[derive(Debug)]
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
}

/// Device 0, with no other test using the driver.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) device: Arc<CudaDevice>,
    failed_drops: u64,
    turn: Turn,
}

/// Waits for the other tests. The software driver begins anew, with `settings`; over another driver,
/// settings cannot be had, and the test that wants them is skipped; so is every one where there is no
/// driver.
pub(crate) fn turn(settings: &str) -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Err(lacking) = loaded_driver() {
        skip_or_fail(lacking);
        return None;
    }
    let turn = Turn { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) };
    if has_control() {
        control(&format!("reset {settings}"));
    } else if !settings.is_empty() {
        skip(&format!("only the software driver can be made so: {settings}"));
        return None;
    }
    Some(turn)
}

/// Whether the software driver is loaded; says so if it is not, as the test is then skipped.
pub(crate) fn wants_control() -> bool {
    match loaded_driver() {
        Ok(driver) if driver.simulated => return true,
        Ok(_) => skip("only the software driver can be made to fail"),
        Err(lacking) => skip_or_fail(lacking),
    }
    false
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {name}: {why}");
}

/// The driver, or why the machine has none.
pub(crate) fn loaded_driver() -> Result<&'static Driver, &'static OpenError> {
    static DRIVER: OnceLock<Result<Driver, OpenError>> = OnceLock::new();
    DRIVER.get_or_init(driver).as_ref()
}

/// What a machine lacks skips a test, unless it is required.
fn skip_or_fail(lacking: &OpenError) {
    assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and {lacking}");
    skip(&lacking.to_string());
}

/// Device 0, of which the driver has every part it can have. None, and the test is skipped, on a
/// machine without.
pub(crate) fn bench() -> Option<Bench> {
    turn("").and_then(Bench::open)
}

/// Device 0 of the software driver with `settings`.
pub(crate) fn bench_with(settings: &str) -> Option<Bench> {
    turn(settings).and_then(Bench::open)
}

impl Bench {
    fn open(turn: Turn) -> Option<Self> {
        match CudaDevice::open(0) {
            Ok(device) => {
                let failed_drops = device.base().drop_failures().count();
                Some(Self { device, failed_drops, turn })
            }
            Err(error @ (OpenError::NoDevice | OpenError::DriverTooOld { .. })) => {
                skip_or_fail(&error);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn device(&self) -> Arc<dyn Device> {
        self.device.clone()
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.device()).unwrap()
    }

    /// Drops the device, while no other test uses the driver.
    pub(crate) fn into_turn(self) -> Turn {
        self.turn
    }

    /// Ends a test that must not have dropped anything badly, nor broken a rule, nor left anything
    /// behind. Everything else must be dropped before.
    pub(crate) fn finish(self) {
        self.device.synchronize().unwrap();
        let failures = self.device.base().drop_failures();
        assert_eq!(failures.count(), self.failed_drops, "{:?}", failures.first());
        assert_eq!(Arc::strong_count(&self.device), 1, "the test still holds the device");
        drop(self.device);
        if has_control() {
            assert_eq!(control("violations"), "");
            assert_eq!(control("leaks"), "");
            assert_eq!(control("contexts"), "");
        }
        drop(self.turn);
    }
}

type Control = unsafe extern "C" fn(*const c_char, *mut c_char, usize) -> c_int;

fn control_function() -> Option<Control> {
    let name = CString::new(CONTROL_SYMBOL).unwrap();
    let found = loaded_driver().ok()?.symbol(&name)?;
    // SAFETY: the software driver documents this prototype for the function of this name.
    Some(unsafe { std::mem::transmute::<*mut c_void, Control>(found.as_ptr()) })
}

/// Whether the software driver is loaded.
pub(crate) fn has_control() -> bool {
    loaded_driver().is_ok_and(|driver| driver.simulated)
}

/// Declares functions of the driver that vmem does not call, or that tests call past it.
macro_rules! driver_functions {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        #[allow(non_snake_case, reason = "CUDA's names")]
        unsafe fn $name($($argument: $type),*) -> $answer {
            type Function = unsafe extern "C" fn($($type),*) -> $answer;
            let name = std::ffi::CString::new(stringify!($name)).unwrap();
            let driver = crate::support::loaded_driver().unwrap();
            let found = driver.symbol(&name).expect(stringify!($name));
            // SAFETY: the driver's function of this symbol has this prototype in its header.
            let function = unsafe { std::mem::transmute::<*mut c_void, Function>(found.as_ptr()) };
            // SAFETY: the caller's promise.
            unsafe { function($($argument),*) }
        }
    )*};
}
pub(crate) use driver_functions;

/// An order or question to the software driver, which must be loaded, and its answer.
pub(crate) fn control(command: &str) -> String {
    let function = control_function().expect("the software driver is loaded");
    let text = CString::new(command).unwrap();
    let mut answer = vec![0_u8; 1 << 20];
    // SAFETY: a C string, and a buffer of the length given.
    let code = unsafe { function(text.as_ptr(), answer.as_mut_ptr().cast(), answer.len()) };
    let end = answer.iter().position(|&byte| byte == 0).unwrap();
    answer.truncate(end);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(code, 0, "`{command}`: {answer}");
    answer
}

/// How many calls the software driver has had, of one function or of all.
pub(crate) fn calls(function: Option<&str>) -> u64 {
    control("calls")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| function.is_none_or(|function| function == *name))
        .map(|(_, count)| count.parse::<u64>().unwrap())
        .sum()
}

/// A configuration that leaves the most of a shared device to others.
pub(crate) fn config() -> RuntimeConfig {
    RuntimeConfig::default()
        .with_pool_limit(PoolLimit::AtMost(Size::Bytes(256 * MIB)))
        .with_memory_reserve(Size::Bytes(0))
}

pub(crate) fn layout(size: u64) -> BlockLayout {
    BlockLayout::new(size).unwrap()
}

pub(crate) fn alloc(memory: &dyn MemoryResource, size: u64, stream: &Stream) -> Block {
    memory.allocate_on(layout(size), stream).unwrap()
}

/// Frees a block whose uses are all on `stream`.
pub(crate) fn free(memory: &dyn MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: the tests queue work on a block on the stream that frees it only.
    unsafe { memory.deallocate(block, stream) }.unwrap();
}
