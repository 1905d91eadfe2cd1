//! PyTorch's pooled streams, which last as long as the process. A handle does not say that it is one's, so
//! PyTorch is asked for all of them, and they are held.

use std::collections::{BTreeMap, HashSet};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use vmem_core::author::fork;

use super::graphs;
use crate::calls::pointer;
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
        let _ = unsafe { vmem::vmem_hold_stream(device, pointer(stream)) };
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
    let asked = Python::attach(|py| {
        let list = LIST.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.clone_ref(py);
        list.call1(py, (device,)).ok()?.extract::<HashSet<usize>>(py).ok()
    });
    // What PyTorch does not answer it will not answer the next time either.
    let asked = Arc::new(asked.unwrap_or_default());
    fork::locked(|| STREAMS.lock()).insert(device, asked.clone());
    Some(asked)
}
