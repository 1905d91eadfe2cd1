//! The end of the interpreter: from `atexit` on, frees are dropped and no reclaimer runs.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

static ENDED: AtomicBool = AtomicBool::new(false);

/// Whether the interpreter's `atexit` has run. The process ends, and the driver takes back what is left.
pub(crate) fn has_begun() -> bool {
    ENDED.load(Ordering::Acquire)
}

#[pyfunction]
fn end() {
    ENDED.store(true, Ordering::Release);
}

/// Has `atexit` tell.
pub(crate) fn watch(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let end = wrap_pyfunction!(end, module)?;
    module.py().import("atexit")?.call_method1("register", (end,))?;
    Ok(())
}
