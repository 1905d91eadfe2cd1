//! The one driver of the process: what outlives initialisation, and the door of every call.

use std::cell::RefCell;
use std::ffi::c_uint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmem_core::DriverCode;

use crate::config::Config;
use crate::refusal::{Answer, Refusal};
use crate::script::Script;
use crate::session::Session;

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

/// The process that initialised the driver, or 0. A forked child must not wait for the lock: it may
/// have been held, by a thread that the child does not have.
static INITIALISED_BY: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The calling thread's contexts, the current one last.
    static CONTEXTS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// What a process's driver is.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    pub(crate) script: Script,
    /// Settings that stand above the environment's.
    pub(crate) overrides: Vec<(String, String)>,
    /// Whether the environment's failure was taken into the script.
    fail_taken: bool,
    /// What there is once `cuInit` succeeded.
    session: Option<Session>,
    /// The last call that was refused, and why.
    pub(crate) refused: Option<String>,
}

/// One call of a C function: counted, failed if the script says so, else done by `body`.
///
/// A panic stays on this side of the boundary.
pub(crate) fn enter(function: &'static str, body: impl FnOnce(&mut Driver) -> Answer) -> c_uint {
    let process = INITIALISED_BY.load(Ordering::Relaxed);
    if process != 0 && process != std::process::id() {
        return DriverCode::NOT_INITIALIZED.0;
    }
    let call = || {
        let mut driver = lock();
        driver.take_failure_from_environment();
        if let Some(code) = driver.script.strikes(function) {
            return code.0;
        }
        match body(&mut driver) {
            Ok(()) => 0,
            Err(refusal) => {
                if refusal.code != DriverCode::NOT_READY {
                    let why = format!("{function} answered {}: {}", refusal.code, refusal.why);
                    if refusal.is_dead_stream() && driver.traps_dead_streams() {
                        // A host must not rely on an answer that the real driver does not live to give.
                        say(&why);
                        std::process::abort();
                    }
                    driver.refused = Some(why);
                }
                refusal.code.0
            }
        }
    };
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(DriverCode::UNKNOWN.0)
}

/// The driver, made on first use.
pub(crate) fn lock() -> Locked {
    let mut guard = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_default();
    Locked(guard)
}

/// The process's driver, held.
pub(crate) struct Locked(MutexGuard<'static, Option<Driver>>);

impl std::ops::Deref for Locked {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        self.0.as_ref().expect("`lock` made it")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Driver {
        self.0.as_mut().expect("`lock` made it")
    }
}

impl Driver {
    /// Makes the devices, once.
    pub(crate) fn initialise(&mut self) -> Answer {
        if self.session.is_some() {
            return self.session().map(drop);
        }
        let config = self.config()?;
        if config.devices == 0 {
            return Err(Refusal::new(DriverCode::NO_DEVICE, "configured to have no device"));
        }
        self.session = Some(Session::new(config)?);
        INITIALISED_BY.store(std::process::id(), Ordering::Relaxed);
        Ok(())
    }

    /// What the driver is configured to be, initialised or not.
    pub(crate) fn config(&self) -> Answer<Config> {
        if let Some(session) = &self.session {
            return Ok(session.config.clone());
        }
        Config::load(&self.overrides).map_err(|message| {
            say(&message);
            Refusal::new(DriverCode::UNKNOWN, message)
        })
    }

    fn traps_dead_streams(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.config.trap_dead_streams)
    }

    /// What initialisation made.
    pub(crate) fn session(&mut self) -> Answer<&mut Session> {
        let refuse = || Refusal::new(DriverCode::NOT_INITIALIZED, "cuInit has not succeeded");
        self.session.as_mut().ok_or_else(refuse)
    }

    /// The same, if there is one; for reports.
    pub(crate) const fn any_session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Everything as before the first call. What the process still holds of the old devices names
    /// nothing any more.
    pub(crate) fn reset(&mut self, overrides: Vec<(String, String)>) -> Result<(), String> {
        Config::load(&overrides)?;
        *self = Self { overrides, ..Self::default() };
        INITIALISED_BY.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// A bad configuration is for `cuInit` to report.
    fn take_failure_from_environment(&mut self) {
        if !std::mem::replace(&mut self.fail_taken, true)
            && let Ok(Config { fail: Some(rule), .. }) = Config::load(&self.overrides)
        {
            self.script.add(rule);
        }
    }
}

/// Calls `body` with the calling thread's contexts.
pub(crate) fn with_contexts<T>(body: impl FnOnce(&mut Vec<u64>) -> T) -> Answer<T> {
    CONTEXTS
        .try_with(|contexts| body(&mut contexts.borrow_mut()))
        .map_err(|_| Refusal::context("the thread ends, and its contexts are gone"))
}

#[expect(clippy::print_stderr, reason = "a C function has no other way to say what was wrong")]
fn say(message: &str) {
    eprintln!("vmem's software driver: {message}");
}
