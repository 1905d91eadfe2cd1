//! Names for what is allocated.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;
use vmem_core::Label as CoreLabel;

/// A name for what the thread allocates inside of a `with` statement: the tag of allocations that name
/// none, of every host. With `line`, the file and line of the statement that made it are part of the name.
/// Names are never given back; they should come from a bounded set.
#[pyclass(frozen, module = "vmem_gpu", name = "label")]
#[derive(Debug)]
pub(crate) struct Label {
    label: CoreLabel,
    /// What was current before, of each `with` that has not ended.
    entered: Mutex<Vec<(ThreadId, CoreLabel)>>,
}

#[pymethods]
impl Label {
    #[new]
    #[pyo3(signature = (name=None, *, line=None))]
    fn new(py: Python<'_>, name: Option<&str>, line: Option<bool>) -> PyResult<Self> {
        let place = match line.unwrap_or(name.is_none()) {
            true => Some(caller(py)?),
            false => None,
        };
        let text = match (name, place) {
            (Some(name), Some(place)) => format!("{name} ({place})"),
            (None, Some(place)) => place,
            (name, None) => name.unwrap_or_default().to_owned(),
        };
        Ok(Self { label: CoreLabel::intern(&text), entered: Mutex::default() })
    }

    /// The name in statistics and reports.
    #[getter]
    fn tag(&self) -> &'static str {
        self.label.as_str()
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        let before = replace(slf.label);
        slf.entered().push((thread::current().id(), before));
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        let here = thread::current().id();
        let mut entered = self.entered();
        // Entered elsewhere, it says nothing of this thread.
        if let Some(at) = entered.iter().rposition(|(thread, _)| *thread == here) {
            let (_, before) = entered.remove(at);
            drop(entered);
            replace(before);
        }
    }
}

impl Label {
    fn entered(&self) -> std::sync::MutexGuard<'_, Vec<(ThreadId, CoreLabel)>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a label the thread's, until the next that does. Returns the one before.
fn replace(label: CoreLabel) -> CoreLabel {
    let before = CoreLabel::current();
    // The scope would restore it on the way out of this function.
    std::mem::forget(label.enter());
    before
}

/// `file.py:12` of the Python code that called.
fn caller(py: Python<'_>) -> PyResult<String> {
    let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
    let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
    let line: u32 = frame.getattr("f_lineno")?.extract()?;
    let name = file.rsplit('/').next().unwrap_or(&file);
    Ok(format!("{name}:{line}"))
}
