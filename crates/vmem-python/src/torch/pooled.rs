//! PyTorch's pooled streams, which last as long as the process. A handle does not say that it is one's, so
//! PyTorch is asked for all of them, and they are held.

use std::collections::{BTreeMap, HashSet};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::ffi;
use pyo3::prelude::*;
use vmem::vmem_status;
use vmem_core::author::fork;

use super::graphs;
use crate::calls::{self, pointer};
use crate::exit;

/// A function of Python's: from a device to the handles of its pooled streams.
static LIST: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// The handles, by device; the lock is held for moments.
static STREAMS: Mutex<BTreeMap<c_int, Arc<HashSet<usize>>>> = Mutex::new(BTreeMap::new());

pub(super) fn listed_by(list: Py<PyAny>) {
    let before = LIST.lock().unwrap_or_else(PoisonError::into_inner).replace(list);
    fork::locked(|| STREAMS.lock()).clear();
    drop(before);
}

/// Holds a stream for as long as the device is open, if it is one of PyTorch's pooled streams.
pub(super) fn hold(device: c_int, stream: usize) {
    // The default streams last anyway.
    if stream > 2 && of(device).is_some_and(|pooled| pooled.contains(&stream)) {
        // Again for each time that the device was opened. One that cannot be held now, because it captures
        // say, is a stream that may end to vmem.
        // SAFETY: PyTorch never destroys it.
        let hold = || unsafe { vmem::vmem_hold_stream(device, pointer(stream)) };
        if hold() == vmem_status::VMEM_ERROR_NOT_OPEN && calls::ensure_open(device).is_ok() {
            let _ = hold();
        }
    }
}

/// The device's pooled streams; `None` while PyTorch cannot be asked.
fn of(device: c_int) -> Option<Arc<HashSet<usize>>> {
    if let Some(known) = fork::locked(|| STREAMS.lock()).get(&device) {
        return Some(known.clone());
    }
    // Its first pooled stream makes the others, which is nothing to do in a capture.
    if exit::has_begun() || fork::is_child() || graphs::is_capturing(device) {
        return None;
    }
    let asked = Arc::new(with_lock(|py| ask(py, device))?);
    fork::locked(|| STREAMS.lock()).insert(device, asked.clone());
    Some(asked)
}

/// What PyTorch answers; nothing, and the error is shown, where it cannot: it will not the next time either. `None`
/// where the program is being interrupted.
fn ask(py: Python<'_>, device: c_int) -> Option<HashSet<usize>> {
    let list = LIST.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.clone_ref(py);
    match list.call1(py, (device,)).and_then(|answer| answer.extract(py)) {
        Ok(streams) => Some(streams),
        Err(error) => {
            let is_of_the_moment = error.is_instance_of::<PyKeyboardInterrupt>(py);
            error.write_unraisable(py, None);
            (!is_of_the_moment).then(HashSet::new)
        }
    }
}

/// Calls with the interpreter's lock. PyTorch gives that up beneath calls from Python, which PyO3 does not notice: it
/// would take the lock for held.
fn with_lock<T>(call: impl FnOnce(Python<'_>) -> T) -> T {
    struct Release(ffi::PyGILState_STATE);
    impl Drop for Release {
        fn drop(&mut self) {
            // SAFETY: of the same thread, and the last.
            unsafe { ffi::PyGILState_Release(self.0) };
        }
    }
    // SAFETY: the interpreter is there: its end has not begun.
    let _held = Release(unsafe { ffi::PyGILState_Ensure() });
    // SAFETY: the lock is held until `_held` goes.
    call(unsafe { Python::assume_attached() })
}
