//! Functions in Python that free what the program can spare.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::calls;
use crate::error::check;

/// The functions of each device, in the order in which they are asked.
///
/// Locked with the interpreter's lock held, for moments in which no Python code runs: so that nobody waits
/// for it, nor has it when Python forks.
static FUNCTIONS: Mutex<BTreeMap<i32, Vec<Py<PyAny>>>> = Mutex::new(BTreeMap::new());

fn functions() -> MutexGuard<'static, BTreeMap<i32, Vec<Py<PyAny>>>> {
    FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a function to those of a device.
pub(crate) fn add(py: Python<'_>, device: i32, function: Py<PyAny>) -> PyResult<()> {
    let set = || {
        // SAFETY: the function below can be called by any thread at any time, and takes no argument.
        let status = unsafe {
            vmem::vmem_set_pressure_callback(device, Some(ask), std::ptr::null_mut(), None)
        };
        check(status)
    };
    py.detach(set).map_err(|refusal| refusal.raise(py))?;
    functions().entry(device).or_default().push(function);
    Ok(())
}

/// Takes a function away. Returns whether it was there.
pub(crate) fn remove(device: i32, function: &Bound<'_, PyAny>) -> bool {
    let mut all = functions();
    let Some(own) = all.get_mut(&device) else { return false };
    let found = own.iter().position(|other| other.is(function));
    let removed = found.map(|at| own.remove(at));
    // Its last reference may run code.
    drop(all);
    removed.is_some()
}

/// Takes all functions of a device away.
pub(crate) fn remove_all(device: i32) {
    let removed = functions().remove(&device);
    drop(removed);
}

/// What the library calls.
unsafe extern "C" fn ask(_: *mut c_void, device: i32, wanted: u64) -> u64 {
    if !calls::may_call_python() {
        calls::note_skipped();
        return 0;
    }
    let ask = || Python::try_attach(|py| ask_each(py, device, wanted));
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(Some(freed)) => freed,
        Ok(None) | Err(_) => {
            calls::note_skipped();
            0
        }
    }
}

fn ask_each(py: Python<'_>, device: i32, wanted: u64) -> u64 {
    let asked: Vec<Py<PyAny>> = {
        let all = functions();
        let own = all.get(&device).into_iter().flatten();
        own.map(|function| function.clone_ref(py)).collect()
    };
    let mut freed = 0_u64;
    for function in asked {
        let answer = function.call1(py, (wanted.saturating_sub(freed),));
        match answer.and_then(|answer| answer.extract::<Option<u64>>(py)) {
            Ok(bytes) => freed = freed.saturating_add(bytes.unwrap_or(0)),
            Err(error) => error.write_unraisable(py, Some(function.bind(py))),
        }
        if freed >= wanted {
            break;
        }
    }
    freed
}
