//! One context of both libraries, and the software driver's control. A process has one driver, so that
//! its tests take turns.

use std::env;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::CudaContext;
use vmem_core::{Device, MemoryResource, ResourceExt};
use vmem_cuda::testing::CONTROL_SYMBOL;
use vmem_cuda::{CudaDevice, Driver, OpenError, driver};
use vmem_cudarc::SharedStream;
use vmem_pool::{Pool, PoolConfig, PoolHandle, VirtualArena};

/// Set where a machine without a driver or a device fails these tests; elsewhere they are skipped.
const REQUIRED: &str = "REQUIRE_CUDA_DRIVER";

/// What cudarc relies on: copies that are done with pageable memory when their call returns.
const AS_CUDARC_NEEDS: &str = "STRICTNESS=-PAGEABLE_COPIES";

/// A context of cudarc's, and vmem's device for it, with no other test using the driver.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) device: Arc<CudaDevice>,
    failed_drops: u64,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for the other tests, and gets the driver as new; with further `settings`, the software driver
/// alone can be had. None, and the test is skipped, if there is no such driver.
pub(crate) fn turn(settings: &str) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    match loaded_driver() {
        Err(lacking) => {
            assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and {lacking}");
            skip(&lacking.to_string());
            return None;
        }
        Ok(driver) if !driver.simulated && !settings.is_empty() => {
            skip(&format!("only the software driver can be made so: {settings}"));
            return None;
        }
        Ok(_) => {}
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if has_control() {
        control(&format!("reset {AS_CUDARC_NEEDS} {settings}"));
    }
    Some(turn)
}

pub(crate) fn bench() -> Option<Bench> {
    bench_with("")
}

/// The same over the software driver, with settings. `SEED=0` is what it has without.
pub(crate) fn bench_with(settings: &str) -> Option<Bench> {
    let turn = turn(settings)?;
    let context = CudaContext::new(0).unwrap();
    let device = vmem_cudarc::open(&context).unwrap();
    let failed_drops = device.base().drop_failures().count();
    Some(Bench { context, device, failed_drops, _turn: turn })
}

impl Bench {
    /// A stream that cudarc made, and vmem shares.
    pub(crate) fn stream(&self) -> SharedStream {
        SharedStream::new(&self.device, &self.context.new_stream().unwrap()).unwrap()
    }

    /// A pool, and its handle.
    pub(crate) fn pool(&self) -> (Arc<dyn MemoryResource>, PoolHandle) {
        let arena = VirtualArena::new(self.device.clone()).unwrap();
        let pool = Pool::new(arena, PoolConfig::default()).unwrap();
        let handle = pool.handle();
        (pool.into_dyn(), handle)
    }

    /// How many drops have failed in this test.
    pub(crate) fn failed_drops(&self) -> u64 {
        self.device.base().drop_failures().count() - self.failed_drops
    }

    /// Ends a test that must not have dropped anything badly, nor broken a rule, nor left anything
    /// behind. Everything else must be dropped before.
    pub(crate) fn finish(self) {
        self.device.synchronize().unwrap();
        self.context.check_err().unwrap();
        assert_eq!(self.failed_drops(), 0, "{:?}", self.device.base().drop_failures().first());
        assert_eq!(Arc::strong_count(&self.device), 1, "the test still holds the device");
        assert_eq!(Arc::strong_count(&self.context), 1, "the test still holds the context");
        if has_control() {
            assert_eq!(control("violations"), "");
        }
        drop((self.device, self.context));
        if has_control() {
            assert_eq!(control("leaks"), "");
            assert_eq!(control("contexts"), "");
        }
    }
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

/// Whether the software driver is loaded.
pub(crate) fn has_control() -> bool {
    loaded_driver().is_ok_and(|driver| driver.simulated)
}

/// An order or question to the software driver, which must be loaded, and its answer.
pub(crate) fn control(command: &str) -> String {
    type Control = unsafe extern "C" fn(*const c_char, *mut c_char, usize) -> c_int;
    let name = std::ffi::CString::new(CONTROL_SYMBOL).unwrap();
    let found = loaded_driver().unwrap().symbol(&name).expect("the software driver is loaded");
    // SAFETY: the software driver documents this prototype for the function of this name.
    let function = unsafe { std::mem::transmute::<*mut c_void, Control>(found.as_ptr()) };
    let text = std::ffi::CString::new(command).unwrap();
    let mut answer = vec![0_u8; 1 << 20];
    // SAFETY: a C string, and a buffer of the length given.
    let code = unsafe { function(text.as_ptr(), answer.as_mut_ptr().cast(), answer.len()) };
    let end = answer.iter().position(|&byte| byte == 0).unwrap();
    answer.truncate(end);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(code, 0, "`{command}`: {answer}");
    answer
}

/// How many calls of a function the software driver has had.
pub(crate) fn calls(function: &str) -> u64 {
    let calls = control("calls");
    let counts = calls.lines().filter_map(|line| line.split_once(' '));
    let own = counts.filter(|(name, _)| *name == function);
    own.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}
